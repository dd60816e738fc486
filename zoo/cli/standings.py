"""What a comparison found, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.cli import console

if TYPE_CHECKING:
    from zoo.comparison.result import Comparison, Contender, Data, Shots, Standing

MORE = ("macro_f1", "log_loss", "ece", "r2", "mae", "spearman")
"""Metrics that stand beside the main one, where the task has them."""


def show(found: Comparison, folder: Path) -> None:
    """What was found in sentences, two tables for each data set, and where the rest lies."""
    for sentence in found.findings:
        console.print_text(sentence)
    for data in found.data:
        console.print_text("")
        _tables(found, data)
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


def _tables(found: Comparison, data: Data) -> None:
    """Contenders by value, then floors, then the answer that needs no model; below, what else is known of each."""
    rows = {split: f"{count:,} {split}" for split, count in data.rows.items()}
    shots = list(dict.fromkeys(each.shots for each in found.standings if each.data == data.name))
    most = max(shots, key=lambda each: float("inf") if each == "all" else float(each))
    console.print_text(f"{data.name}  {' / '.join(rows.values())}, {data.task}, {data.held_out} {data.metric}")
    fewer = [each for each in shots if each != most]
    header = ["contender", f"{data.metric}, {most} rows" if most == "all" else f"{data.metric}, {most} shots"]
    header += ["rank", f"less {found.protocol.reference}", *map(str, fewer)]
    own = [each for each in found.standings if each.data == data.name and each.shots == most]
    floors = {each.title for each in found.contenders if each.floor_of is not None}
    lower = data.metric in ("log_loss", "rmse", "mae", "ece")
    own.sort(key=lambda each: (each.contender in floors, (each.value or 0.0) * (1 if lower else -1)))
    table = [_row(found, data, each, fewer) for each in own]
    blank = [""] * (len(header) - 2)
    always = "n/a" if data.trivial is None else f"{data.trivial:.3f}"
    console.print_table(header, [*table, ["always the same answer", always, *blank]])
    more = [name for name in MORE if name != data.metric and any(name in each.metrics for each in own)]
    contenders = {each.title: each for each in found.contenders}
    console.print_text("")
    console.print_table(
        ["", *more, "params", "FLOPs", "ms/row", "training", "memory"],
        [[each.contender, *_more(each, more), *_costs(each, contenders[each.contender])] for each in own],
    )


def _row(found: Comparison, data: Data, standing: Standing, fewer: Sequence[Shots]) -> list[str]:
    curve = {
        each.shots: each.value
        for each in found.standings
        if each.data == data.name and each.contender == standing.contender
    }
    return [
        standing.contender,
        _value(standing.value) + console.between(standing.interval),
        "" if standing.rank is None else str(standing.rank),
        _apart(found, data, standing),
        *(_value(curve.get(each)) for each in fewer),
    ]


def _more(standing: Standing, names: Sequence[str]) -> list[str]:
    return [_value(standing.metrics.get(name)) for name in names]


def _costs(standing: Standing, contender: Contender) -> list[str]:
    cost = standing.cost
    memory = None if cost is None else cost.peak_memory
    return [
        console.human_count(contender.params),
        console.human_count(contender.flops),
        "?" if cost is None or cost.ms_per_row is None else f"{cost.ms_per_row:.1f}",
        "?" if cost is None else _seconds(cost.train_seconds),
        "?" if memory is None else console.human_bytes(memory),
    ]


def _apart(found: Comparison, data: Data, standing: Standing) -> str:
    """How far from the reference on the same rows, with the interval of the difference."""
    reference, title = found.protocol.reference, standing.contender
    for each in found.differences:
        if (each.data, each.shots) == (data.name, standing.shots) and {each.of, each.since} == {title, reference}:
            sign = 1 if each.of == title else -1
            low, high = sorted(sign * end for end in each.interval)
            return f"{sign * each.value:+.3f}  [{low:+.3f}, {high:+.3f}]{'' if each.sure else ' (may be chance)'}"
    return "reference" if title == reference else ""


def _value(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
