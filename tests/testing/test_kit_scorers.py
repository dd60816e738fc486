"""Faults of scorers that make no sound, and the checks that catch them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from faults import failed

from zoo import DataError, ScorerSpec
from zoo.testing import check_scorer

Array = np.ndarray[Any, Any]


def published_logme(features: Array, labels: Array) -> float:
    """LogME as its authors publish it: for N < D the sum over log(alpha) misses the D - N directions without data."""
    if not np.isfinite(features).all() or len(set(labels.tolist())) < 2:
        raise DataError("nothing to compare")
    f = features.astype(np.float64)
    (n, d), total = f.shape, []
    u, s, _ = np.linalg.svd(f, full_matrices=False)
    for each in np.unique(labels):
        y = (labels == each).astype(np.float64)
        projected, alpha, beta = u.T @ y, 1.0, 1.0
        for _ in range(11):
            weights = beta * s * projected / (alpha + beta * s**2)
            gamma = (beta * s**2 / (alpha + beta * s**2)).sum()
            residual = ((y - u @ (s * weights)) ** 2).sum()
            alpha, beta = gamma / ((weights**2).sum() + 1e-12), (n - gamma) / (residual + 1e-12)
        evidence = d / 2 * np.log(alpha) + n / 2 * np.log(beta) - n / 2 * np.log(2 * np.pi)
        evidence -= 0.5 * np.log(alpha + beta * s**2).sum() + beta / 2 * residual + alpha / 2 * (weights**2).sum()
        total.append(evidence / n)
    return float(np.mean(total))


def plain_h_score(features: Array, labels: Array) -> float:
    """The trace of between-class over total covariance, without the shrinkage that few rows call for."""
    f = features - features.mean(0)
    means = np.stack([f[labels == each].mean(0) for each in labels])
    return float(np.trace(np.linalg.pinv(np.cov(f.T)) @ np.cov(means.T)))


def first_rows(features: Array, labels: Array) -> float:
    half = len(labels) // 2
    return float(features[:half].std() + labels[:half].mean())


def random_score(features: Array, labels: Array) -> float:
    return float(np.random.rand())


def standardises_in_place(features: Array, labels: Array) -> float:
    features -= features.mean(0)
    return float(features.std())


def by_axis(features: Array, labels: Array) -> float:
    means = np.stack([features[labels == each].mean(0) for each in np.unique(labels)])
    return float(np.abs(means).max(1).mean())


SCORERS = [
    ("published_logme", "signal-above-wider-noise"),
    ("plain_h_score", "signal-above-wider-noise"),
    ("plain_h_score", "refuses-nonsense"),
    ("first_rows", "row-order"),
    ("first_rows", "class-names"),
    ("random_score", "repeats"),
    ("random_score", "signal-above-noise"),
    ("random_score", "grows-with-signal"),
    ("standardises_in_place", "repeats"),
    ("by_axis", "rotation"),
]


@pytest.mark.parametrize(("function", "check"), SCORERS)
def test_a_fault_of_a_scorer_is_caught(function: str, check: str) -> None:
    assert check in failed(check_scorer(ScorerSpec("broken", f"{__name__}:{function}", "a score")))


def of_first_target(features: Array, targets: Array) -> float:
    """Right for classes, and for numbers nothing but their scale."""
    if targets.ndim > 1:
        return float(np.abs(targets).mean())
    return -published_logme(features, targets)


def test_a_score_that_is_blind_to_numbers_is_caught() -> None:
    spec = ScorerSpec("broken", f"{__name__}:of_first_target", "a score", tasks=("multiclass", "regression"))
    assert "labels-and-numbers" in failed(check_scorer(spec))


def halves(features: Array, labels: Array) -> Array:
    return np.full(len(labels), 0.5)


def test_values_by_row_that_are_not_those_of_the_score_are_caught() -> None:
    spec = ScorerSpec("broken", f"{__name__}:plain_h_score", "a score", rows=f"{__name__}:halves")
    assert "mean-of-rows" in failed(check_scorer(spec))


def test_a_score_that_is_no_number_is_caught() -> None:
    assert "finite" in failed(check_scorer(ScorerSpec("broken", f"{__name__}:standardises_nothing", "a score")))


def standardises_nothing(features: Array, labels: Array) -> float:
    return float("nan")
