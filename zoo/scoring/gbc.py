"""How much classes overlap, each seen as a Gaussian."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.scoring.rows import classes_of, span

DIM = 64
"""Principal components that are looked at."""
POOLED = 1.0
"""Rows of the variance within all classes that each class's own is mixed with: a class of one row has none."""


def gbc(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """Minus the sum of the Bhattacharyya coefficients of all pairs of classes; at most 0, greater is better.

    Each class is a Gaussian with a mean and one variance in 64 principal components. The variance is mixed with that
    within all classes as if by one row more; the published formula has no answer for a class of one row.

    Args:
        features: (N, D).
        labels: (N,) classes.

    Raises:
        DataError: features that are not finite or all the same, one class, or targets that are no classes.

    Reference: Pandy et al. 2022, "Transferability Estimation using Bhattacharyya Class Separability",
        https://arxiv.org/abs/2111.12780
    """
    rows = classes_of(features, labels, "GBC")
    coordinates = span(rows.features - rows.features.mean(0))[0][:, :DIM]
    counts = rows.columns.sum(0)
    means = rows.columns.T @ coordinates / counts[:, None]
    within = ((coordinates - means[rows.classes]) ** 2).mean(1)
    floor = 1e-9 * float((coordinates**2).mean())  # classes without any spread of their own do not overlap
    variances = (rows.columns.T @ within + POOLED * within.mean()) / (counts + POOLED) + floor
    middle = (variances[:, None] + variances[None]) / 2
    squares = ((means[:, None] - means[None]) ** 2).sum(2)
    away = squares / (8 * middle)
    unlike = 0.5 * coordinates.shape[1] * np.log(middle / np.sqrt(variances[:, None] * variances[None]))
    overlap = np.exp(-(away + unlike))
    return -float(overlap.sum() - np.trace(overlap))
