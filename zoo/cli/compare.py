"""`zoo compare`: backbones of any modality on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import console, options
from zoo.cli.options import under
from zoo.cli.parsing import Grouped, given, names, options_of
from zoo.cli.stopping import stoppable
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.comparison.result import Comparison, Data, Shots, Standing

PAGES = {".html": "html", ".md": "markdown"}
"""Endings of pages, and what the verb calls them."""
_protocol = under("Protocol, the same for all")
_work = under("Where the work is done")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "compare",
        help="Set backbones of any modality side by side on the same rows.\n\n"
        "For example  zoo compare resnet18 MiniLM=transformers/./minilm resnet18+transformers/./minilm shop.parquet",
        cls=Grouped,
    )(compare)


def compare(
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
    jobs: Annotated[int | None, _work("At once; one for each GPU, or one.")] = None,
    executor: Annotated[str, _work("local, or ray for a Ray cluster.")] = "local",
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
    from zoo.cli.probe import shots_of
    from zoo.cli.progress import RunView
    from zoo.verbs.compare import compare as verb
    from zoo.verbs.config import Output, RunConfig, merge

    read = given(
        image=image_col, text=names(text_col), audio=audio_col, label=names(label_col), task=task, limit=limit, val=val,
        skip_bad=skip_bad, allow_leak=allow_leak,
    )  # fmt: skip
    train = given(
        epochs=epochs, batch_size=batch_size, lr=lr, budget=budget, pooling=pooling, augment=augment, head=head,
        image_size=image_size, seed=seed, device=device, strategy_options=options_of(strategy_options),
    )  # fmt: skip
    config = merge(RunConfig(), {"read": read, "train": train})
    with RunView(quiet=False) as view, stoppable() as stop:
        found = verb(
            who,
            sets,
            strategies=names(strategy),
            shots=shots_of(shots),
            seeds=seeds,
            reference=reference,
            floors=not no_floors,
            weights=weights,
            training=config.train,
            read=config.read,
            out=Output(dir=out, name=name),
            executor=executor,
            jobs=jobs,
            offline=offline,
            watch=view,
            stop=stop,
        )
    folder = Path(out) / found.name
    console.print_json({**found.to_json(), "folder": str(folder)}) if json else show(found, folder)
    if report is not None:
        from zoo.reporting.writing import report as write

        write(found, **{PAGES[report.suffix]: report})
        console.note(f"wrote {report}")
    if found.failures:
        raise typer.Exit(1)


def show(found: Comparison, folder: Path) -> None:
    """What was found in sentences, a table for each data set, and where the rest lies."""
    for sentence in found.findings:
        console.print_text(sentence)
    for data in found.data:
        console.print_text("")
        _table(found, data)
    if found.overall:
        console.print_text("")
        rows = [
            [each.contender, f"{each.mean_rank:.2f}{console.between(each.interval)}", str(each.data)]
            for each in found.overall
        ]
        console.print_table(["contender", "mean rank", "data sets"], rows)
    for name, why in (found.failures or {}).items():
        console.note(f"failed    {name}: {why}")
    done = found.protocol
    console.print_text("")
    console.print_text(f"saved     {folder}  ({done.computed} measured now, {done.cached} known from earlier)")
    console.print_text(f"next      zoo report {folder} --html report.html")


def _table(found: Comparison, data: Data) -> None:
    """Contenders by value, then floors, then the answer that needs no model."""
    rows = {split: f"{count:,} {split}" for split, count in data.rows.items()}
    shots = list(dict.fromkeys(each.shots for each in found.standings if each.data == data.name))
    most = max(shots, key=lambda each: float("inf") if each == "all" else float(each))
    console.print_text(f"{data.name}  {' / '.join(rows.values())}, {data.task}, {data.held_out} {data.metric}")
    fewer = [each for each in shots if each != most]
    header = ["contender", f"{data.metric}, {most} rows" if most == "all" else f"{data.metric}, {most} shots"]
    header += ["rank", f"less {found.protocol.reference}", *map(str, fewer), "params", "ms/row", "training"]
    own = [each for each in found.standings if each.data == data.name and each.shots == most]
    floors = {each.title for each in found.contenders if each.floor_of is not None}
    lower = data.metric in ("log_loss", "rmse", "mae", "ece")
    own.sort(key=lambda each: (each.contender in floors, (each.value or 0.0) * (1 if lower else -1)))
    table = [_row(found, data, each, fewer) for each in own]
    blank = [""] * (len(header) - 2)
    always = "n/a" if data.trivial is None else f"{data.trivial:.3f}"
    console.print_table(header, [*table, ["always the same answer", always, *blank]])


def _row(found: Comparison, data: Data, standing: Standing, fewer: Sequence[Shots]) -> list[str]:
    contender = next(each for each in found.contenders if each.title == standing.contender)
    cost = standing.cost
    curve = {
        each.shots: each.value
        for each in found.standings
        if each.data == data.name and each.contender == standing.contender
    }
    return [
        standing.contender,
        _value(standing.value) + console.between(standing.interval),
        "" if standing.rank is None else str(standing.rank),
        _apart(found, data, standing.contender),
        *(_value(curve.get(each)) for each in fewer),
        console.human_count(contender.params),
        "?" if cost is None or cost.ms_per_row is None else f"{cost.ms_per_row:.1f}",
        "?" if cost is None else _seconds(cost.train_seconds),
    ]


def _apart(found: Comparison, data: Data, title: str) -> str:
    reference = found.protocol.reference
    for each in found.differences:
        if each.data == data.name and {each.of, each.since} == {title, reference}:
            value = each.value if each.of == title else -each.value
            return f"{value:+.3f}{'' if each.sure else ' (may be chance)'}"
    return "reference" if title == reference else ""


def _value(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
