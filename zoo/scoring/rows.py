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
    x = x if x.dtype.kind == "f" else x.astype(np.float64)
    low, high = x.min(0, initial=np.inf), x.max(0, initial=-np.inf)
    if not (np.isfinite(low).all() and np.isfinite(high).all()) and len(x):
        bad = np.flatnonzero(~np.isfinite(x).all(1))
        raise DataError(f"{len(bad)} of {len(x)} rows have features that are not finite, the first is row {bad[0]}")
    size = float(max(np.abs(low).max(initial=0.0), np.abs(high).max(initial=0.0))) if len(x) else 0.0
    if len(x) < 2 or float((high - low).max(initial=0.0)) <= FLAT * size:
        raise DataError(f"the features of all {len(x)} rows are the same, and tell nothing apart")
    kind: Kind = "classes" if y.ndim == 1 and y.dtype.kind not in "f" else "labels" if y.dtype == bool else "numbers"
    if kind == "classes":
        names, classes = np.unique(y, return_inverse=True)
        if len(names) < 2:
            raise DataError(f"all {len(y)} rows have the class {names[0]}", help="a score needs two classes")
        return Rows(np.divide(x, size, dtype=np.float64), np.eye(len(names))[classes], kind, classes)
    columns = y.reshape(len(y), -1).astype(np.float64)
    if not np.isfinite(columns).all():
        raise DataError("some targets are not finite", help="leave those rows out")
    columns = columns[:, np.ptp(columns, axis=0) > 0]
    if not columns.shape[1]:
        raise DataError(f"every target is the same in all {len(y)} rows", help="a score needs targets that change")
    return Rows(np.divide(x, size, dtype=np.float64), columns, kind, np.zeros(len(y), dtype=np.int64))


def classes_of(features: NDArray[Any], targets: NDArray[Any], score: str) -> Rows:
    """The same, of classes alone and each copy of a row once.

    Raises:
        DataError: other targets.
    """
    rows = rows_of(features, targets)
    if rows.kind != "classes":
        raise DataError(f"{score} is defined for classes, not for {rows.kind}", help="use knn, linear or logme")
    return distinct(rows)


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


def along(gram: Array, vectors: Array) -> tuple[Array, Array]:
    """Eigenvalues of a symmetric matrix, and the coordinates of vectors along its eigenvectors, which are not formed.

    A matrix Q makes it tridiagonal, S diagonal after that; S'(Q'v) takes two thirds of the time of (QS)'v.

    Args:
        gram: (R, R), of at least two rows.
        vectors: (R, K).

    Returns:
        (R,) in rising order, and (R, K).
    """
    from scipy.linalg import eigh_tridiagonal, lapack

    size = len(gram)
    work = int(lapack.dsytrd_lwork(size, lower=1)[0])
    reflected, diagonal, beside, tau, _ = lapack.dsytrd(gram, lower=1, lwork=work)
    turned = np.array(vectors, order="F")
    # The reflections leave the first coordinate alone.
    below = turned[1:].copy(order="F")
    work = int(lapack.dormqr("L", "T", reflected[1:, :-1], tau, below, -1)[1][0])
    turned[1:] = lapack.dormqr("L", "T", reflected[1:, :-1], tau, below, work)[0]
    # Divide and conquer, which scipy has lately; the other driver gives the same in twice the time.
    driver = "stevd" if hasattr(lapack, "dstevd") else "stemr"
    values, inner = eigh_tridiagonal(diagonal, beside, lapack_driver=driver, check_finite=False)
    return values, inner.T @ turned


def copies(features: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which group of identical rows each row belongs to, (N,), and how many are in each group."""
    sums = features.sum(1)
    _, place, counts = np.unique(sums, return_inverse=True, return_counts=True)
    if len(counts) == len(features):  # the usual case, at the cost of one pass
        return place, counts
    seen: dict[bytes, int] = {}
    group = np.array([seen.setdefault(row.tobytes(), len(seen)) for row in features + 0.0])  # without negative zeros
    return group, np.bincount(group)


def left_out_together(rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same as `copies`, but rows of a class that is a single point each stand alone: no other row could answer."""
    group, _ = copies(rows.features)
    if rows.kind == "classes":
        points = np.unique(np.column_stack([rows.classes, group]), axis=0)[:, 0]
        alone = np.flatnonzero(np.bincount(points)[rows.classes] == 1)
        group = group.copy()
        group[alone] = group.max() + 1 + np.arange(len(alone))
        group = np.unique(group, return_inverse=True)[1]
    return group, np.bincount(group)


def distinct(rows: Rows) -> Rows:
    """The rows without those whose features and target another has: copies are no further evidence."""
    group, counts = copies(rows.features)
    if len(counts) == len(rows):
        return rows
    _, first = np.unique(np.column_stack([group, rows.columns]), axis=0, return_index=True)
    first = np.sort(first)
    return Rows(rows.features[first], rows.columns[first], rows.kind, rows.classes[first])


def explained(found: Array, columns: Array) -> Array:
    """(N,) of which the mean is R2, the explained share of the variance, averaged over the columns.

    Of 0 and 1 and probabilities that is the skill by Brier's score. Each value is what its row adds to the ratio of
    squared errors to variance, e^2 - (1 - R2) d^2 for an error e and a deviation d, so that their spread is that of R2
    over draws of rows.
    """
    squares = (columns - columns.mean(0)) ** 2
    errors = (found - columns) ** 2
    spread = squares.mean(0)
    ratio = errors.mean(0) / spread
    return np.asarray((1 - ratio - (errors - ratio * squares) / spread).mean(1))
