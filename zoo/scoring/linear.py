"""A linear probe, and what it says of rows that it has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.scoring.rows import Array, explained, left_out_together, rows_of, span

PENALTIES = np.logspace(-6, 3, 19)
"""Relative to the mean squared length of the centred rows, which is what a penalty competes with."""


def linear(features: NDArray[Any], targets: NDArray[Any]) -> float:
    """Leave-one-out accuracy of a linear probe; R2 for labels and numbers. Greater is better.

    Least squares on one-hot classes with a ridge penalty. Every row is answered by the probe of all other rows, which
    has a closed form (Allen 1974), and of 19 penalties the one with the least squared error is taken. Copies of a row
    are left out with it.

    Args:
        features: (N, D).
        targets: (N,) classes, (N, K) bool labels, or floats.

    Raises:
        DataError: features that are not finite or all the same, or targets of one value.

    Reference: Allen 1974, "The Relationship Between Variable Selection and Data Augmentation and a Method for
        Prediction", https://doi.org/10.2307/1267500
    """
    return float(linear_by_row(features, targets).mean())


def linear_by_row(features: NDArray[Any], targets: NDArray[Any]) -> Array:
    """(N,) of which the mean is `linear`: 1 for a row that is told rightly and 0 for another, for classes."""
    rows = rows_of(features, targets)
    found = left_out(rows.features, rows.columns, left_out_together(rows)[0])
    if rows.kind == "classes":
        return np.asarray(found.argmax(1) == rows.classes, dtype=np.float64)
    return explained(found, rows.columns)


def left_out(features: Array, columns: Array, group: NDArray[np.int64]) -> Array:
    """(N, K) what the probe of all other rows says of each row; rows of one group, which are identical, go together.

    With H the hat matrix, intercept included, and e = y - Hy, a group G of identical rows that is left out misses by
    e + h / (1 - |G| h) sum_G e, where h is H of any two of them; for a single row that is e / (1 - h).
    """
    counts = np.bincount(group)
    coordinates, squares = span(features - features.mean(0))
    basis = coordinates / np.sqrt(squares)  # (N, R), orthonormal columns
    mean = columns.mean(0)
    projected = basis.T @ (columns - mean)
    best, least = columns, np.inf
    for penalty in PENALTIES * squares.sum() / len(features):
        kept = squares / (squares + penalty)
        errors = columns - mean - basis @ (kept[:, None] * projected)
        leverage = 1 / len(features) + (basis**2) @ kept
        together = np.zeros((len(counts), columns.shape[1]))
        np.add.at(together, group, errors)
        rest = np.maximum(1 - counts[group] * leverage, 1e-12)
        missed = errors + (leverage / rest)[:, None] * together[group]
        loss = float((missed**2).mean())
        if loss < least:
            best, least = columns - missed, loss
    return best
