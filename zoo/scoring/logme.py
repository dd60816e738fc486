"""The evidence that features are all a linear model needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.scoring.rows import Array, distinct, rows_of

RATIOS = np.arange(-30.0, 14.0)
"""Natural logarithms of alpha / beta, relative to the greatest squared singular value, among which the maximum is
bracketed: beyond them the evidence is that of no weights, or of no noise."""
STEPS = 40
"""Halvings of the bracket, at most."""
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

    to be maximised over t alone: on a grid for all classes at once, then by bisection of its slope.
    """
    squares, projected = _singular(features, columns)
    rest = np.maximum((columns**2).sum(0) - projected.sum(0), 0.0)  # (K,) what no weights reach
    logs = RATIOS + np.log(squares.max())
    grid = np.stack([_value(np.full(len(rest), each), squares, projected, rest, len(features))[0] for each in logs])
    place = grid.argmax(0)
    low, high = logs[np.maximum(place - 1, 0)], logs[np.minimum(place + 1, len(logs) - 1)]
    for _ in range(STEPS):
        middle = (low + high) / 2
        _, slope = _value(middle, squares, projected, rest, len(features))
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
        if (high - low).max() < PRECISE:
            break
    return np.asarray(_value((low + high) / 2, squares, projected, rest, len(features))[0])


def _singular(features: Array, columns: Array) -> tuple[Array, Array]:
    """Squared singular values (k,), and the squared coordinates (k, K) of the targets on their left vectors."""
    from scipy.linalg import eigh

    n, d = features.shape
    gram = features @ features.T if n < d else features.T @ features
    squares, vectors = eigh(gram, driver="evd", overwrite_a=True, check_finite=False)
    kept = squares > max(n, d) * np.finfo(np.float64).eps * squares[-1]
    squares, vectors = squares[kept], vectors[:, kept]
    if n < d:
        return squares, (vectors.T @ columns) ** 2
    return squares, (vectors.T @ (features.T @ columns)) ** 2 / squares[:, None]


def _value(logs: Array, squares: Array, projected: Array, rest: Array, n: int) -> tuple[Array, Array]:
    """(K,) the evidence at log t = `logs` and its slope there."""
    t = np.exp(logs)
    share = t / (t + squares[:, None])  # (k, K) what is left unexplained of each direction
    left = projected * share
    q = np.maximum(left.sum(0) + rest, np.finfo(np.float64).tiny)
    value = -n / 2 * (np.log(2 * np.pi * q / n) + 1) + 0.5 * np.log(share).sum(0)
    slope = -n / 2 * (left * (1 - share)).sum(0) / q + 0.5 * (1 - share).sum(0)
    return value, slope
