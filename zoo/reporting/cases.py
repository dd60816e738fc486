"""Single rows: which classes are taken for which, how rows lie, and which are answered wrongly."""

from __future__ import annotations

import base64
import io
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from statistics import quantiles
from string import ascii_uppercase

from zoo.comparison.result import Comparison, Confusion, Error
from zoo.comparison.result import Picture as Map
from zoo.reporting import words
from zoo.reporting.blocks import (
    Answer,
    Block,
    Case,
    Cell,
    Choice,
    Column,
    Gallery,
    Grid,
    Heading,
    Heat,
    Name,
    Option,
    Picture,
    Row,
    Section,
)
from zoo.reporting.figures import draw_map, within
from zoo.reporting.names import Names, mark

_MOST_CLASSES = 20
"""A larger matrix is no longer read; the classes that are mistaken most often are listed instead."""
_MOST_MISTAKES = 12
_MARKED_CLASSES = 12
_QUARTERS = 4
_MOST_LETTERS = 600
_SMALL = 48
_IMAGE = re.compile(r"data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/=\s]+")
"""Nothing else is shown: any other address would reach the network, or hold a script."""


def confusions(found: Comparison, names: Names) -> Section | None:
    """A matrix of each contender, one at a time."""
    blocks: list[Block] = []
    for data in found.data:
        here = [each for each in found.confusions if each.data == data.name]
        options = tuple(Option(words.short(each.contender, 60), _confused(each, data.classes)) for each in here)
        blocks += _chosen(data.name if len(found.data) > 1 else None, f"Contender on {data.name}", options)
    said = (
        "True class down, predicted class across, over the held-out rows of the first seed. Shades: shares of a row.",
    )
    return Section("confusions", "Which classes are mistaken", said, tuple(blocks)) if blocks else None


def _chosen(title: str | None, about: str, options: tuple[Option, ...]) -> list[Block]:
    if not options:
        return []
    return [*([Heading(title)] if title else []), Choice(about, options)]


def _confused(each: Confusion, classes: Sequence[str]) -> tuple[Block, ...]:
    mistakes = _mistakes(each, classes)
    if len(each.matrix) > _MOST_CLASSES:
        return (mistakes,)
    heads = tuple(Name(classes[index] if index < len(classes) else str(index)) for index in range(len(each.matrix)))
    cells = tuple(tuple((f"{n:,}" if n else "·", n / (sum(row) or 1)) for n in row) for row in each.matrix)
    return Heat(f"Confusions of {words.short(each.contender, 60)}", "true \\ predicted", heads, heads, cells), mistakes


def _mistakes(each: Confusion, classes: Sequence[str]) -> Grid:
    wrong = [
        (n, true, given) for true, row in enumerate(each.matrix) for given, n in enumerate(row) if n and true != given
    ]
    wrong.sort(key=lambda each: (-each[0], each[1], each[2]))

    def name(index: int) -> str:
        return words.short(classes[index], 60) if index < len(classes) else str(index)

    rows = tuple(
        Row((Cell(name(true)), Cell(name(given)), Cell(f"{n:,}"), Cell(f"{n / sum(each.matrix[true]):.0%}")))
        for n, true, given in wrong[:_MOST_MISTAKES]
    )
    columns = (Column("True class", "name"), Column("Taken for", "text"), Column("Rows"), Column("of the class"))
    return Grid(f"Mistaken most often by {words.short(each.contender, 60)}", columns, rows)


def maps(found: Comparison, names: Names) -> Section | None:
    """Held-out rows in two dimensions, by the features of each backbone."""
    blocks: list[Block] = []
    for data in found.data:
        here = [each for each in found.pictures if each.data == data.name]
        options = tuple(
            Option(words.short(each.contender, 60), (_map(each, data.task, f"map-{index}-{data.name}"),))
            for index, each in enumerate(here)
        )
        blocks += _chosen(data.name if len(found.data) > 1 else None, f"Features on {data.name}", options)
    said = (
        "Each mark is a held-out row; near marks have features alike. Only nearness tells something: the axes have no "
        "meaning of their own.",
    )
    return Section("map", "Map of the features", said, tuple(blocks)) if blocks else None


def _map(each: Map, task: str, salt: str) -> Picture:
    labels = quarters(each.labels) if task == "regression" else each.labels
    counts = Counter(labels)
    # By how many there are, then by name, so that equal counts come in one order.
    marked = sorted(counts, key=lambda label: (-counts[label], label))[:_MARKED_CLASSES]
    key = {label: Name(label, ascii_uppercase[at], *mark(at + 1)) for at, label in enumerate(sorted(marked))}
    grey = Name(f"{len(counts) - len(marked)} other classes")
    shown = [key.get(label, grey) for label in labels]
    points, far = within(each.points)
    rows = words.plural(len(points), "held-out row")
    said = f"{rows} by the features of {words.short(each.contender, 60)}: {words.short(each.method, 60)}."
    lettered = " Each letter stands in the middle of its class, or beside it."
    out = f" Drawn at the edge, as farther out: {words.plural(far, 'row')}." if far else ""
    legend = (*key.values(), *([grey] if grey in shown else []))
    return Picture(draw_map(points, shown, salt), said, said + lettered + out, legend)


def quarters(labels: Sequence[str]) -> list[str]:
    """Numbers as the quarter of all rows that they belong to; what is no number is left as it is."""
    try:
        numbers = [float(label) for label in labels]
    except ValueError:
        return list(labels)
    if len(set(numbers)) <= _QUARTERS:
        return list(labels)
    edges = quantiles(numbers, n=_QUARTERS)
    names = [f"up to {words.many(edges[0])}"]
    names += [f"{words.many(low)} to {words.many(high)}" for low, high in pairwise(edges)]
    names.append(f"over {words.many(edges[-1])}")
    return [f"{ordinal + 1}. {names[ordinal]}" for ordinal in (bisect_left(edges, number) for number in numbers)]


def gallery(found: Comparison, names: Names) -> Section | None:
    """Rows that contenders answer differently, or all wrongly."""
    blocks: list[Block] = []
    for data in found.data:
        here = [each for each in found.errors if each.data == data.name]
        if here:
            blocks += [Heading(data.name)] if len(found.data) > 1 else []
            blocks.append(Gallery(f"Errors on {data.name}", tuple(_case(each, names) for each in here)))
    said = ("Held-out rows that contenders answer differently, or all wrongly.",)
    return Section("errors", "Error gallery", said, tuple(blocks)) if blocks else None


def _case(each: Error, names: Names) -> Case:
    by: dict[str, list[Name]] = {}
    for title, answer in each.answers.items():
        by.setdefault(answer, []).append(names.bare(title))
    answers = [Answer(given, given == each.truth, tuple(who)) for given, who in by.items()]
    answers.sort(key=lambda answer: not answer.right)
    text = each.text
    cut = text is not None and len(text) > _MOST_LETTERS
    image = each.image if each.image and _IMAGE.fullmatch(each.image) else None
    text = None if text is None else text[:_MOST_LETTERS]
    return Case(each.row, each.truth, text, cut, image, image is not None and _is_small(image), tuple(answers))


def _is_small(image: str) -> bool:
    """Whether its longer side is under 48 pixels; what cannot be read is left as it is."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(base64.b64decode(image.partition(",")[2]))) as opened:
            return max(opened.size) < _SMALL
    except (OSError, ValueError):
        return False
