"""The figures as CSV files: a column for each variable, a row for each observation."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from zoo.comparison.result import Comparison, Contender, Cost, Standing
from zoo.records.files import published

Value = str | int | float | None
_STANDINGS = (
    "data", "contender", "backbone", "modalities", "strategy", "floor_of", "shots", "rows", "seeds", "metric", "main",
    "value", "low", "high", "rank", "params", "trained_params", "flops", "dim", "ms_per_row", "train_seconds",
    "peak_memory", "licence",
)  # fmt: skip
_DIFFERENCES = ("data", "shots", "of", "since", "metric", "value", "low", "high", "p", "adjusted", "sure", "test")
_CURVES = ("data", "contender", "shots", "rows", "seed", "metric", "value", "mean", "low", "high")


def write_tables(found: Comparison, folder: Path) -> tuple[Path, ...]:
    """`standings.csv`, `differences.csv` and `curves.csv`, whole or not at all."""
    tables = {
        "standings.csv": _text(_STANDINGS, _standings(found)),
        "differences.csv": _text(_DIFFERENCES, _differences(found)),
        "curves.csv": _text(_CURVES, _curves(found)),
    }
    for name, text in tables.items():
        with published(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    return tuple(folder / name for name in tables)


def _text(heads: Sequence[str], rows: Iterator[Mapping[str, Value]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(heads)
    for row in rows:
        writer.writerow([_cell(row[head]) for head in heads])
    return buffer.getvalue()


def _cell(value: Value) -> Value:
    """A spreadsheet takes text that begins like a formula for one, and carries it out; an apostrophe keeps it text."""
    if isinstance(value, str):
        value = value.replace("\0", "")
        return f"'{value}" if value.lstrip(" ")[:1] in ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%") else value
    return "" if value is None else value


def _standings(found: Comparison) -> Iterator[dict[str, Value]]:
    """A row for each contender, data set, number of rows and metric."""
    main = {each.name: each.metric for each in found.data}
    contenders = {each.title: each for each in found.contenders}
    for each in found.standings:
        metric, fixed = main[each.data], {**_contender(contenders[each.contender]), **_cost(each.cost)}
        for name, value in {metric: each.value, **each.metrics}.items():
            is_main = name == metric
            low, high = (each.interval if is_main else each.intervals.get(name)) or (None, None)
            yield {
                **fixed, "data": each.data, "shots": each.shots, "rows": each.rows, "seeds": len(each.values),
                "metric": name, "main": "yes" if is_main else "no", "value": value, "low": low, "high": high,
                "rank": each.rank if is_main else None,
            }  # fmt: skip


def _contender(who: Contender) -> dict[str, Value]:
    return {
        "contender": who.title, "backbone": who.backbone, "modalities": "+".join(who.modalities),
        "strategy": who.strategy, "floor_of": who.floor_of, "params": who.params, "flops": who.flops, "dim": who.dim,
        "licence": who.licence,
    }  # fmt: skip


def _cost(cost: Cost | None) -> dict[str, Value]:
    fields = ("train_seconds", "ms_per_row", "peak_memory", "trained_params")
    return {name: None if cost is None else getattr(cost, name) for name in fields}


def _differences(found: Comparison) -> Iterator[dict[str, Value]]:
    main = {each.name: each.metric for each in found.data}
    for each in found.differences:
        yield {
            "data": each.data, "shots": each.shots, "of": each.of, "since": each.since, "metric": main.get(each.data),
            "value": each.value, "low": each.interval[0], "high": each.interval[1], "p": each.p,
            "adjusted": each.adjusted, "sure": "yes" if each.sure else "no", "test": each.test,
        }  # fmt: skip


def _curves(found: Comparison) -> Iterator[dict[str, Value]]:
    """A row for each seed; mean and interval are those of all seeds."""
    main = {each.name: each.metric for each in found.data}
    for each in sorted(found.standings, key=_place(found)):
        low, high = each.interval or (None, None)
        for index, value in enumerate(each.values):
            seed = found.protocol.seeds[index] if index < len(found.protocol.seeds) else index
            yield {
                "data": each.data, "contender": each.contender, "shots": each.shots, "rows": each.rows, "seed": seed,
                "metric": main.get(each.data), "value": value, "mean": each.value, "low": low, "high": high,
            }  # fmt: skip


def _place(found: Comparison) -> Callable[[Standing], tuple[int, int, int]]:
    data = {each.name: at for at, each in enumerate(found.data)}
    contenders = {each.title: at for at, each in enumerate(found.contenders)}
    return lambda each: (data.get(each.data, 0), contenders.get(each.contender, 0), each.rows)
