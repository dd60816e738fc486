"""The contenders as a report names them: a number, a mark and a title that are the same in every table and figure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from zoo.comparison.result import Comparison, Contender
from zoo.reporting.blocks import Name

COLOURS = 7
SHAPES: dict[str, tuple[tuple[float, float], ...]] = {
    "circle": (),
    "square": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "triangle": ((0.0, -1.05), (1.0, 0.8), (-1.0, 0.8)),
    "diamond": ((0.0, -1.15), (1.15, 0.0), (0.0, 1.15), (-1.15, 0.0)),
    "wedge": ((-1.0, -0.8), (1.0, -0.8), (0.0, 1.05)),
    "cross": (
        (-0.38, -1.0), (0.38, -1.0), (0.38, -0.38), (1.0, -0.38), (1.0, 0.38), (0.38, 0.38),
        (0.38, 1.0), (-0.38, 1.0), (-0.38, 0.38), (-1.0, 0.38), (-1.0, -0.38), (-0.38, -0.38),
    ),
}  # fmt: skip
"""Corners around (0, 0), y downwards; a circle has none. Six beside seven colours: 42 marks before one comes again."""


def mark(number: int) -> tuple[int, str]:
    """Colour and shape of the nth thing."""
    return (number - 1) % COLOURS + 1, tuple(SHAPES)[(number - 1) % len(SHAPES)]


class Names:
    """Names of the contenders of a comparison."""

    def __init__(self, found: Comparison) -> None:
        floors = [each for each in found.contenders if each.floor_of is not None]
        others = [each for each in found.contenders if each.floor_of is None]
        self.contenders = {each.title: each for each in found.contenders}
        self._names: dict[str, Name] = {}
        for number, each in enumerate([*others, *floors], 1):
            self._names[each.title] = self._named(each, number, found.protocol.reference)

    def _named(self, each: Contender, number: int, reference: str | None) -> Name:
        kin = self._names.get(each.floor_of) if each.floor_of is not None else None
        colour, shape = (kin.colour, kin.shape) if kin is not None else mark(number)
        floor = each.floor_of is not None
        tags = (*(["floor"] if floor else []), *(["reference"] if each.title == reference else []))
        return Name(each.title, str(number), colour, shape, hollow=floor, tags=tags)

    def __getitem__(self, title: str) -> Name:
        """Its name; a title that is no contender's has no mark."""
        return self._names.get(title, Name(title))

    def bare(self, title: str) -> Name:
        """Without what the main table says of it."""
        return replace(self[title], tags=())

    def is_floor(self, title: str) -> bool:
        """Whether its weights are random."""
        return self[title].hollow

    def in_order(self, titles: Iterable[str]) -> tuple[Name, ...]:
        """Each once, by number."""
        wanted = dict.fromkeys(titles)
        known = [title for title in self._names if title in wanted]
        return tuple(map(self.bare, [*known, *(title for title in wanted if title not in self._names)]))
