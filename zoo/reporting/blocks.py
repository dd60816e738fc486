"""What a report consists of, as values: the page, Markdown and whatever comes later are drawn from these alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Pair = tuple[float, float]


@dataclass(frozen=True)
class Name:
    """A contender, or anything else that a row is about."""

    title: str
    sign: str = ""
    """What stands beside its mark in every figure: a contender's number, a class's letter; "" where it has no mark."""
    colour: int = 0
    """1 to 7; 0 is grey."""
    shape: str = "circle"
    hollow: bool = False
    """A floor, with random weights."""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Whisker:
    """A value with its interval on a scale that all rows of a column share."""

    value: float
    interval: Pair | None
    scale: Pair
    line: float | None = None
    """Where a dashed line stands: no difference, or what the trivial answer scores."""
    hollow: bool = False

    def at(self, value: float) -> float:
        """Its place, 0 to 1."""
        low, high = self.scale
        return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5


@dataclass(frozen=True)
class Share:
    """A piece of a bar."""

    count: int
    share: float
    start: float
    pattern: Literal["full", "stripes", "dots", "empty"]


@dataclass(frozen=True)
class Cell:
    """One cell of a table; a figure in it repeats what stands beside it as text."""

    text: str = ""
    beside: str = ""
    """Smaller, such as an interval."""
    name: Name | None = None
    drawn: Whisker | tuple[Share, ...] | None = None


@dataclass(frozen=True)
class Column:
    """A heading."""

    title: str
    kind: Literal["name", "number", "text", "drawn"] = "number"
    ends: tuple[str, str] | None = None
    """Of the scale of what is drawn."""


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    cells: tuple[Cell, ...]
    kind: Literal["plain", "reference", "floor", "trivial"] = "plain"


@dataclass(frozen=True)
class Grid:
    """A table."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A figure, with the marks that stand in it."""

    svg: str
    label: str
    """What it shows, for who cannot see it."""
    caption: str
    key: tuple[Name, ...]


@dataclass(frozen=True)
class Heat:
    """A table whose cells are shaded by their value."""

    caption: str
    corner: str
    """What goes down and what goes across."""
    across: tuple[Name, ...]
    down: tuple[Name, ...]
    cells: tuple[tuple[tuple[str, float], ...], ...]
    """Text, and shade from 0 to 1."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """One of several views of the same."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Choice:
    """Views of which a reader picks one; on paper all are there."""

    about: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Fold:
    """What only some readers open."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Answer:
    """What contenders said of a row."""

    given: str
    right: bool
    by: tuple[Name, ...]


@dataclass(frozen=True)
class Case:
    """A row that was answered wrongly."""

    row: str
    truth: str
    text: str | None
    cut: bool
    """Whether the text goes on."""
    image: str | None
    small: bool
    """Whether the picture has so few pixels that it is shown larger, each as a square."""
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Gallery:
    """Rows with their pictures and texts."""

    caption: str
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Facts:
    """Pairs of a name and what it is."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Command:
    """Something to type."""

    line: str


@dataclass(frozen=True)
class Heading:
    """Below a section's own."""

    title: str


Block: TypeAlias = Grid | Picture | Heat | Choice | Fold | Gallery | Facts | Command | Heading


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    anchor: str
    title: str
    said: tuple[str, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """All of it."""

    title: str
    about: tuple[str, ...]
    findings: tuple[str, ...]
    sections: tuple[Section, ...]
