"""LEEP without a source head: clusters of the features take its place."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.scoring.leep import expected
from zoo.scoring.rows import Array, classes_of, span

ENERGY = 0.8
"""Share of the variance that principal components keep."""
PER_CLASS = 5
"""Components of the mixture for each class, at most."""
LEAST = 4
"""Rows a component, at least."""


def nleep(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """LEEP with the components of a Gaussian mixture in the place of source classes; at most 0, greater is better.

    Principal components that hold 80% of the variance, a mixture of five components a class on them (fewer where that
    leaves fewer than four rows each), with diagonal covariances, for full ones cannot be had from few rows. Rows are
    put in an order of their own, so that the clusters do not depend on the one they came in.

    Args:
        features: (N, D).
        labels: (N,) classes.

    Raises:
        DataError: features that are not finite or all the same, one class, or targets that are no classes.

    Reference: Li et al. 2021, "Ranking Neural Checkpoints", https://arxiv.org/abs/2011.11200
    """
    rows = classes_of(features, labels, "NLEEP")
    coordinates = components(rows.features)
    order = np.lexsort(coordinates.T[::-1])
    count = max(min(PER_CLASS * rows.columns.shape[1], len(rows) // LEAST), 2)
    return expected(_assigned(coordinates[order], count), rows.columns[order])


def components(features: Array) -> Array:
    """(N, P) principal components with 80% of the variance, of total variance 1; the longer tail of each points up."""
    coordinates, squares = span(features - features.mean(0))
    kept = int(np.searchsorted(np.cumsum(squares) / squares.sum(), ENERGY)) + 1
    found = coordinates[:, :kept] / np.sqrt(squares[:kept].sum() / len(features))
    turned: Array = found * np.where((found**3).sum(0) < 0, -1.0, 1.0)
    return turned


def _assigned(coordinates: Array, count: int) -> Array:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    # One thread: sums in another order would make another clustering of the same rows.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture = GaussianMixture(count, covariance_type="diag", reg_covar=1e-4, random_state=0)
        found: Array = mixture.fit(coordinates).predict_proba(coordinates)
        return found
