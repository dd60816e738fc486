"""A Fisher discriminant that is asked again about rows that it found hard."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.scoring.rows import Array, classes_of, span

FOLDS = 5
"""Parts of the rows, each judged by the discriminant of the others."""
STEEP = 5.0
"""How fast shrinkage falls with the greatest variance within classes, as published."""
LEAST = 1e-10
"""Shrinkage, at least."""


def sfda(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """Self-challenging Fisher discriminant analysis: mean probability of the true class; in [0, 1], greater is better.

    A discriminant with shrunk covariance within classes gives p, the probability of each row's own class. Every row is
    then moved towards the mean of the other classes' means, by 1 - p of the way, and a second discriminant judges the
    moved rows. Each row is judged by the discriminant of the other four fifths; the published code judges rows that it
    was fitted on, and wide noise then beats signal. Shrinkage is exp(-5 s), s the greatest variance within classes:
    this score depends on the scale of the features.

    Args:
        features: (N, D).
        labels: (N,) classes.

    Raises:
        DataError: features that are not finite or all the same, one class, or targets that are no classes.

    Reference: Shao et al. 2022, "Not All Models Are Equal: Predicting Model Transferability in a Self-challenging
        Fisher Space", https://arxiv.org/abs/2207.03036
    """
    rows = classes_of(features, labels, "SFDA")
    size = float(np.abs(np.asarray(features, dtype=np.float64)).max())
    x = span((rows.features - rows.features.mean(0)) * size)[0]
    d = rows.features.shape[1]
    part = parts(x, rows.classes)
    shrunk = shrinkage(x, rows.columns)
    sure = softened(judged(x, rows.columns, part, shrunk, d))[np.arange(len(x)), rows.classes]
    means = rows.columns.T @ x / rows.columns.sum(0)[:, None]
    others = (means.sum(0) - means) / (len(means) - 1)
    moved = sure[:, None] * x + (1 - sure[:, None]) * others[rows.classes]
    found = judged(moved, rows.columns, part, shrunk, d)
    return float(found[np.arange(len(x)), rows.classes].mean())


def parts(x: Array, classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) which fold a row is in: those of a class go round by their distance from the middle, in whatever order."""
    order = np.lexsort(((x**2).sum(1), classes))
    place = np.empty(len(x), dtype=np.int64)
    place[order] = np.arange(len(x))
    return place % FOLDS


def shrinkage(x: Array, columns: Array) -> float:
    """exp(-5 s), where s is the greatest variance within classes."""
    inside = x - columns @ (columns.T @ x / columns.sum(0)[:, None])
    greatest = float(np.linalg.norm(inside, 2)) ** 2 / len(x)
    return max(float(np.exp(-STEEP * greatest)), LEAST)


def judged(x: Array, columns: Array, part: NDArray[np.int64], shrunk: float, d: int) -> Array:
    """(N, K) probabilities that each row has from the discriminant of the other parts."""
    found = np.empty(columns.shape)
    for fold in range(FOLDS):
        held = part == fold
        found[held] = discriminant(x[~held], columns[~held], x[held], shrunk, d)
    return found


def discriminant(x: Array, columns: Array, asked: Array, shrunk: float, d: int) -> Array:
    """Linear discriminant analysis: softmax of m' S^-1 x - m' S^-1 m / 2 + log prior, S shrunk towards its mean.

    Args:
        x: (N, R) rows in the coordinates of their span.
        columns: (N, K) one-hot classes.
        asked: (M, R) rows whose probabilities are wanted.
        shrunk: how far S moves.
        d: columns that the features had before they were written in fewer.
    """
    from scipy.linalg import cho_factor, cho_solve

    counts = columns.sum(0)
    there = counts > 0
    means = columns[:, there].T @ x / counts[there, None]
    inside = x - columns[:, there] @ means
    within = inside.T @ inside / len(x)
    level = float(np.trace(within)) / d
    within *= 1 - shrunk
    # The least of it keeps the matrix regular where rows of one class are all the same.
    within[np.diag_indices_from(within)] += max(shrunk * level, 1e-9 * (float(np.trace(within)) + 1e-30) / len(within))
    weights = cho_solve(cho_factor(within, overwrite_a=True), means.T)  # (R, K)
    scores = np.full((len(asked), len(counts)), -np.inf)
    scores[:, there] = asked @ weights - 0.5 * (means * weights.T).sum(1) + np.log(counts[there] / len(x))
    return softened(scores)


def softened(scores: Array) -> Array:
    """Softmax of each row."""
    found = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(found / found.sum(1, keepdims=True))
