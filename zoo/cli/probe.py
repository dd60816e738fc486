"""`zoo probe`: learning curves of heads on frozen features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import console
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.transfer.sweep import Point, Shots
    from zoo.verbs.probe import LearningCurves


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "probe",
        help="Solve heads on frozen features of few and many rows.\n\n"
        "For example  zoo probe torchvision/resnet18 photos/ --shots 1,4,16,all",
    )(probe)


def probe(
    backbone: Annotated[str, typer.Argument(help="Such as torchvision/resnet18, a folder, or a+b.")],
    data: Annotated[str, typer.Argument(help="A folder, a table, or a name such as sklearn:digits.")],
    shots: Annotated[str | None, typer.Option(help="Rows a class, or rows in all for labels and numbers.")] = None,
    seeds: Annotated[int, typer.Option(help="Draws of each number of rows.")] = 5,
    heads: Annotated[str | None, typer.Option(help="linear, knn, prototypes; all that fit the task.")] = None,
    metric: Annotated[str | None, typer.Option(help="Such as macro_f1; the task's main one if not given.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the curves to a .png, .svg or .pdf.")] = None,
    weights: Annotated[str | None, typer.Option(help="A tag, random, or the path of a file.")] = None,
    pooling: Annotated[str | None, typer.Option(help="native, cls, mean, max or last.")] = None,
    seed: Annotated[int, typer.Option(help="Of splits, random weights and the first draw.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    image_col: Annotated[str | None, typer.Option(help="Column of images.")] = None,
    text_col: Annotated[str | None, typer.Option(help="Column of texts; a,b for pairs.")] = None,
    audio_col: Annotated[str | None, typer.Option(help="Column of recordings.")] = None,
    label_col: Annotated[str | None, typer.Option(help="Column of labels; a,b for several.")] = None,
    task: Annotated[str | None, typer.Option(help="binary, multiclass, multilabel or regression.")] = None,
    limit: Annotated[int | None, typer.Option(help="Draw from at most N training rows.")] = None,
    val: Annotated[float, typer.Option(help="Share held out where the data have no split.")] = 0.2,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Drop unreadable rows.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Parse, call the verb, render."""
    if plot is not None:
        from zoo.verbs.curves import check_picture

        check_picture(plot)
    from zoo.cli.progress import RunView
    from zoo.verbs.config import RunConfig, merge
    from zoo.verbs.probe import probe as verb

    given = {
        "image": image_col,
        "text": text_col,
        "audio": audio_col,
        "label": label_col,
        "task": task,
        "limit": limit,
        "val": val,
        "skip_bad": skip_bad,
    }
    read = merge(RunConfig(), {"read": {key: value for key, value in given.items() if value is not None}}).read
    with RunView(quiet=False) as view:
        found = verb(
            backbone,
            data,
            shots=None if shots is None else shots_of(shots),
            seeds=seeds,
            heads=None if heads is None else tuple(part.strip() for part in heads.split(",")),
            metric=metric,
            seed=seed,
            weights=weights,
            pooling=pooling,
            device=device,
            read=read,
            offline=offline,
            watch=view,
        )
    if plot is not None:
        found.plot(plot)
        console.note(f"wrote {plot}")
    return console.print_json(found.to_json()) if json else show(found)


def shots_of(text: str) -> tuple[Shots, ...]:
    """The numbers in `1,2,4,all`.

    Raises:
        UsageError: anything else.
    """
    found: list[Shots] = []
    for part in text.split(","):
        word = part.strip().casefold()
        if word != "all" and not word.isdecimal():
            raise UsageError(f"--shots {text}: '{part}' is no number of rows", help="write it as 1,2,4,all")
        found.append("all" if word == "all" else int(word))
    return tuple(found)


def show(found: LearningCurves) -> None:
    """The curves as a table: a row for each number of shots, a column for each head."""
    swept = found.sweep
    count = len(swept.seeds)
    rows = " / ".join(f"{n:,} {split}" for split, n in found.rows.items())
    console.note(console.fact("data", f"{found.data}  {rows}, {found.task.kind}"))
    for note in found.notes:
        console.note(console.fact("note", note))
    of = "rows a class" if found.task.kind in ("binary", "multiclass") else "rows"
    table = []
    for first in swept.of(swept.heads[0]):
        beside = [point for point in swept.points if point.shots == first.shots]
        table.append([str(first.shots), f"{first.rows:,}", *map(_cell, beside)])
    console.print_text(f"{found.split} {swept.metric} of {found.backbone}{'   LEAK' if found.leaked else ''}")
    console.print_table([of, "trained on", *swept.heads], table)
    kinds = {point.interval_of for point in swept.points}
    if "draws" in kinds:
        console.print_text(f"mean of {count} draws of training rows [95% interval of that mean, by Student's t]")
    if "held-out rows" in kinds:
        measured = found.rows[found.split]
        console.print_text(f"* one draw, all rows [95% interval by bootstrap over the {measured:,} held-out rows]")
    taken = "features were cached" if found.cached else f"features in {found.extract_seconds:.1f} s"
    solved = sum(len(point.values) for point in swept.points)
    console.print_text(f"{taken}, {solved} heads solved and measured in {swept.seconds:.1f} s")


def _cell(point: Point) -> str:
    if point.mean is None:
        return "n/a"
    star = "*" if point.interval_of == "held-out rows" else ""
    between = "" if point.interval is None else f" [{point.interval[0]:.3f}, {point.interval[1]:.3f}]"
    return f"{point.mean:.3f}{between}{star}"
