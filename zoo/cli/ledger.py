"""`zoo ledger`: what was run on which data with what result, over all folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import console, options
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.records.entries import Entry, PastRanking, PastRun

_which = options.under("Which runs")
Backbone = Annotated[str | None, _which("As in '*resnet*'.")]
Of = Annotated[str | None, _which("Data, as in trec or '*/trec*'.", "--data")]
Strategy = Annotated[str | None, _which("As in full or 'l*'.")]
Task = Annotated[str | None, _which("As in multiclass.")]


def register(app: typer.Typer) -> None:
    """Add the command and what stands below it."""
    group = typer.Typer(
        help="Show finished runs of all folders; export, import or forget them.\n\n"
        "For example  zoo ledger --data trec --best",
        short_help="Show finished runs of all folders; export, import or forget them.",
        invoke_without_command=True,
        rich_markup_mode=None,
    )
    group.callback()(ledger)
    below: dict[str, tuple[Callable[..., None], str, str]] = {
        "export": (export, "Write the ledger into a .jsonl or .csv file.", "zoo ledger export runs.jsonl"),
        "import": (import_, "Take in an exported file, or the runs of a folder.", "zoo ledger import runs/"),
        "forget": (forget, "Strike runs out for good.", "zoo ledger forget --data toy"),
        "off": (off, "Write nothing down from now on.", "zoo ledger off && zoo rank photos"),
        "on": (on, "Write runs down again.", "zoo ledger on && zoo rank photos"),
    }
    for name, (command, text, example) in below.items():
        group.command(name, help=f"{text}\n\nFor example  {example}")(command)
    app.add_typer(group, name="ledger")


def ledger(
    context: typer.Context,
    backbone: Backbone = None,
    data: Of = None,
    strategy: Strategy = None,
    task: Task = None,
    best: Annotated[bool, typer.Option("--best", help="The best of each data set first, not the newest.")] = False,
    limit: Annotated[int, typer.Option(help="Show so many.")] = 50,
    json: options.Json = False,
) -> None:
    """Parse, look up, render."""
    if context.invoked_subcommand is not None:
        if json or best or backbone or data or strategy or task:
            word = context.invoked_subcommand
            raise UsageError(f"options stand behind '{word}'", help=f"`zoo ledger {word} --help` shows what it takes")
        return None
    if limit < 1:
        raise UsageError(f"--limit {limit} is not above 0", help="give a positive number")
    from zoo.records.entries import PastRun
    from zoo.records.ledger import ledger_file, read, why_off

    found = chosen(read(PastRun), backbone, data, strategy, task)
    found = ordered(found) if best else found
    if json:
        return console.print_json([{"id": each.id, **each.to_json()} for each in found[:limit]])
    if off_why := why_off():
        console.note(f"note      {off_why}: finished runs are not written down")
    if not found:
        return console.note(
            f"no such runs in {ledger_file()}; `zoo finetune` adds one, `zoo ledger import` those of old"
        )
    rows = [_row(each) for each in found[:limit]]
    console.print_table(["backbone", "id", "result", "data", "strategy", "rows", "seed", "time"], rows)
    if len(found) > limit:
        console.note(f"{limit} of {len(found):,} runs; --limit {len(found)} shows all")
    return None


def export(
    file: Annotated[Path, typer.Argument(help="Ends in .jsonl (all) or .csv (runs).")],
    backbone: Backbone = None,
    data: Of = None,
    strategy: Strategy = None,
    task: Task = None,
    overwrite: Annotated[bool, options.of_output("Replace the file.", "--overwrite")] = False,
) -> None:
    """Parse, write, say."""
    from zoo.records.entries import PastRanking, PastRun
    from zoo.records.ledger import read
    from zoo.verbs.ledger import export as verb

    if file.exists() and not overwrite:
        raise UsageError(f"{file} exists", help="add --overwrite, or choose another name")
    runs = chosen(read(PastRun), backbone, data, strategy, task)
    everything: Sequence[Entry] = runs
    if not (backbone or data or strategy or task):
        everything = [*runs, *read(PastRanking)]
    count = verb(file, everything)
    console.print_text(f"wrote {file}  {count:,} of {len(everything):,} entries")


def import_(
    source: Annotated[str, typer.Argument(help="A .jsonl or .csv file, a run, or a folder of runs.")],
    json: options.Json = False,
) -> None:
    """Parse, take in, say."""
    from zoo.verbs.ledger import import_from

    done = import_from(source)
    if json:
        return console.print_json(done.to_json())
    for path, why in done.left_out.items():
        console.note(f"left out  {path}: {why}")
    return console.print_text(f"{done.new:,} new, {done.known:,} known already")


def forget(
    ids: Annotated[list[str] | None, typer.Argument(help="As `zoo ledger` shows them.")] = None,
    backbone: Backbone = None,
    data: Of = None,
    strategy: Strategy = None,
    task: Task = None,
    everything: Annotated[bool, _which("Every run and every ranking.", "--everything")] = False,
) -> None:
    """Parse, strike out, say."""
    from zoo.records.entries import PastRanking, PastRun
    from zoo.records.ledger import forget as strike
    from zoo.records.ledger import read

    runs, rankings = read(PastRun), read(PastRanking)
    if everything:
        which: set[str] = {each.id for each in (*runs, *rankings)}
    elif backbone or data or strategy or task:
        if ids:
            raise UsageError("ids and filters are two ways to say the same", help="give one of them")
        which = {each.id for each in chosen(runs, backbone, data, strategy, task)}
        if not (backbone or strategy):
            which |= {each.id for each in _rankings_of(rankings, data, task)}
    elif ids:
        which = set(ids)
        unknown = which - {each.id for each in (*runs, *rankings)}
        if unknown:
            raise UsageError(f"the ledger has no {', '.join(sorted(unknown))}", help="`zoo ledger` shows the ids")
    else:
        raise UsageError("what to forget is not said", help="give ids, --data, --backbone, or --everything")
    console.print_text(f"forgot {strike(which):,} entries")


def off() -> None:
    """For this user, until it is said otherwise."""
    from zoo.records.ledger import ledger_file, switch

    switch(on=False)
    console.print_text(f"finished runs are no longer written down; what is in {ledger_file()} stays")


def on() -> None:
    """Take it back."""
    from zoo.records.ledger import ledger_file, switch, why_off

    switch(on=True)
    still = why_off()
    if still:
        raise UsageError(f"the ledger stays off: {still}", help="unset ZOO_LEDGER")
    console.print_text(f"finished runs are written down in {ledger_file()}")


def chosen(
    runs: Sequence[PastRun], backbone: str | None, data: str | None, strategy: str | None, task: str | None
) -> list[PastRun]:
    """Those that match every pattern; data by their whole name or by what it comes down to."""
    return [
        run
        for run in runs
        if _like(run.backbone, backbone)
        and _of_data(run.data, data)
        and _like(run.strategy, strategy)
        and _like(run.task, task)
    ]


def _rankings_of(rankings: Sequence[PastRanking], data: str | None, task: str | None) -> list[PastRanking]:
    return [each for each in rankings if _of_data(each.data, data) and _like(each.task, task)]


def ordered(runs: Sequence[PastRun]) -> list[PastRun]:
    """Data by their names, the best run of each first."""
    from zoo.records.prior import set_name

    def worst_last(run: PastRun) -> tuple[str, str, bool, float]:
        value = run.value or 0.0
        return set_name(run.data), run.metric, run.value is None, -value if run.greater else value

    return sorted(runs, key=worst_last)


def _of_data(name: str, pattern: str | None) -> bool:
    from zoo.records.prior import set_name

    return _like(name, pattern) or _like(set_name(name), pattern)


def _like(text: str, pattern: str | None) -> bool:
    from fnmatch import fnmatchcase

    return pattern is None or fnmatchcase(text.casefold(), pattern.casefold())


def _row(run: PastRun) -> list[str]:
    value = "-" if run.value is None else f"{run.value:.3f}"
    leak = " (leak)" if run.leak else ""
    return [
        run.backbone,
        run.id,
        f"{run.split} {run.metric} {value}{leak}",
        run.data,
        run.strategy,
        f"{run.rows:,}",
        str(run.seed),
        run.time.replace("T", " ").removesuffix("+00:00"),
    ]
