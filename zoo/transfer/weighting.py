"""How much the rows of each class count in the loss. Arrays and text, no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import Task
from zoo.errors import UnknownNameError, UsageError

Weights = NDArray[np.float64]

BALANCED = "balanced"
MOST = 10.0
"""Largest weight of a label's own rows under "balanced" in multi-label tasks, where a label can be a thousand times
rarer than its absence: beyond this it is said for too many rows. Measured: a probe of 28 emotions has a macro-F1 of
0.271 with 3, 0.292 with 10, 0.260 with 30, and 0.138 without weights."""


def class_weights(text: str, task: Task, targets: Any) -> Weights:
    """(K,) weights of the classes; of multi-label tasks that of the rows with the label against those without.

    "balanced" gives every class the same share of the loss: n / (K * count), which scikit-learn calls so too, for one
    class of several; (n - count) / count, at most `MOST`, for each label of a multi-label task. Weights of classes are
    scaled to a mean of 1 over the training rows, so that only their ratios count and the rate keeps its meaning.

    Args:
        text: "balanced", one number a class as in "1,2.5", or by name as in "ants=2,bees=1", others counting 1.
        task: of classes or labels.
        targets: of the training rows, as in `Examples`.

    Raises:
        UsageError: a task without classes, or weights that cannot be meant.
        UnknownNameError: no such class.
    """
    if task.kind not in ("binary", "multiclass", "multilabel", "segmentation", "tokens"):
        raise UsageError(
            f"--class-weights are for classes of rows, pixels or words, and this is {task.kind}",
            help="leave them out",
        )
    counts, total = class_counts(task, targets)
    if task.kind == "multilabel":
        if text == BALANCED:
            return np.where(counts > 0, np.minimum((total - counts) / np.maximum(counts, 1), MOST), 1.0)
        return _given(text, task.classes)
    found = counts > 0
    weights = np.where(found, total / (found.sum() * np.maximum(counts, 1)), 1.0)
    if text != BALANCED:
        weights = _given(text, task.classes)
    mean = float((weights * counts).sum() / total) if total else 0.0
    if mean == 0:
        raise UsageError(
            f"--class-weights {text} leave no training row that counts", help="give some class a weight above 0"
        )
    return np.asarray(weights / mean)


def class_counts(task: Task, targets: Any) -> tuple[NDArray[np.int64], int]:
    """(K,) rows, pixels or words of each class, and how many there are; unlabelled ones are none."""
    size = len(task.classes)
    if task.kind == "multilabel":
        return np.asarray(targets, dtype=bool).sum(0).astype(np.int64), len(targets)
    if task.kind not in ("segmentation", "tokens"):
        counts = np.bincount(targets, minlength=size)
        return counts, int(counts.sum())
    counts = np.zeros(size, dtype=np.int64)
    for row in targets:
        numbers = np.asarray(row.numbers() if task.kind == "segmentation" else row.indices).ravel()
        counts += np.bincount(numbers[(numbers >= 0) & (numbers < size)], minlength=size)
    return counts, int(counts.sum())


def row_weights(task: Task, targets: Any, weights: Weights | None) -> Weights | None:
    """(N,) of each row by its class; (N, K) for labels, where rows without a label count 1; None where none are."""
    if weights is None:
        return None
    return np.where(targets > 0.5, weights, 1.0) if task.kind == "multilabel" else np.asarray(weights[targets])


def described(weights: Weights, classes: Sequence[str]) -> str:
    """The weights in one sentence: all of a few classes, the ends of many."""
    if len(classes) <= 6:
        return "class weights " + ", ".join(f"{name} {w:.3g}" for name, w in zip(classes, weights, strict=True))
    low, high = int(weights.argmin()), int(weights.argmax())
    return f"class weights from {weights[low]:.3g} ({classes[low]}) to {weights[high]:.3g} ({classes[high]})"


def _given(text: str, classes: Sequence[str]) -> Weights:
    """As the user typed them."""
    parts = [part.strip() for part in text.split(",")]
    if not any("=" in part for part in parts):
        if len(parts) != len(classes) or parts == [""]:
            listed = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
            raise UsageError(
                f"--class-weights {text} has {len(parts)} weights, and there are {len(classes)} classes: {listed}",
                help="use balanced, one number a class in this order, or names as in ants=2,bees=1",
            )
        return np.array([_number(part, text) for part in parts])
    found = dict.fromkeys(classes, 1.0)
    for part in parts:
        name, _, value = part.rpartition("=")
        if name not in found:
            raise UnknownNameError("class", name or part, classes, help=f"the classes are {', '.join(classes[:8])}")
        found[name] = _number(value, text)
    return np.array(list(found.values()))


def _number(value: str, text: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise UsageError(
            f"--class-weights {text}: '{value}' is no weight",
            help="use balanced, one number a class as in 1,2.5, or names as in ants=2,bees=1",
        )
    return number
