"""Cells of label columns to targets: one label map, from the training rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.boxcheck import box_classes
from zoo.data.boxes import Boxes
from zoo.data.infer import class_names, is_number
from zoo.data.masks import mask_classes
from zoo.data.tags import encode_tags, read_tags, tag_classes
from zoo.data.types import Problem, ReadOptions, Task, TaskKind
from zoo.errors import DataError

SHOWN = 10


def read_labels(raw: Sequence[Sequence[Any]], kind: TaskKind, names: Sequence[str], options: ReadOptions) -> list[Any]:
    """One label a row: a str, a list of str for several or for words, a list of float for regression, where empty
    is nan; the cells themselves for masks and boxes.

    Raises:
        DataError: targets of a regression that are no numbers, with their rows.
    """
    if kind == "pairs":
        return [""] * len(names)
    if kind == "regression":
        return _numbers(raw, names)
    if kind == "detection" and not all(isinstance(cell, Boxes) for cell in raw[0]):
        raise DataError("these data have no boxes, which detection needs", help="lay them out as COCO: docs/data.md")
    if kind in ("segmentation", "detection"):
        return list(raw[0])
    if kind == "tokens":
        return list(read_tags(raw[0]))
    if kind == "multilabel":
        several = [cell if isinstance(cell, list) else str(cell).split(options.label_separator) for cell in raw[0]]
        return [[label for label in labels if label.strip()] for labels in several]
    lists = [names[row] for row, cell in enumerate(raw[0]) if isinstance(cell, list)]
    if lists:
        raise DataError(
            f"{len(lists)} rows hold a list of labels, which {kind} has no place for",
            details=lists[:SHOWN],
            help="give --task multilabel",
        )
    return [cell if isinstance(cell, str) else str(cell) for cell in raw[0]]


def with_names(labels: list[Any], column: str, names: Sequence[Any], where: Sequence[str]) -> tuple[list[Any], Problem]:
    """Integer classes by the names that stand beside them, and what is to be said of it."""
    found = class_names([str(label) for label in labels], [str(name) for name in names])
    if found:
        return [found.get(label, label) for label in labels], Problem(
            "note", "class-names", f"classes are named by '{column}'"
        )
    first: dict[str, str] = {}
    rows = [
        f"{label!r} is {name!r} in {place}, and {first[label]!r} elsewhere"
        for label, name, place in zip(labels, map(str, names), where, strict=True)
        if first.setdefault(label, name) != name
    ]
    message = f"'{column}' does not name the labels one to one, so the classes keep the labels as names"
    return labels, Problem("warning", "class-names", message, tuple(rows))


def make_task(
    kind: TaskKind, labels: Sequence[Any], train: Sequence[int], columns: tuple[str, ...], named: Sequence[str] = ()
) -> Task:
    """The task with the classes of the training rows; numbers in the order of their value, so that 10 follows 9.

    Args:
        kind: of the task.
        labels: of every row.
        train: the training rows.
        columns: names of the label columns.
        named: names of the class numbers of masks.
    """
    if kind == "regression":
        return Task(kind, (), columns)
    if kind == "pairs":
        return Task(kind)
    if kind == "segmentation":
        return Task(kind, mask_classes(labels, named, train), columns)
    if kind == "detection":
        return Task(kind, box_classes(labels, train), columns)
    if kind == "tokens":
        return Task(kind, tag_classes(labels, train), columns)
    found = {str(label) for row in train for label in (labels[row] if kind == "multilabel" else [labels[row]])}
    numeric = all(is_number(label) for label in found)
    classes = sorted(found, key=lambda label: (float(label), label) if numeric else (0.0, label))
    return Task(kind, tuple(classes), columns)


def encode(task: Task, labels: Sequence[Any], names: Sequence[str], rows: Sequence[int] | None = None) -> NDArray[Any]:
    """Labels as the targets of `Examples`; rows outside `rows` are left at zero.

    Raises:
        DataError: a label that the task does not know.
    """
    if task.kind == "segmentation":
        return column(labels)
    if task.kind == "detection":
        return column([each.of_classes(task.classes) for each in labels])
    if task.kind == "tokens":
        return encode_tags(task.classes, labels)
    wanted = range(len(labels)) if rows is None else rows
    index = {name: i for i, name in enumerate(task.classes)}
    if task.kind == "regression":
        numbers = np.zeros((len(labels), len(task.targets)), dtype=np.float32)
        for row in wanted:
            numbers[row] = labels[row]
        return numbers
    unknown: dict[str, list[str]] = {}
    multi = np.zeros((len(labels), len(task.classes)), dtype=np.float32)
    single = np.zeros(len(labels), dtype=np.int64)
    for row in wanted:
        cell = labels[row]
        for label in cell if task.kind == "multilabel" else [cell]:
            if label not in index:
                unknown.setdefault(str(label), []).append(names[row])
            elif task.kind == "multilabel":
                multi[row, index[label]] = 1.0
            else:
                single[row] = index[label]
    if unknown:
        raise DataError(
            f"{len(unknown)} labels do not occur in the training rows: {', '.join(sorted(unknown)[:5])}",
            details=[f"'{label}' in {', '.join(where[:3])}" for label, where in sorted(unknown.items())[:SHOWN]],
            help="correct the labels, or add training rows for them",
        )
    return multi if task.kind == "multilabel" else single


def column(values: Sequence[Any]) -> NDArray[Any]:
    """(N,) objects, one a row."""
    found = np.empty(len(values), dtype=object)
    found[:] = list(values)
    return found


def _numbers(raw: Sequence[Sequence[Any]], names: Sequence[str]) -> list[list[float]]:
    bad = [
        f"{names[row]}: {cell!r}"
        for row, cells in enumerate(zip(*raw, strict=True))
        for cell in cells
        if str(cell).strip() and not is_number(str(cell))
    ]
    if bad:
        raise DataError(
            f"{len(bad)} targets are no finite numbers",
            details=bad[:SHOWN],
            help="correct them, or give --task multiclass",
        )
    return [[float(cell) if str(cell).strip() else math.nan for cell in cells] for cells in zip(*raw, strict=True)]
