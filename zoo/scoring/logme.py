"""The evidence that features are all a linear model needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.scoring.rows import Array, along, distinct, rows_of

RATIOS = np.arange(-30.0, 14.0)
"""Natural logarithms of alpha / beta, relative to the greatest squared singular value, among which the maximum is
bracketed: beyond them the evidence is that of no weights, or of no noise."""
STEPS = 40
"""Steps of Newton's method, at most; five are usual."""
PRECISE = 1e-7
"""Of the logarithm of alpha / beta, at which the search for the maximum ends; the evidence is flat there."""


def logme(features: NDArray[Any], targets: NDArray[Any]) -> float:
    """Log evidence of a linear model on frozen features; greater is better.

    Weights w ~ N(0, 1 / alpha) and noise N(0, 1 / beta), both chosen for each class by their evidence,

        D/2 log alpha + N/2 log beta - beta/2 |y - Fm|^2 - alpha/2 |m|^2 - 1/2 log|alpha + beta F'F| - N/2 log 2 pi,

    in which log|alpha + beta F'F| has (D - k) log alpha for the directions without data, k being the rank of F. The
    published code leaves that term out, and wide noise then beats signal where N < D.

    Compare backbones on one data set with it, never data sets with each other. Rows that are copies, target and all,
    count once: they would be evidence of a model without noise.

    Args:
        features: (N, D), one row an example; neither centred nor normalised here. Any scale gives the same.
        targets: (N,) classes, (N, K) bool labels, or floats, which are brought to mean 0 and deviation 1.

    Returns:
        Log evidence an example in nats, averaged over the classes that have examples.

    Raises:
        DataError: features that are not finite or all the same, or targets of one value.

    Reference: You et al. 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning",
        https://arxiv.org/abs/2102.11005
    """
    rows = distinct(rows_of(features, targets))
    columns = rows.columns
    if rows.kind == "numbers":
        columns = (columns - columns.mean(0)) / columns.std(0)
    return float(evidence(rows.features, columns).mean()) / len(rows)


def evidence(features: Array, columns: Array) -> Array:
    """(K,) the log evidence of each target, maximised over alpha and beta.

    With t = alpha / beta and z the targets in the basis of the left singular vectors, the best beta is N / q for
    q(t) = sum_i z_i^2 t / (t + s_i^2) + |y|^2 - |z|^2, which leaves

        -N/2 (log(2 pi q / N) + 1) - 1/2 sum_i log(1 + s_i^2 / t)

    to be maximised over t alone: on a grid for all classes at once, then by Newton's method within its two neighbours.
    """
    n = len(features)
    squares, projected = _singular(features, columns)
    rest = np.maximum((columns**2).sum(0) - projected.sum(0), 0.0)  # (K,) what no weights reach
    logs = RATIOS + np.log(squares.max())
    shares = np.exp(logs)[:, None] / (np.exp(logs)[:, None] + squares)  # (T, k)
    place = _value(shares @ projected + rest, np.log(shares).sum(1)[:, None], n).argmax(0)
    low, high = logs[np.maximum(place - 1, 0)], logs[np.minimum(place + 1, len(logs) - 1)]
    at = logs[place]
    for _ in range(STEPS):
        slope, bend = _slope(np.exp(at), squares, projected, rest, n)
        low, high = np.where(slope > 0, at, low), np.where(slope > 0, high, at)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = at - slope / bend
        inside = (bend < 0) & (newton > low) & (newton < high)
        following = np.where(inside, newton, (low + high) / 2)
        moved = np.abs(following - at).max()
        at = following
        if moved < PRECISE:
            break
    share = np.exp(at) / (np.exp(at) + squares[:, None])  # (k, K)
    return _value((projected * share).sum(0) + rest, np.log(share).sum(0), n)


def _singular(features: Array, columns: Array) -> tuple[Array, Array]:
    """Squared singular values (k,), and the squared coordinates (k, K) of the targets on their left vectors."""
    n, d = features.shape
    if min(n, d) < 3:  # too small to be made tridiagonal
        left, values, _ = np.linalg.svd(features, full_matrices=False)
        squares, found = values**2, (left.T @ columns) ** 2
    elif n < d:
        squares, along_left = along(features @ features.T, columns)
        found = along_left**2
    else:
        squares, along_right = along(features.T @ features, features.T @ columns)
        found = along_right**2 / np.maximum(squares, np.finfo(np.float64).tiny)[:, None]
    kept = squares > max(n, d) * np.finfo(np.float64).eps * squares.max()
    return squares[kept], found[kept]


def _value(q: Array, logarithm: Array, n: int) -> Array:
    """The evidence, from q(t) and the sum of log(t / (t + s_i^2))."""
    q = np.maximum(q, np.finfo(np.float64).tiny)
    return np.asarray(0.5 * logarithm - n / 2 * (np.log(2 * np.pi * q / n) + 1))


def _slope(t: Array, squares: Array, projected: Array, rest: Array, n: int) -> tuple[Array, Array]:
    """(K,) first and second derivative of the evidence by log t."""
    share = t / (t + squares[:, None])  # (k, K) what is left unexplained of each direction
    left = projected * share
    q = np.maximum(left.sum(0) + rest, np.finfo(np.float64).tiny)
    known = 1 - share
    first = left * known
    one = first.sum(0) / q
    two = (first * (known - share)).sum(0) / q
    slope = 0.5 * known.sum(0) - n / 2 * one
    return slope, -0.5 * (share * known).sum(0) - n / 2 * (two - one**2)
