"""Answers to pixels, words and objects, as a user reads them: masks with a palette, entities, drawn boxes."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.boxes import Boxes
from zoo.data.masks import VOID
from zoo.data.tags import OUTSIDE, spans_of
from zoo.data.types import Task
from zoo.errors import UsageError
from zoo.records.files import published
from zoo.transfer.dense import entities_of
from zoo.transfer.detection import LIKELY
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


@dataclass(frozen=True)
class Located:
    """An object in an image."""

    label: str
    score: float
    """In [0, 1]."""
    box: tuple[float, float, float, float]
    """Left, upper, right and lower in pixels of the upright image."""


def located(boxes: Boxes) -> tuple[Located, ...]:
    """The objects that were found, greatest score first."""
    assert boxes.scores is not None
    rows = zip(boxes.labels.tolist(), boxes.scores.tolist(), boxes.corners.tolist(), strict=True)
    return tuple(
        Located(boxes.names[label], round(score, 6), tuple(round(value, 2) for value in corners))
        for label, score, corners in rows
    )


def drawn(image: Any, found: Sequence[Located], names: Sequence[str]) -> Any:
    """A copy of a PIL image with the likely objects framed and named, a colour for each class."""
    from PIL import ImageDraw, ImageFont

    copy = image.convert("RGB")
    pen = ImageDraw.Draw(copy)
    line, font = max(round(min(copy.size) / 200), 1), ImageFont.load_default(max(round(min(copy.size) / 30), 10))
    colours = palette()
    for each in reversed([each for each in found if each.score >= LIKELY]):  # the surest on top
        place = 3 * (names.index(each.label) % (VOID - 1) + 1)
        colour = tuple(colours[place : place + 3])
        pen.rectangle(each.box, outline=colour, width=line)
        text = f"{each.label} {each.score:.2f}"
        where = pen.textbbox((each.box[0], each.box[1]), text, font=font, anchor="lb" if each.box[1] > 20 else "lt")
        pen.rectangle(where, fill=colour)
        pen.text((where[0], where[1]), text, fill=(0, 0, 0), font=font, anchor="lt")
    return copy


def mask_picture(numbers: NDArray[np.uint8]) -> Any:
    """A PIL image of 8 bits with a palette, whose indices are the class numbers (H, W)."""
    from PIL import Image

    image = Image.fromarray(numbers)
    image.putpalette(palette())
    return image


class PictureFolder:
    """Where pictures are written, one PNG an input, named after it.

    Args:
        path: a new or empty folder.
        what: is written, in the plural.

    Raises:
        UsageError: the folder holds something.
    """

    def __init__(self, path: Path, what: str) -> None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"{path} is there and not empty", help=f"name a new folder for the {what}")
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._taken: set[str] = set()

    def write(self, name: str, image: Any) -> Path:
        """The PNG of a PIL image.

        Args:
            name: of the input.
            image: what to write.
        """
        stem = Path(name).stem or "picture"
        free = next(each for n in range(1, 1 << 30) if (each := stem if n == 1 else f"{stem}-{n}") not in self._taken)
        self._taken.add(free)
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
