"""`zoo probe`: learning curves of heads on frozen features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import console, options
from zoo.cli.parsing import Grouped
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
        cls=Grouped,
    )(probe)


def probe(
    backbone: options.Backbone[str],
    data: options.Data[str],
    shots: Annotated[str | None, options.of_data("Rows a class, or rows in all for labels and numbers.")] = None,
    seeds: Annotated[int, typer.Option(help="Draws of each number of rows.")] = 5,
    heads: Annotated[str | None, typer.Option(help="linear, knn, prototypes; all that fit the task.")] = None,
    metric: Annotated[str | None, typer.Option(help="Such as macro_f1; the task's main one if not given.")] = None,
    plot: options.Plot = None,
    weights: options.Weights = None,
    pooling: options.Pooling = None,
    seed: options.Seed[int] = 0,
    device: options.Device[str] = "auto",
    image_col: options.ImageCol = None,
    text_col: options.TextCols = None,
    audio_col: options.AudioCol = None,
    label_col: options.LabelCols = None,
    task: options.PlainTask = None,
    limit: Annotated[int | None, options.of_data("Draw from at most N training rows.")] = None,
    val: options.Val[float] = 0.2,
    skip_bad: options.SkipBad = False,
    offline: options.Offline = False,
    json: options.Json = False,
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
