"""`zoo distill`: a student learns from a teacher, and is set beside it and beside itself alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import console, options
from zoo.cli.options import under
from zoo.cli.parsing import Grouped, given, names, options_of
from zoo.cli.stopping import stoppable
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.verbs.sidebyside import SideBySide

_taught = under("From the teacher")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "distill",
        help="Train a student on labels and on a teacher's answers.\n\n"
        "For example  zoo distill runs/large starter/glyph-cnn photos/ --compare",
        cls=Grouped,
    )(distill)


def distill(
    teacher: Annotated[str | None, typer.Argument(help="A finished run, or a backbone, which is probed.")] = None,
    student: Annotated[str | None, typer.Argument(help="A backbone such as torchvision/mobilenet_v3_small.")] = None,
    data: options.DataOfBoth[str | None] = None,
    by: Annotated[str | None, _taught("logits, features, distances, angles; several with commas.")] = None,
    alpha: Annotated[float | None, _taught("The teacher's share of the loss; the labels have the rest.")] = None,
    temperature: Annotated[float | None, _taught("By which logits are divided.")] = None,
    term_weights: Annotated[str | None, _taught("As in features=2,angles=50.")] = None,
    hint: Annotated[str | None, _taught("STUDENT_STAGE:TEACHER_STAGE whose features meet.")] = None,
    unlabelled: Annotated[str | None, _taught("Rows without labels, which the teacher answers too.")] = None,
    compare: Annotated[bool, _taught("Train the student alone too, and set all side by side.", "--compare")] = False,
    weights: Annotated[str | None, typer.Option(help="Of the student: a tag, random, or a file.")] = None,
    strategy: options.Strategy[str | None] = None,
    head: options.Head = None,
    epochs: options.Epochs = None,
    batch_size: options.RowsAStep = None,
    lr: options.Lr = None,
    augment: options.Augment = None,
    image_size: options.ImageSize = None,
    seed: options.Seed[int | None] = None,
    device: options.Device[str | None] = None,
    image_col: options.ImageCol = None,
    text_col: options.TextCols = None,
    label_col: options.LabelCols = None,
    task: options.PlainTask = None,
    shots: options.Shots = None,
    limit: options.Limit = None,
    config: options.Config = None,
    resume: Annotated[str | None, typer.Option(help="Go on with this run, and the one beside it.")] = None,
    out: options.RunsFolder[str | None] = None,
    name: options.Name = None,
    overwrite: options.Overwrite = False,
    offline: options.Offline = False,
    json: options.Json = False,
) -> None:
    """Parse, call the verb, render."""
    taught = given(
        teacher=teacher, by=names(by), alpha=alpha, temperature=temperature, hint=hint,
        term_weights=options_of(term_weights, "--term-weights", "features=2,angles=50"),
    )  # fmt: skip
    train = given(
        strategy=strategy, head=head, epochs=epochs, batch_size=batch_size, lr=lr, augment=augment, seed=seed,
        image_size=image_size, device=device,
    )  # fmt: skip
    read = given(
        image=image_col, text=names(text_col), label=names(label_col), task=task, shots=shots, limit=limit, seed=seed
    )
    top = given(backbone=student, data=data, unlabelled=unlabelled, weights=weights, offline=offline or None)
    output = given(dir=out, name=name, overwrite=overwrite or None)
    if resume is not None:
        return _resume(resume, out, [*taught, *train, *read, *top], compare=compare, json=json)
    everything = {**top, "read": read, "train": train, "out": output, "distill": taught}
    return _start(config, everything, compare=compare, json=json)


def _start(path: Path | None, chosen: dict[str, Any], *, compare: bool, json: bool) -> None:
    from zoo.cli.progress import RunView
    from zoo.verbs.config import RunConfig, merge, read_config
    from zoo.verbs.distill import distill as verb

    base = read_config(path) if path else RunConfig()
    if base.distill is None and "teacher" not in chosen["distill"]:
        chosen = {**chosen, "distill": {"teacher": "", **chosen["distill"]}}
    config = merge(base, chosen)
    options = config.distill
    if options is None or not options.teacher or config.backbone is None or config.data is None:
        raise UsageError(
            "zoo distill takes a teacher, a student and data",
            help="for example  zoo distill runs/large starter/glyph-cnn photos/",
        )
    with RunView(quiet=False) as view, stoppable() as stop:
        done = verb(
            options.teacher,
            config.backbone,
            config.data,
            by=options.by,
            alpha=options.alpha,
            temperature=options.temperature,
            term_weights=options.term_weights,
            hint=options.hint,
            unlabelled=config.unlabelled,
            compare=compare,
            weights=config.weights,
            training=config.train,
            read=config.read,
            out=config.out,
            offline=config.offline,
            watch=view,
            stop=stop,
        )
    return _finish(done, json=json)


def _resume(run: str, root: str | None, chosen: list[str], *, compare: bool, json: bool) -> None:
    from zoo.cli.progress import RunView
    from zoo.verbs.distill import resume_distilled

    if chosen:
        raise UsageError(
            f"--resume goes on with the run as it was; {', '.join(chosen)} cannot change now",
            help="start a new run to change anything",
        )
    with RunView(quiet=False) as view, stoppable() as stop:
        done = resume_distilled(run, root=root or "runs", compare=compare, watch=view, stop=stop)
    _finish(done, json=json)


def _finish(done: Any, *, json: bool) -> None:
    from zoo.cli.progress import result_lines

    if json:
        return console.print_json(done.to_json())
    for line in result_lines(done.run):
        console.print_text(line)
    if done.comparison is not None:
        console.print_text("")
        show(done.comparison)
    return None


def show(beside: SideBySide) -> None:
    """The table of models side by side, and their differences in words."""
    rows = []
    for side in beside.sides:
        value = side.metrics.get(beside.metric)
        found = "n/a" if value is None else f"{value:.3f}{console.between(side.intervals.get(beside.metric))}"
        rows.append([side.title, side.backbone, console.human_count(side.params), found])
    console.print_table(["model", "backbone", "parameters", f"{beside.split} {beside.metric}"], rows)
    console.print_text("")
    for one, other, apart in beside.differences:
        sure = "" if apart.sure else ", which may be chance"
        console.print_text(f"{one} less {other}: {apart.value:+.3f}{console.between((apart.low, apart.high))}{sure}")
