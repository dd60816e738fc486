"""How alike the features of two backbones are on the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
FEWEST = 4
"""Rows below which the unbiased estimate divides by 0."""
_BLOCK = 512
"""Rows of the similarities that are held at a time."""


def cka(one: Array, other: Array) -> float | None:
    """Linear centred kernel alignment, debiased: about 0 for features that have nothing to do with each other.

    1 where one is the other turned, mirrored, scaled and moved; between -1 and 1, below 0 by chance alone. The share
    of similarities between rows that both tell alike:

        HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)),  K = X X', L = Y Y'

    of Kornblith et al. (2019, https://arxiv.org/abs/1905.00414), with the unbiased HSIC of Song et al. (2012, JMLR 13),
    which leaves out what a row has to do with itself:

        (tr(K L) + 1'K1 1'L1 / ((N - 1)(N - 2)) - 2 / (N - 2) 1'K L1) / (N (N - 3)),  diagonals 0

    The usual estimate goes to 1 for pure noise where D is large beside N; this one does not (Murphy et al. 2024,
    https://arxiv.org/abs/2405.01012). It is taken from (D, D) products or from blocks of rows, whichever is less work;
    N x N similarities are never held at once.

    It assumes rows drawn independently: frames of one film are too alike. Directions of large variance decide it, so
    a few rows far out, or one large feature, may (Davari et al. 2022, https://arxiv.org/abs/2210.16156); and like
    features do not make like errors. Below about 50 rows it scatters widely.

    Args:
        one: (N, D) features.
        other: (N, E) of the same rows; D and E may differ.

    Returns:
        None where the features of one do not vary, and below 4 rows.

    Raises:
        ValueError: not the same number of rows.
    """
    return likenesses({"one": one, "other": other})["one", "other"]


def likenesses(features: Mapping[str, Array]) -> dict[tuple[str, str], float | None]:
    """`cka` of every two of several backbones, quicker than one by one.

    Args:
        features: (N, D) of each, of the same rows.

    Raises:
        ValueError: not the same number of rows.
    """
    counts = {name: len(each) for name, each in features.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"features are not of the same rows: {counts}")
    pairs = list(combinations(features, 2))
    if min(counts.values(), default=0) < FEWEST:
        return dict.fromkeys(pairs)
    scaled = {name: _scaled(each) for name, each in features.items()}
    own = {name: _hsic(each, each) for name, each in scaled.items()}
    return {
        (a, b): float(np.clip(_hsic(scaled[a], scaled[b]) / np.sqrt(own[a] * own[b]), -1, 1))
        if min(own[a], own[b]) > 0
        else None
        for a, b in pairs
    }


def _scaled(features: Array) -> Floats:
    """Centred, of mean squared length 1: neither changes the result, both keep digits."""
    found = np.asarray(features, dtype=np.float64).reshape(len(features), -1)
    largest = np.abs(found).max(initial=0.0)
    found = found / largest if largest > 0 else found
    found = found - found.mean(0)
    length = float(np.sqrt((found**2).sum() / len(found)))
    return found / length if length > 1e-9 else np.zeros_like(found)


def _hsic(x: Floats, y: Floats) -> float:
    """Unbiased, of centred features."""
    count = len(x)
    k, l = (x**2).sum(1), (y**2).sum(1)  # noqa: E741 (the diagonals, by the names of the paper)
    k_rows, l_rows = x @ x.sum(0) - k, y @ y.sum(0) - l
    mutual = k_rows.sum() * l_rows.sum() / ((count - 1) * (count - 2)) - 2 * float(k_rows @ l_rows) / (count - 2)
    return float((_trace(x, y) - k @ l + mutual) / (count * (count - 3)))


def _trace(x: Floats, y: Floats) -> float:
    """tr(X X' Y Y'), from (D, E) products or from blocks of (N, N)."""
    count, d, e = len(x), x.shape[1], y.shape[1]
    if d * e <= count * (d + e):
        return float(((x.T @ y) ** 2).sum())
    blocks = (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))
    if x is y:
        return float(sum(((x[rows] @ x.T) ** 2).sum() for rows in blocks))
    return float(sum(((x[rows] @ x.T) * (y[rows] @ y.T)).sum() for rows in blocks))
