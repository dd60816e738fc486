"""The nearest other rows: how often they know the answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.scoring.rows import Array, explained, left_out_together, rows_of

KS = (1, 5, 20)
BLOCK = 1024
"""Rows that are compared with all others at once, at the most."""
COSINES = 2**21
"""That are in memory at once where the rows are many: 16 MB."""


def knn(features: NDArray[Any], targets: NDArray[Any]) -> float:
    """Leave-one-out accuracy of the nearest neighbours by cosine; R2 for labels and numbers. Greater is better.

    The best of 1, 5 and 20 neighbours, on features less their mean. Copies of a row are left out with it.

    Args:
        features: (N, D).
        targets: (N,) classes, (N, K) bool labels, or floats.

    Raises:
        DataError: features that are not finite or all the same, or targets of one value.

    Reference: Puigcerver et al. 2021, "Scalable Transfer Learning with Expert Models",
        https://arxiv.org/abs/2009.13239
    """
    return float(knn_by_row(features, targets).mean())


def knn_by_row(features: NDArray[Any], targets: NDArray[Any]) -> Array:
    """(N,) of which the mean is `knn`: 1 for a row whose neighbours are right and 0 for another, for classes."""
    rows = rows_of(features, targets)
    centred = rows.features - rows.features.mean(0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    near, cosines = _neighbours(centred / np.maximum(lengths, 1e-12), left_out_together(rows)[0])
    found = [_said(near[:, :k], cosines[:, :k], rows.columns) for k in KS if k <= near.shape[1]] or [
        _said(near, cosines, rows.columns)
    ]
    if rows.kind == "classes":
        values = [(each.argmax(1) == rows.classes).astype(np.float64) for each in found]
    else:
        values = [explained(each, rows.columns) for each in found]
    return max(values, key=lambda each: float(each.mean()))


def _neighbours(directions: Array, group: NDArray[np.int64]) -> tuple[NDArray[np.int64], Array]:
    """The nearest rows of each, nearest first, and their cosines; one of its own group has a cosine of -inf."""
    most = min(KS[-1], len(directions) - 1)
    near, cosines = [], []
    size = min(BLOCK, max(64, COSINES // len(directions)))
    for start in range(0, len(directions), size):
        block = slice(start, start + size)
        cosine = directions[block] @ directions.T
        cosine[group[block, None] == group[None]] = -np.inf
        top = np.argpartition(-cosine, most - 1, axis=1)[:, :most]
        value = np.take_along_axis(cosine, top, axis=1)
        order = np.argsort(-value, axis=1, kind="stable")
        near.append(np.take_along_axis(top, order, axis=1))
        cosines.append(np.take_along_axis(value, order, axis=1))
    return np.vstack(near), np.vstack(cosines)


def _said(near: NDArray[np.int64], cosines: Array, columns: Array) -> Array:
    """(N, K) mean answer of the neighbours; of equal votes the nearer ones win by a hair."""
    real = np.isfinite(cosines)
    nearer = np.where(real, 1 + 1e-6 * np.where(real, cosines, 0.0), 0.0)
    votes = np.zeros((len(near), columns.shape[1]))
    for rank in range(near.shape[1]):
        votes += nearer[:, rank, None] * columns[near[:, rank]]
    count = nearer.sum(1, keepdims=True)
    return np.asarray(np.where(count > 0, votes / np.maximum(count, 1e-12), columns.mean(0)))
