"""What a score is computed from: finite features, and targets as columns of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError

Array = NDArray[np.float64]
Kind = Literal["classes", "labels", "numbers"]

FLAT = 1e-7
"""Features whose spread is this share of their size, or less, are a constant that was rounded."""


@dataclass(frozen=True)
class Rows:
    """Checked features and targets."""

    features: Array
    """(N, D), at a scale that is about 1."""
    columns: Array
    """(N, K): one-hot classes, labels as 0 and 1, or numbers; columns that never change are left out."""
    kind: Kind
    classes: NDArray[np.int64]
    """(N,) index of each row's class among those that have rows; zeros where a row has no class."""

    def __len__(self) -> int:
        return len(self.features)


def rows_of(features: NDArray[Any], targets: NDArray[Any]) -> Rows:
    """Features and targets, checked, at one scale, in double precision.

    Args:
        features: (N, D).
        targets: (N,) whole numbers or words for classes, (N, K) of bool for labels, (N,) or (N, K) floats for numbers.

    Raises:
        DataError: what no score can be had from: features that are not finite or all the same, one class, other rows.
    """
    x, y = np.asarray(features), np.asarray(targets)
    if x.ndim != 2 or y.ndim not in (1, 2) or len(x) != len(y):
        raise DataError(
            f"a score takes features (N, D) and N targets, not {x.shape} and {y.shape}",
            help="give one row of features for each target",
        )
    x = x.astype(np.float64)
    if not np.isfinite(x).all():
        bad = np.flatnonzero(~np.isfinite(x).all(1))
        raise DataError(f"{len(bad)} of {len(x)} rows have features that are not finite, the first is row {bad[0]}")
    size = float(np.abs(x).max(initial=0.0))
    if len(x) < 2 or np.ptp(x, axis=0).max(initial=0.0) <= FLAT * size:
        raise DataError(f"the features of all {len(x)} rows are the same, and tell nothing apart")
    kind: Kind = "classes" if y.ndim == 1 and y.dtype.kind not in "f" else "labels" if y.dtype == bool else "numbers"
    if kind == "classes":
        names, classes = np.unique(y, return_inverse=True)
        if len(names) < 2:
            raise DataError(f"all {len(y)} rows have the class {names[0]}", help="a score needs two classes")
        return Rows(x / size, np.eye(len(names))[classes], kind, classes)
    columns = y.reshape(len(y), -1).astype(np.float64)
    if not np.isfinite(columns).all():
        raise DataError("some targets are not finite", help="leave those rows out")
    columns = columns[:, np.ptp(columns, axis=0) > 0]
    if not columns.shape[1]:
        raise DataError(f"every target is the same in all {len(y)} rows", help="a score needs targets that change")
    return Rows(x / size, columns, kind, np.zeros(len(y), dtype=np.int64))


def classes_of(features: NDArray[Any], targets: NDArray[Any], score: str) -> Rows:
    """The same, of classes alone.

    Raises:
        DataError: other targets.
    """
    rows = rows_of(features, targets)
    if rows.kind != "classes":
        raise DataError(f"{score} is defined for classes, not for {rows.kind}", help="use knn, linear or logme")
    return rows


def span(centred: Array) -> tuple[Array, Array]:
    """Coordinates (N, R) of rows in an orthonormal basis of what they span, and their squared lengths (R,) per axis.

    R is at most min(N, D); by an eigendecomposition of the smaller Gram matrix. The greatest axis comes first.
    """
    from scipy.linalg import eigh

    n, d = centred.shape
    values, vectors = eigh(centred @ centred.T if n < d else centred.T @ centred, driver="evd", check_finite=False)
    kept = np.flatnonzero(values > max(n, d) * np.finfo(np.float64).eps * max(values[-1], 0.0))[::-1]
    values, vectors = values[kept], vectors[:, kept]
    return (vectors * np.sqrt(values) if n < d else centred @ vectors), values


def copies(features: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which group of identical rows each row belongs to, (N,), and how many are in each group."""
    whole = np.ascontiguousarray(features + 0.0)  # without negative zeros
    _, group, counts = np.unique(
        whole.view(np.dtype((np.void, whole.dtype.itemsize * whole.shape[1]))).ravel(),
        return_inverse=True,
        return_counts=True,
    )
    return group, counts


def explained(found: Array, columns: Array) -> Array:
    """(N,) of which the mean is R2, the explained share of the variance, averaged over the columns.

    Of 0 and 1 and probabilities that is the skill by Brier's score.
    """
    spread = ((columns - columns.mean(0)) ** 2).mean(0)
    return np.asarray((1 - (found - columns) ** 2 / spread).mean(1))
