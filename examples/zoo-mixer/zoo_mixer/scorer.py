"""A scorer of this plugin: how well class means alone tell the classes apart. Arrays in, a number out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zoo import DataError

Array = npt.NDArray[np.floating]


def nearest_centroid(features: Array, labels: npt.NDArray[np.integer]) -> float:
    """Share of rows nearer to the mean of their own class than to any other; greater is better, in [0, 1].

    Every row is left out of its own class's mean, so that rows do not vouch for themselves: features that are noise
    score what guessing scores, however wide they are.

    Args:
        features: (N, D), one row an example.
        labels: (N,) class indices.

    Raises:
        DataError: fewer than two classes, or numbers that are not finite.
    """
    classes, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise DataError(f"nearest-centroid compares classes, and there is {len(classes)}", help="give two or more")
    if not np.isfinite(features).all():
        raise DataError("the features hold numbers that are not finite", help="look for what made them NaN")
    rows = np.asarray(features, dtype=np.float64)
    member = np.eye(len(classes))[index]  # (N, K)
    sums = member.T @ rows  # (K, D)
    distances = _squared(rows, sums / counts[:, None])  # (N, K)
    others = counts[index] - 1
    # A row alone in its class has no mean to be near to, and is never right.
    own = (sums[index] - rows) / np.maximum(others, 1)[:, None]
    distances[np.arange(len(rows)), index] = np.where(others > 0, ((rows - own) ** 2).sum(1), np.inf)
    return float((distances.argmin(1) == index).mean())


def _squared(rows: npt.NDArray[np.float64], means: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N, K) squared distances, one class at a time: (N, K, D) would not fit for many classes."""
    return np.stack([((rows - mean) ** 2).sum(1) for mean in means], axis=1)
