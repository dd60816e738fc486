"""Accuracy against cost, and over training rows: what goes into the figures, and what they say in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zoo.comparison.result import Comparison, Contender, Data, Standing
from zoo.reporting import words
from zoo.reporting.blocks import Block, Cell, Choice, Column, Fold, Grid, Heading, Option, Picture, Row, Section
from zoo.reporting.figures import Line, Spot, draw_costs, draw_curves
from zoo.reporting.names import Names
from zoo.reporting.results import of_most
from zoo.transfer.metrics import greater_is_better

Price = Callable[[Contender, Standing], float | None]
_PRICES: tuple[tuple[str, str, Price], ...] = (
    ("Parameters", "parameters", lambda who, at: who.params),
    ("ms a row", "ms a row", lambda who, at: at.cost.ms_per_row if at.cost else None),
    ("Training", "training, seconds", lambda who, at: at.cost.train_seconds if at.cost else None),
    ("FLOPs a row", "FLOPs a row", lambda who, at: who.flops),
    ("Memory", "peak memory, bytes", lambda who, at: at.cost.peak_memory if at.cost else None),
)


def costs(found: Comparison, names: Names) -> Section | None:
    """A figure for each data set and cost."""
    blocks: list[Block] = []
    for number, data in enumerate(found.data):
        options = [
            Option(title, (figure,))
            for title, axis, price in _PRICES
            if (figure := _costs(found, data, names, axis, price, f"cost{number}-{axis[:4]}")) is not None
        ]
        if options:
            blocks += [Heading(data.name)] if len(found.data) > 1 else []
            blocks.append(Choice(f"Cost on {data.name}", tuple(options)))
    said = (
        "Along the front nothing is both cheaper and better; what lies off it costs more for less. Floors and the "
        "dashed trivial answer are shown, but are never on the front.",
    )
    metrics = {data.metric for data in found.data}
    what = words.capital(words.metric(found.data[0].metric)) if len(metrics) == 1 else "Quality"
    return Section("cost", f"{what} against cost", said, tuple(blocks)) if blocks else None


def _costs(found: Comparison, data: Data, names: Names, axis: str, price: Price, salt: str) -> Picture | None:
    spots, free = [], []
    standings = [each for each in of_most(found, data) if each.value is not None]
    for each in standings:
        who = names.contenders.get(each.contender)
        cost = price(who, each) if who is not None else None
        if each.value is not None and cost is not None and cost > 0:
            spots.append(Spot(names.bare(each.contender), cost, each.value, each.interval))
        elif each.value is not None and cost == 0:  # a logarithm has no zero
            free.append(each.contender)
    if len({spot.x for spot in spots}) < 2:
        return None
    best = front([spot for spot in spots if not spot.name.hollow], up=greater_is_better(data.metric))
    metric = words.metric(data.metric)
    on = words.listed([f"{words.short(spot.name.title, 40)} ({spot.name.sign})" for spot in best])
    caption = f"{words.capital(metric)} on {words.short(data.name, 60)} over {axis}. On the front: {on}."
    if free:
        caption += f" Not shown, having no {axis}: {words.listed([words.short(each, 40) for each in free])}."
    svg = draw_costs(spots, best, axis, metric, data.trivial, salt)
    # The same key beside every cost, as on paper it stands beside the first alone.
    return Picture(svg, caption, caption, names.in_order(each.contender for each in standings))


def front(spots: Sequence[Spot], *, up: bool) -> list[Spot]:
    """Those that nothing beats in both (Pareto), the cheapest first."""
    sign = 1.0 if up else -1.0
    found: list[Spot] = []
    for spot in sorted(spots, key=lambda each: (each.x, -sign * each.y)):
        if not found or sign * spot.y > sign * found[-1].y:
            found.append(spot)
    return found


def curves(found: Comparison, names: Names) -> Section | None:
    """A figure for each data set that was learned from few and many rows."""
    blocks: list[Block] = []
    for number, data in enumerate(found.data):
        here = [each for each in found.standings if each.data == data.name and each.value is not None]
        if len({each.rows for each in here}) < 2:
            continue
        blocks += [Heading(data.name)] if len(found.data) > 1 else []
        blocks += [
            _curves(here, data, names, f"curve{number}"),
            Fold("The same as a table", (_table(here, data, names),)),
        ]
    said = (
        "What each contender makes of few and of many rows. Bands: 95% intervals, over held-out rows and seeds; the "
        "widest go on beyond the frame.",
    )
    return Section("curves", "Learning curves", said, tuple(blocks)) if blocks else None


def _curves(here: Sequence[Standing], data: Data, names: Names, salt: str) -> Picture:
    lines = []
    for name in names.in_order(each.contender for each in here):
        own = sorted((each for each in here if each.contender == name.title), key=lambda each: each.rows)
        lines.append(Line(name, tuple(Spot(name, each.rows, each.value or 0.0, each.interval) for each in own)))
    metric = words.metric(data.metric)
    upto = max(each.rows for each in here)
    caption = f"{words.capital(metric)} on {words.short(data.name, 60)} over training rows, up to {upto:,}."
    return Picture(draw_curves(lines, metric, data.trivial, salt), caption, caption, tuple(line.name for line in lines))


def _table(here: Sequence[Standing], data: Data, names: Names) -> Grid:
    shots = list(dict.fromkeys((each.rows, str(each.shots)) for each in sorted(here, key=lambda each: each.rows)))
    columns = (Column("Contender", "name"), *(Column(f"{shot} ({rows:,} rows)") for rows, shot in shots))
    rows = []
    for name in names.in_order(each.contender for each in here):
        own = {str(each.shots): each for each in here if each.contender == name.title}
        cells = [
            Cell(words.figure(own[shot].value), words.between(own[shot].interval)) if shot in own else Cell("–")
            for _, shot in shots
        ]
        rows.append(Row((Cell(name.title, name=name), *cells), "floor" if name.hollow else "plain"))
    return Grid(f"{words.capital(words.metric(data.metric))} by rows of each class", columns, tuple(rows))
