"""`zoo evaluate`: how good a run is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import console, options
from zoo.cli.parsing import Grouped

if TYPE_CHECKING:
    from zoo.verbs.evaluate import Evaluation
    from zoo.verbs.zero_shot import ZeroShot


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "evaluate",
        help="Measure a run, with intervals and per class.\n\nFor example  zoo evaluate runs/last",
        cls=Grouped,
    )(evaluate)


def evaluate(
    run: options.Run,
    data: Annotated[str | None, typer.Argument(help="Other data; the run's own held-out rows if not given.")] = None,
    split: options.Split = None,
    batch_size: options.RowsAtOnce[int] = 32,
    device: options.Device[str] = "auto",
    out: options.RunsFolder[str] = "runs",
    json: options.Json = False,
) -> None:
    """Parse, call the verb, render."""
    from zoo.verbs.evaluate import evaluate as verb

    with console.counting("measuring") as progress:
        result = verb(run, data, split=split, root=out, device=device, batch_size=batch_size, progress=progress)
    if json:
        return console.print_json(result.to_json())
    return show(result)


def show(result: Evaluation | ZeroShot) -> None:
    """Metrics, classes and confusion as text."""
    from zoo.data.types import DENSE

    console.print_text(f"{result.data}, {result.split}: {result.rows:,} rows, {result.task.kind}")
    width = max(18, *map(len, result.metrics))
    for name, value in result.metrics.items():
        found = "n/a" if value is None else f"{value:.4f}{console.between(result.intervals.get(name))}"
        console.print_text(f"  {name:<{width}} {found}")
    if result.per_class:
        console.print_text("")
        rows = [
            [r.name, f"{r.precision:.3f}", f"{r.recall:.3f}", f"{r.f1:.3f}", str(r.support)] for r in result.per_class
        ]
        counted = "count" if result.task.kind in DENSE else "rows"
        console.print_table(["class", "precision", "recall", "f1", counted], rows)
    if result.confusion is not None and len(result.confusion) <= 12:
        console.print_text("\nconfusion (true class down, predicted class across)")
        names = [name[:10] for name in result.task.classes]
        table = [[name, *map(str, row)] for name, row in zip(names, result.confusion, strict=True)]
        console.print_table(["", *names], table)
