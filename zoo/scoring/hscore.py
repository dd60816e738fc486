"""How far class means are apart, measured by a covariance that few rows cannot spoil."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from zoo.scoring.rows import Array, classes_of, span


def h_score(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """Regularised H-score: tr(S_a^-1 (1 - a) Cov(E[f | y])) with Ledoit and Wolf's a; in [0, K - 1], greater is better.

    S_a = (1 - a) Cov(f) + a tr(Cov(f)) / D is the covariance of the features shrunk towards a multiple of the
    identity. It is computed in the span of the rows, where the class means lie.

    Args:
        features: (N, D).
        labels: (N,) classes.

    Raises:
        DataError: features that are not finite or all the same, one class, or targets that are no classes, for which
            the score is not defined.

    Reference: Ibrahim et al. 2021, "Newer is not always better", https://arxiv.org/abs/2110.06893; Bao et al. 2019,
        "An Information-Theoretic Approach to Transferability in Task Transfer Learning"
    """
    rows = classes_of(features, labels, "the H-score")
    centred = rows.features - rows.features.mean(0)
    coordinates, squares = span(centred)
    n, d = centred.shape
    values = squares / n
    alpha = shrinkage(values, (coordinates**2).sum(1), n, d)
    counts = rows.columns.sum(0)
    means = rows.columns.T @ coordinates / counts[:, None]  # (K, R)
    between = (counts[:, None] / n * means**2).sum(0)
    return float(((1 - alpha) * between / ((1 - alpha) * values + alpha * values.sum() / d)).sum())


def shrinkage(values: Array, lengths: Array, n: int, d: int) -> float:
    """How far the covariance of few rows is best moved towards a multiple of the identity, in [0, 1].

    Args:
        values: eigenvalues of the covariance (divided by N) that are not 0.
        lengths: (N,) squared lengths of the centred rows.
        n: rows.
        d: columns.

    Reference: Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices",
        https://doi.org/10.1016/S0047-259X(03)00096-4
    """
    whole = float((values**2).sum())
    away = whole - float(values.sum()) ** 2 / d
    noise = (float((lengths**2).sum()) / n - whole) / n
    return min(max(noise / away, 0.0), 1.0) if away > 0 else 1.0
