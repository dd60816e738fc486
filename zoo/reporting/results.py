"""The tables of each data set: who is best, how far the others are from it, what each costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from zoo.comparison.result import Apart, Comparison, Data, Shots, Standing
from zoo.reporting import words
from zoo.reporting.blocks import Block, Cell, Column, Fold, Grid, Heading, Name, Pair, Row, Section, Whisker
from zoo.reporting.names import Names
from zoo.transfer.metrics import greater_is_better

_BESIDE = ("accuracy", "macro_f1", "log_loss", "ece", "rmse", "mae", "r2", "micro_f1", "auroc")
"""What stands beside the main metric where the task has it, in this order."""
_MOST_BESIDE = 3
_MOST_PAIRS = 12
"""More differences than these are folded away."""


def most(found: Comparison) -> Shots:
    """The most training rows that were asked for, which the tables are about."""
    return (
        "all"
        if "all" in found.protocol.shots
        else max(found.protocol.shots, key=lambda each: (str(each) == "all", each), default="all")
    )


def of_most(found: Comparison, data: Data) -> tuple[Standing, ...]:
    """The standings on these data after the most rows, the best first; what has no value last."""
    sign = -1.0 if greater_is_better(data.metric) else 1.0
    here = [each for each in found.standings if each.data == data.name and each.shots == most(found)]
    return tuple(sorted(here, key=lambda each: (each.value is None, sign * (each.value or 0.0))))


def results(found: Comparison, names: Names) -> Section | None:
    """The main table of each data set, the differences and the costs."""
    blocks: list[Block] = []
    for data in found.data:
        standings = of_most(found, data)
        if not standings:
            continue
        if len(found.data) > 1:
            blocks.append(Heading(data.name))
        blocks += [_standings(found, data, standings, names), *_differences(found, data, names)]
        blocks += _costs(data, standings, names)
    said = (
        "Intervals are 95%. Contenders that cannot be told apart share a rank. A floor has the same architecture with "
        "random weights: what it scores is not owed to pretraining.",
    )
    return Section("results", "Results", said, tuple(blocks)) if blocks else None


def _standings(found: Comparison, data: Data, standings: Sequence[Standing], names: Names) -> Grid:
    beside = _beside(data.metric, standings)
    reference = _reference(found, standings)
    apart = _against(found, data, reference)
    scale = _scale([*((each.value, each.interval) for each in standings), (data.trivial, None)])
    columns = [
        Column("Contender", "name"),
        Column("Rank"),
        Column(words.metric(data.metric)),
        Column("95% interval", "drawn", (words.figure(scale[0], 2), words.figure(scale[1], 2))),
    ]
    if apart:
        columns += [Column(f"Difference to {_short(reference, names)}"), Column("p, adjusted")]
    columns += [Column(words.metric(name)) for name in beside]
    shared = {each.rank for each in standings if sum(other.rank == each.rank for other in standings) > 1}
    rows = []
    for each in standings:
        name = names[each.contender]
        cells = [
            Cell(each.contender, name=name),
            Cell(_rank(each.rank, shared)),
            _value(each),
            _drawn(each, scale, data, name),
        ]
        if apart:
            cells += _difference(apart.get(each.contender), each.contender == reference)
        cells += [Cell(words.figure(each.metrics.get(name))) for name in beside]
        rows.append(Row(tuple(cells), "floor" if name.hollow else "reference" if "reference" in name.tags else "plain"))
    _add_trivial(rows, data, standings, scale, len(columns))
    return Grid(_caption(data, standings), tuple(columns), tuple(rows), _notes(data))


def _beside(main: str, standings: Sequence[Standing]) -> tuple[str, ...]:
    known = {name for each in standings for name, value in each.metrics.items() if value is not None} - {main}
    first = [name for name in _BESIDE if name in known]
    others = [name for each in standings[:1] for name in each.metrics if name in known and name not in first]
    return tuple([*first, *others][:_MOST_BESIDE])


def _reference(found: Comparison, standings: Sequence[Standing]) -> str | None:
    """The contender that was chosen, else the best one that is no floor."""
    here = [each.contender for each in standings]
    if found.protocol.reference in here:
        return found.protocol.reference
    return next((each.contender for each in standings if each.rank is not None), None)


def _against(found: Comparison, data: Data, reference: str | None) -> dict[str, Apart]:
    """Each contender less the reference."""
    here = [each for each in found.differences if each.data == data.name and each.shots == most(found)]
    return {
        **{each.of: each for each in here if each.since == reference},
        **{each.since: turned(each) for each in here if each.of == reference},
    }


def turned(each: Apart) -> Apart:
    """The same difference, seen from the other side."""
    low, high = each.interval
    return Apart(
        each.data, each.shots, each.since, each.of, -each.value, (-high, -low), each.p, each.adjusted, each.test
    )


def _difference(apart: Apart | None, is_reference: bool) -> list[Cell]:
    if apart is None:
        return [Cell("reference" if is_reference else "–"), Cell("–")]
    clear = "" if apart.sure else "not clear"
    return [
        Cell(words.signed(apart.value), words.between_signed(apart.interval)),
        Cell(words.probability(apart.adjusted), clear),
    ]


def _value(each: Standing) -> Cell:
    return Cell(words.figure(each.value), words.between(each.interval))


def _drawn(each: Standing, scale: Pair, data: Data, name: Name) -> Cell:
    if each.value is None:
        return Cell()
    return Cell(drawn=Whisker(each.value, each.interval, scale, data.trivial, name.hollow))


def _add_trivial(rows: list[Row], data: Data, standings: Sequence[Standing], scale: Pair, width: int) -> None:
    """The answer that needs no model, where its value belongs among the others."""
    if data.trivial is None:
        return
    title = "Always the mean" if data.task == "regression" else "Always the most frequent answer"
    cells = [
        Cell(title, name=Name(title, tags=("no model",))),
        Cell("–"),
        Cell(words.figure(data.trivial)),
        Cell(drawn=Whisker(data.trivial, None, scale, data.trivial, hollow=True)),
    ]
    row = Row((*cells, *[Cell("–")] * (width - len(cells))), "trivial")
    up = greater_is_better(data.metric)
    ahead = [each for each in standings if each.value is not None and (each.value >= data.trivial) == up]
    rows.insert(len(ahead), row)


def _rank(rank: int | None, shared: set[int | None]) -> str:
    return "–" if rank is None else f"{rank} =" if rank in shared else str(rank)


def _caption(data: Data, standings: Sequence[Standing]) -> str:
    seeds = max(len(each.values) for each in standings)
    mean = f", means of {seeds} seeds" if seeds > 1 else ""
    rows = f"{data.rows.get(data.held_out, 0):,} held-out rows ({data.held_out})"
    better = "" if greater_is_better(data.metric) else "; lower is better"
    trained = sorted({each.rows for each in standings})
    after = f"{trained[0]:,}" if len(trained) == 1 else f"{trained[0]:,} to {trained[-1]:,}"
    return f"{words.capital(words.metric(data.metric))} on {rows} after {after} training rows{mean}{better}"


def _notes(data: Data) -> tuple[str, ...]:
    return (
        () if data.trivial is None else ("Dashed line: what the trivial answer scores. Hollow: no pretrained weights.",)
    )


def _short(title: str | None, names: Names) -> str:
    return f"no. {names[title].sign}" if title in names.contenders else ""


def _scale(points: Iterable[tuple[float | None, Pair | None]], *, zero: bool = False) -> Pair:
    """The ends that all of these values and intervals fit between."""
    found = [each for value, pair in points if value is not None for each in (value, *(pair or ()))]
    ends = [*found, 0.0] if zero else found
    if not ends:
        return 0.0, 1.0
    room = (max(ends) - min(ends)) * 0.04 or 0.05
    low, high = min(ends) - room, max(ends) + room
    are_shares = not zero and min(ends) >= 0 and max(ends) <= 1
    return (max(low, 0.0), min(high, 1.0)) if are_shares else (low, high)


scale_of = _scale


def _differences(found: Comparison, data: Data, names: Names) -> list[Block]:
    """Pairs on the same rows: those with the reference, all others folded where there are many."""
    here = [each for each in found.differences if each.data == data.name and each.shots == most(found)]
    if not here:
        return []
    first = _reference(found, of_most(found, data))
    beside = sorted(_against(found, data, first).values(), key=lambda each: -each.value)
    if len(here) <= _MOST_PAIRS or not beside:
        return [_forest("Differences on the same held-out rows", _better_first(here, data), data, names)]
    every = _forest("Every pair", _better_first(here, data), data, names)
    return [
        _forest(f"Differences to no. {names[first or ''].sign} on the same held-out rows", beside, data, names),
        Fold(f"Every pair ({len(here)})", (every,)),
    ]


def _better_first(pairs: Sequence[Apart], data: Data) -> list[Apart]:
    up = greater_is_better(data.metric)
    return [each if (each.value >= 0) == up or not each.value else turned(each) for each in pairs]


def _forest(caption: str, pairs: Sequence[Apart], data: Data, names: Names) -> Grid:
    scale = _scale([(each.value, each.interval) for each in pairs], zero=True)
    columns = (
        Column("Pair", "name"),
        Column("Difference"),
        Column("95% interval, paired", "drawn", (words.signed(scale[0], 2), words.signed(scale[1], 2))),
        Column("p"),
        Column("p, adjusted"),
        Column("Clear at 5%", "text"),
        Column("Test", "text"),
    )
    rows = []
    for each in sorted(pairs, key=lambda pair: -pair.value):
        title = f"{_numbered(each.of, names)} {words.MINUS} {_numbered(each.since, names)}"
        drawn = Whisker(each.value, each.interval, scale, 0.0, hollow=not each.sure)
        sure = "yes" if each.sure else "no"
        cells = (
            Cell(title),
            Cell(words.signed(each.value), words.between_signed(each.interval)),
            Cell(drawn=drawn),
            Cell(words.probability(each.p)),
            Cell(words.probability(each.adjusted)),
            Cell(sure),
            Cell(each.test),
        )
        rows.append(Row(cells))
    side = "right" if greater_is_better(data.metric) else "left"
    note = f"Dashed line: no difference; to its {side} the first is better. Hollow: not clear after Holm's correction."
    return Grid(caption, columns, tuple(rows), (note,))


def _numbered(title: str, names: Names) -> str:
    name = names[title]
    return f"{words.short(title, 40)} ({name.sign})" if name.sign else words.short(title, 40)


def _costs(data: Data, standings: Sequence[Standing], names: Names) -> list[Block]:
    if all(each.cost is None and names.contenders.get(each.contender) is None for each in standings):
        return []
    titles = ("Parameters", "of them trained", "FLOPs a row", "D", "ms a row", "Training", "Peak memory")
    rows = []
    for each in standings:
        who, cost = names.contenders.get(each.contender), each.cost
        cells = (
            Cell(each.contender, name=names.bare(each.contender)),
            Cell(words.many(who.params if who else None)),
            Cell(words.many(cost.trained_params if cost else None)),
            Cell(words.many(who.flops if who else None)),
            Cell(f"{who.dim:,}" if who and who.dim else "–"),
            Cell(words.many(cost.ms_per_row if cost else None)),
            Cell(words.duration(cost.train_seconds if cost else None)),
            Cell(words.memory(cost.peak_memory if cost else None)),
        )
        rows.append(Row(cells, "floor" if names.is_floor(each.contender) else "plain"))
    columns = (Column("Contender", "name"), *map(Column, titles))
    note = "FLOPs: of one forward pass, multiplications and additions counted apart. D: length of the pooled features."
    return [Grid("What each costs", columns, tuple(rows), (note,))]
