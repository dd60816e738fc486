"""Answers to pixels and words, as a user reads them: masks with a palette, tags and entities."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.masks import VOID
from zoo.data.tags import OUTSIDE, spans_of
from zoo.data.types import Task
from zoo.errors import UsageError
from zoo.records.files import published
from zoo.transfer.dense import entities_of
from zoo.transfer.metrics import has_spans


@dataclass(frozen=True)
class Span:
    """An entity in a text."""

    kind: str
    text: str
    start: int
    """Its first character in the input."""
    end: int
    """The character after its last."""


def shares(task: Task, numbers: NDArray[np.uint8]) -> dict[str, float]:
    """The share of the pixels of each class that is there, greatest first."""
    counts = np.bincount(numbers.ravel(), minlength=len(task.classes))
    order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]]
    return {task.classes[k]: round(float(counts[k]) / numbers.size, 6) for k in order}


def tags_of(task: Task, indices: NDArray[Any]) -> tuple[str | None, ...]:
    """The tag of each word; None for those that were cut off."""
    return tuple(task.classes[k] if k >= 0 else None for k in indices.tolist())


def spans_in(task: Task, text: str, tags: tuple[str | None, ...]) -> tuple[Span, ...]:
    """The entities that tags mark in a text."""
    if not has_spans(task):
        return ()
    words = spans_of(text)
    found = []
    for each in entities_of([tag or OUTSIDE for tag in tags]):
        start, end = words[each.first][0], words[each.end - 1][1]
        found.append(Span(each.kind, text[start:end], start, end))
    return tuple(found)


class MaskFolder:
    """Where masks are written, one PNG an image, named after it.

    Raises:
        UsageError: the folder holds something.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"{path} is there and not empty", help="name a new folder for the masks")
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._taken: set[str] = set()

    def write(self, name: str, numbers: NDArray[np.uint8]) -> Path:
        """An 8-bit PNG with a palette whose indices are the class numbers.

        Args:
            name: of the input.
            numbers: (H, W) class numbers.
        """
        from PIL import Image

        stem = Path(name).stem or "mask"
        free = next(each for n in range(1, 1 << 30) if (each := stem if n == 1 else f"{stem}-{n}") not in self._taken)
        self._taken.add(free)
        image = Image.fromarray(numbers)
        image.putpalette(palette())
        target = self.path / f"{free}.png"
        with published(target) as temporary:
            image.save(temporary, format="PNG")
        return target


def palette() -> list[int]:
    """768 values: black for class 0, white for pixels to ignore, hues far apart for the classes between."""
    colours = [(0, 0, 0)]
    for number in range(1, VOID):
        # Steps of the golden ratio never come back to a hue that was close to a recent one.
        r, g, b = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.75, 1 - 0.35 * (number % 3) / 2)
        colours.append((round(255 * r), round(255 * g), round(255 * b)))
    colours.append((255, 255, 255))
    return [value for colour in colours for value in colour]
