"""The figures of a report, drawn by matplotlib: numbers and marks in them, names in the legend beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from zoo.reporting import words
from zoo.reporting.blocks import Name, Pair
from zoo.reporting.names import SHAPES
from zoo.reporting.svg import INK, PAPER, as_svg, colour, settings

_WIDTH, _HEIGHT = 5.0, 3.4
"""Inches; type of 9 points is then readable at the width of a phone."""
_FEW = 5
"""Bands that can lie on each other and be seen."""
_LEAST_RATIO = 1.45
_ENOUGH = 50
"""Rows of which some can be told to be far from the others."""
_APART = 15.0
"""Points between the letters of two classes."""
_NEAR = 9.0
"""Points: two numbers that are nearer than this cannot be told apart."""


@dataclass(frozen=True)
class Spot:
    """A contender where it stands in a figure."""

    name: Name
    x: float
    y: float
    interval: Pair | None


@dataclass(frozen=True)
class Line:
    """A contender over more and more training rows."""

    name: Name
    spots: tuple[Spot, ...]


def draw_costs(
    spots: Sequence[Spot], front: Sequence[Spot], across: str, up: str, trivial: float | None, salt: str
) -> str:
    """Value over cost on a logarithmic axis, with the front that nothing beats in both."""
    from matplotlib.figure import Figure

    with settings():
        drawn = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes = drawn.subplots()
        axes.set_xscale("log")
        for spot in spots:
            _whisker(axes, spot)
        if len(front) > 1:
            corners = sorted((spot.x, spot.y) for spot in front)
            axes.plot(*zip(*corners, strict=True), color=INK, linewidth=1.1, drawstyle="steps-post", zorder=1.5)
        for spot in spots:
            _mark(axes, spot.name, [spot.x], [spot.y], size=7.5)
        _trivial(axes, trivial)
        _log_ticks(axes, [spot.x for spot in spots])
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.grid(axis="y")
        drawn.draw_without_rendering()
        _number(axes, spots, {spot.name.title for spot in front})
        return as_svg(drawn, salt)


def draw_curves(lines: Sequence[Line], up: str, trivial: float | None, salt: str) -> str:
    """Value over training rows, a line and a band for each contender."""
    from matplotlib.figure import Figure

    with settings():
        drawn = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes = drawn.subplots()
        axes.set_xscale("log", base=2)
        for line in lines:
            x, y = [spot.x for spot in line.spots], [spot.y for spot in line.spots]
            shade = colour(line.name.colour)
            style = (0, (4, 2)) if line.name.hollow else "solid"
            axes.plot(x, y, color=shade, linewidth=1.4, linestyle=style, zorder=2)
            at, low, high = _band(line)
            axes.fill_between(
                at, low, high, color=shade, alpha=0.13 if len(lines) <= _FEW else 0.06, linewidth=0, zorder=1
            )
            _mark(axes, line.name, x, y, size=5.5)
        _trivial(axes, trivial)
        rows = _apart({spot.x for line in lines for spot in line.spots})
        axes.set_xticks(rows, [words.many(row) if row >= 10_000 else f"{row:,.0f}" for row in rows])
        axes.minorticks_off()
        axes.set_ylim(limits(lines, trivial))
        axes.set_xlabel("training rows")
        axes.set_ylabel(up)
        axes.grid(axis="y")
        drawn.draw_without_rendering()
        _number_ends(axes, lines)
        return as_svg(drawn, salt)


def draw_map(points: Sequence[Pair], names: Sequence[Name], salt: str) -> str:
    """Rows in two dimensions, a mark for each class and its letter in the middle."""
    from matplotlib.figure import Figure

    with settings():
        drawn = Figure(figsize=(_WIDTH, _WIDTH * 0.8), layout="constrained")
        axes = drawn.subplots()
        for name in sorted(dict.fromkeys(names), key=lambda each: each.sign):
            here = [point for point, each in zip(points, names, strict=True) if each == name]
            _mark(axes, name, [x for x, _ in here], [y for _, y in here], size=4.2, edge=0.4)
        middles = {}
        for name in dict.fromkeys(names):
            here = [point for point, each in zip(points, names, strict=True) if each == name]
            middles[name] = (median(x for x, _ in here), median(y for _, y in here))
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        drawn.draw_without_rendering()
        _letter(axes, {name: middle for name, middle in middles.items() if name.sign})
        return as_svg(drawn, salt)


def within(points: Sequence[Pair]) -> tuple[list[Pair], int]:
    """Points, those far from all others moved to the edge, and how many these are.

    A few rows that are like no other would push all the rest into one spot.
    """
    if len(points) < _ENOUGH:
        return list(points), 0
    bounds = []
    for values in zip(*points, strict=True):
        cuts = quantiles(values, n=40)  # 95% of the rows lie between the first and the last
        room = 0.75 * (cuts[-1] - cuts[0])
        bounds.append((cuts[0] - room, cuts[-1] + room))
    (left, right), (low, high) = bounds
    moved = [(min(max(x, left), right), min(max(y, low), high)) for x, y in points]
    return moved, sum(new != old for new, old in zip(moved, points, strict=True))


def _letter(axes: Any, middles: Mapping[Name, Pair]) -> None:
    """The letter of each class in its middle, or as near as there is room, with a line to it."""
    scale = 72 / axes.figure.dpi
    taken: list[Pair] = []
    for name, middle in sorted(middles.items(), key=lambda each: each[0].sign):
        x, y = axes.transData.transform(middle) * scale
        ring = ((at, step * 0.5 * math.tau / 8 + at) for at in range(12) for step in range(16 if at else 1))
        spots = ((x + at * 7 * math.cos(turn), y + at * 7 * math.sin(turn)) for at, turn in ring)
        spot = next((each for each in spots if all(math.dist(each, other) > _APART for other in taken)), (x, y))
        taken.append(spot)
        axes.annotate(
            name.sign,
            middle,
            (spot[0] - x, spot[1] - y),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9.5,
            fontweight="bold",
            zorder=5,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0},
            bbox={
                "boxstyle": "round,pad=0.2",
                "facecolor": PAPER,
                "edgecolor": colour(name.colour),
                "linewidth": 1,
            },
        )


def _mark(axes: Any, name: Name, x: Sequence[float], y: Sequence[float], *, size: float, edge: float = 0.9) -> None:
    shape = SHAPES[name.shape]
    fill = PAPER if name.hollow else colour(name.colour)
    # A rim of the page's own colour keeps marks apart where they lie on each other.
    rim = colour(name.colour) if name.hollow else PAPER
    corners: Any = [(a, -b) for a, b in [*shape, shape[0]]] if shape else "o"
    axes.plot(
        x,
        y,
        linestyle="none",
        marker=corners,
        markersize=size * (1.2 if shape else 1.0),
        color=fill,
        markeredgecolor=rim,
        markeredgewidth=1.3 if name.hollow else edge,
        zorder=3,
    )


def _whisker(axes: Any, spot: Spot) -> None:
    if spot.interval is not None:
        axes.plot([spot.x, spot.x], spot.interval, color=colour(spot.name.colour), linewidth=1.2, alpha=0.7, zorder=2)


def limits(lines: Sequence[Line], trivial: float | None) -> Pair:
    """Ends of the axis of values: all values are within, and of a band no more than as much again on each side."""
    spots = [spot for line in lines for spot in line.spots]
    values = [*(spot.y for spot in spots), *([] if trivial is None else [trivial])]
    pairs = [spot.interval for spot in spots if spot.interval is not None]
    low, high = min(values), max(values)
    span = max(high - low, median(b - a for a, b in pairs) if pairs else 0.0) or 0.1
    ends = [*values, *(max(a, low - span) for a, _ in pairs), *(min(b, high + span) for _, b in pairs)]
    return min(ends) - 0.04 * span, max(ends) + 0.04 * span


def _apart(rows: Iterable[float]) -> list[float]:
    """Numbers of rows, the greatest kept, so far apart on a logarithmic axis that all can be read."""
    kept: list[float] = []
    for row in sorted(rows, reverse=True):
        if not kept or kept[-1] / row > _LEAST_RATIO:
            kept.append(row)
    return kept[::-1]


def _band(line: Line) -> tuple[list[float], list[float], list[float]]:
    known = [(spot.x, spot.interval) for spot in line.spots if spot.interval is not None]
    return [x for x, _ in known], [pair[0] for _, pair in known], [pair[1] for _, pair in known]


def _trivial(axes: Any, trivial: float | None) -> None:
    if trivial is not None:
        axes.axhline(trivial, color=INK, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)


def _log_ticks(axes: Any, found: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    narrow = math.log10(max(found) / min(found)) < 1.6
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.many(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = min(found), max(found)
    room = max((high / low) ** 0.08, 1.15)
    axes.set_xlim(low / room, high * room)


def _number(axes: Any, spots: Sequence[Spot], front: set[str]) -> None:
    """Beside each mark its number, on the side where most room is."""
    scale = 72 / axes.figure.dpi  # points, as offsets are given
    taken = [tuple(axes.transData.transform((spot.x, spot.y)) * scale) for spot in spots]
    for index, spot in enumerate(spots):
        x, y = taken[index]
        sides = [(x + a, y + b) for a, b in ((8, 6), (8, -7), (-8, 6), (-8, -7))]
        others = [other for at, other in enumerate(taken) if at != index]
        room = [min((math.dist(side, other) for other in others), default=99.0) for side in sides]
        best = next((at for at, free in enumerate(room) if free > _NEAR), room.index(max(room)))
        taken.append(sides[best])
        weight = "bold" if spot.name.title in front else "normal"
        axes.annotate(
            spot.name.sign,
            (spot.x, spot.y),
            (sides[best][0] - x, sides[best][1] - y),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            fontweight=weight,
        )


def _number_ends(axes: Any, lines: Sequence[Line]) -> None:
    """A number at the end of each line, moved apart where lines end together."""
    scale = 72 / axes.figure.dpi
    below = -math.inf
    for line in sorted(lines, key=lambda each: each.spots[-1].y):
        spot, name = line.spots[-1], line.name
        y = axes.transData.transform((spot.x, spot.y))[1] * scale
        below = at = max(y, below + _NEAR)
        axes.annotate(
            name.sign,
            (spot.x, spot.y),
            (9, at - y),
            textcoords="offset points",
            ha="left",
            va="center",
            fontsize=9,
            color=INK,
            annotation_clip=False,
        )
