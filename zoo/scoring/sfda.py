"""A Fisher discriminant that is asked again about rows that it found hard."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.scoring.hscore import shrinkage
from zoo.scoring.rows import Array, classes_of, span

FOLDS = 5
"""Parts of the rows, each judged by the discriminant of the others."""


def sfda(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """Self-challenging Fisher discriminant analysis: mean probability of the true class; in [0, 1], greater is better.

    A discriminant with shrunk covariance within classes gives p, the probability of each row's own class. Every row is
    then moved towards the mean of the other classes' means, by 1 - p of the way, and a second discriminant judges the
    moved rows. Two things differ from the published code, which has wide noise above signal in few rows: each row is
    judged by the discriminant of the other four fifths, not by one that was fitted on it, and the covariance is shrunk
    as Ledoit and Wolf have it, not by exp(-5 s) for s the greatest variance within classes, which at the usual scale of
    features is next to nothing.

    Args:
        features: (N, D).
        labels: (N,) classes.

    Raises:
        DataError: features that are not finite or all the same, one class, or targets that are no classes.

    Reference: Shao et al. 2022, "Not All Models Are Equal: Predicting Model Transferability in a Self-challenging
        Fisher Space", https://arxiv.org/abs/2207.03036
    """
    rows = classes_of(features, labels, "SFDA")
    x = span(rows.features - rows.features.mean(0))[0]
    d = rows.features.shape[1]
    part = parts(x, rows.classes)
    means = rows.columns.T @ x / rows.columns.sum(0)[:, None]
    shrunk = shrunk_within(x - means[rows.classes], d)
    sure = judged(x, rows.columns, part, shrunk, d)[np.arange(len(x)), rows.classes]
    others = (means.sum(0) - means) / (len(means) - 1)
    moved = sure[:, None] * x + (1 - sure[:, None]) * others[rows.classes]
    found = judged(moved, rows.columns, part, shrunk, d)
    return float(found[np.arange(len(x)), rows.classes].mean())


def shrunk_within(inside: Array, d: int) -> float:
    """How far the covariance of rows less their class's mean is moved towards a multiple of the identity."""
    if not inside.any():  # every class is a point
        return 0.0
    coordinates, squares = span(inside)
    return shrinkage(squares / len(inside), (coordinates**2).sum(1), len(inside), d)


def parts(x: Array, classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) which fold a row is in: those of a class go round by their distance from the middle, in whatever order."""
    order = np.lexsort(((x**2).sum(1), classes))
    place = np.empty(len(x), dtype=np.int64)
    place[order] = np.arange(len(x))
    return place % FOLDS


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
