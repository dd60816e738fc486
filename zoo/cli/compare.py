"""`zoo compare`: backbones of any modality on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import console, options
from zoo.cli.jobs import AtOnce, DryRun, Executor, Only, check_one, show_done, show_jobs, words_of
from zoo.cli.options import under
from zoo.cli.parsing import Grouped, given, names, options_of
from zoo.cli.standings import show
from zoo.cli.stopping import stoppable
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.comparison.result import Comparison

PAGES = {".html": "html", ".md": "markdown"}
"""Endings of pages, and what the verb calls them."""
_protocol = under("Protocol, the same for all")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "compare",
        help="Set backbones of any modality side by side on the same rows.\n\n"
        "For example  zoo compare resnet18 MiniLM=transformers/./minilm resnet18+transformers/./minilm shop.parquet",
        cls=Grouped,
    )(compare)


def compare(
    context: typer.Context,
    backbones: Annotated[list[str], typer.Argument(help="Names, a+b or TITLE=NAME, and last the data.")],
    data: Annotated[list[str] | None, typer.Option(help="Instead of the last word; again for several sets.")] = None,
    strategy: Annotated[
        str | None,
        _protocol("linear-probe, the default, full, lora, ...; several with commas, each for every backbone."),
    ] = None,
    strategy_options: options.StrategyOptions = None,
    shots: Annotated[str, _protocol("Rows a class, or in all for numbers: as in 1,4,16,all.")] = "all",
    seeds: Annotated[int, _protocol("Draws and trainings of each.")] = 3,
    head: options.Head = None,
    reference: Annotated[str | None, _protocol("Title that the others are set beside; the first.")] = None,
    no_floors: Annotated[bool, _protocol("Without the same architectures with random weights.", "--no-floors")] = False,
    epochs: options.Epochs = None,
    batch_size: options.RowsAStep = None,
    lr: options.Lr = None,
    budget: Annotated[str | None, _protocol("Time for a search of strategy and rate of each, such as 5m.")] = None,
    pooling: options.Pooling = None,
    augment: options.Augment = None,
    image_size: options.ImageSize = None,
    weights: Annotated[str | None, typer.Option(help="Of a single backbone: a tag, random, or a file.")] = None,
    seed: options.Seed[int] = 0,
    jobs: AtOnce = None,
    executor: Executor = "local",
    dry_run: DryRun = False,
    only: Only = None,
    device: options.Device[str] = "auto",
    image_col: options.ImageCol = None,
    text_col: options.TextCols = None,
    audio_col: options.AudioCol = None,
    label_col: options.LabelCols = None,
    task: options.PlainTask = None,
    limit: options.Limit = None,
    val: options.Val[float] = 0.2,
    skip_bad: options.SkipBad = False,
    allow_leak: options.AllowLeak = False,
    out: Annotated[str, options.of_output("Where comparisons lie.", "--out", "-o")] = "comparisons",
    name: Annotated[str | None, options.of_output("Of the comparison's folder.")] = None,
    report: Annotated[Path | None, options.of_output("Write it as a page too: a .html or .md file.")] = None,
    offline: options.Offline = False,
    json: options.Json = False,
) -> None:
    """Parse, call the verb, render."""
    who, sets = (backbones, tuple(data)) if data else (backbones[:-1], (backbones[-1],))
    if not who:
        raise UsageError(
            "a comparison needs backbones and data", help="for example  zoo compare resnet18 starter/glyph-cnn photos/"
        )
    if report is not None and report.suffix not in PAGES:
        raise UsageError(f"--report {report} is no page", help="give a file that ends in .html or .md")
    check_one(only, dry_run, report)
    from zoo.cli.probe import shots_of
    from zoo.cli.progress import RunView
    from zoo.verbs.asked import asked_for
    from zoo.verbs.compare import carry_out_job, compared, work_of
    from zoo.verbs.config import Output, RunConfig, merge
    from zoo.verbs.executors import check_executor
    from zoo.verbs.jobs import device_elsewhere, of_comparison

    read = given(
        image=image_col, text=names(text_col), audio=audio_col, label=names(label_col), task=task, limit=limit, val=val,
        skip_bad=skip_bad, allow_leak=allow_leak,
    )  # fmt: skip
    train = given(
        epochs=epochs, batch_size=batch_size, lr=lr, budget=budget, pooling=pooling, augment=augment, head=head,
        image_size=image_size, seed=seed, device=device, strategy_options=options_of(strategy_options),
    )  # fmt: skip
    config = merge(RunConfig(), {"read": read, "train": train})
    check_executor(executor, jobs)
    asked = asked_for(
        who, sets, strategies=names(strategy), shots=shots_of(shots), seeds=seeds, reference=reference,
        floors=not no_floors, weights=weights, training=config.train, read=config.read, offline=offline,
    )  # fmt: skip
    place = Output(dir=out, name=name)
    with RunView(quiet=False) as view, stoppable() as stop:
        if dry_run:
            work = work_of(asked, sets, place, view, device=device_elsewhere(device))
            left = of_comparison(work, words_of(context))
            return console.print_json(left.to_json()) if json else show_jobs(left)
        if only is not None:
            return show_done(only, carry_out_job(asked, sets, only, out=place, watch=view, stop=stop), json=json)
        found = compared(asked, sets, out=place, executor=executor, jobs=jobs, watch=view, stop=stop)
    return _end(found, Path(out) / found.name, report, json=json)


def _end(found: Comparison, folder: Path, report: Path | None, *, json: bool) -> None:
    """Show it, write its page, and say by the exit code whether a contender failed."""
    console.print_json({**found.to_json(), "folder": str(folder)}) if json else show(found, folder)
    if report is not None:
        from zoo.reporting.writing import report as write

        write(found, **{PAGES[report.suffix]: report})
        console.note(f"wrote {report}")
    if found.failures:
        raise typer.Exit(1)
