"""Scores with their intervals, and an order of candidates that says which of them cannot be told apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.factories import import_factory
from zoo.catalog.spec import ScorerSpec
from zoo.errors import DataError, PluginError
from zoo.scoring.rows import Array

ORDERING = ("knn", "linear")
"""Scores that make the order, where they are among those that are asked for."""
GROUPS, FEWER = 10, 5
"""Parts of the rows, of which each is left out in turn where a score is no mean over rows; and of many wide rows."""
LARGE = 512
"""The lesser of rows and columns from which rows are many and wide."""
SURE = 0.95


@dataclass(frozen=True)
class Scored:
    """What a score says of one candidate, and how far the rows at hand bear it out."""

    value: float
    interval: tuple[float, float] | None
    """95%, over draws of rows; None: too few to tell."""
    without: Array
    """(G,) the score without each row, or without each of `GROUPS` parts of the rows; the same for every candidate."""


def scored(
    spec: ScorerSpec, features: NDArray[Any], targets: NDArray[Any], *, seed: int = 0, intervals: bool = True
) -> Scored:
    """A score by its specification.

    A mean over rows has the interval of a mean (that of a share after Wilson 1927). Any other score is computed anew
    without each tenth of the rows, or each fifth where more than 512 rows have more than 512 columns; the jackknife
    has its error from these.

    Args:
        spec: of the score.
        features: (N, D), or (N, Z) probabilities where it needs a source head.
        targets: as the score takes them.
        seed: of the parts.
        intervals: compute them.

    Raises:
        DataError: rows that the score cannot be had from.
        PluginError: it gives something else than a finite number.
    """
    if spec.rows is not None:
        values = np.asarray(import_factory(spec.rows, f"scorer {spec.name}")(features, targets), dtype=np.float64)
        value = _number(spec, values.mean())
        if not intervals or len(values) < 3:
            return Scored(value, None, np.empty(0))
        without = (values.sum() - values) / (len(values) - 1)
        if set(np.unique(values)) <= {0.0, 1.0}:
            return Scored(value, _share(value, len(values)), without)
        return Scored(value, _around(value, without), without)
    score = import_factory(spec.factory, f"scorer {spec.name}")
    value = _number(spec, score(features, targets))
    if not intervals:
        return Scored(value, None, np.empty(0))
    try:
        parts = _parts(len(targets), GROUPS if min(features.shape) <= LARGE else FEWER, seed)
        without = np.array([_number(spec, score(features[kept], targets[kept])) for kept in parts])
    except DataError:  # a part holds all that there is of something
        return Scored(value, None, np.empty(0))
    return Scored(value, _around(value, without), without)


def apart(one: Scored, other: Scored) -> int:
    """1 if one score is above the other beyond what a draw of rows does, -1 if below, else 0; paired by rows."""
    if len(one.without) != len(other.without) or len(one.without) < 3:
        return 0
    difference = one.value - other.value
    error = _error(one.without - other.without)
    if abs(difference) <= _quantile(len(one.without)) * error or difference == 0:
        return 0
    return 1 if difference > 0 else -1


def above(one: Mapping[str, Scored], other: Mapping[str, Scored], by: Sequence[str]) -> bool:
    """Whether a score has one candidate above the other beyond chance, and none has it below."""
    found = [apart(one[name], other[name]) for name in by if name in one and name in other]
    return 1 in found and -1 not in found


def places(scores: Sequence[Mapping[str, Scored]], by: Sequence[str]) -> tuple[list[int], list[float]]:
    """Rank and mean rank of each candidate.

    The rank is 1 + the number of candidates that are above beyond chance, so that those that cannot be told apart
    share it. Mean ranks are over the scores in `by`.
    """
    ranked = np.array([ranks([each[name].value if name in each else None for each in scores]) for name in by])
    mean = [float(each) for each in ranked.mean(0)]
    place = [1 + sum(above(other, one, by) for other in scores) for one in scores]
    return place, mean


def ranks(values: Sequence[float | None]) -> list[float]:
    """1 for the greatest; those that are equal share the mean of theirs, those without a value come last."""
    from scipy.stats import rankdata

    return [float(r) for r in rankdata([-each if each is not None else math.inf for each in values])]


def concordance(table: Sequence[Sequence[float]]) -> float | None:
    """Kendall's W of several rankings of the same candidates: 1 where all agree, 0 where that is chance.

    Args:
        table: a row a ranking, a column a candidate; ties share their mean rank, and are corrected for.

    Reference: Kendall and Smith 1939, "The Problem of m Rankings", https://doi.org/10.1214/aoms/1177732186
    """
    found = np.asarray(table, dtype=np.float64)
    m, n = found.shape
    if m < 2 or n < 3:
        return None
    sums = found.sum(0)
    ties = sum(float((counts**3 - counts).sum()) for counts in (np.unique(row, return_counts=True)[1] for row in found))
    whole = m**2 * (n**3 - n) - m * ties
    return float(12 * ((sums - sums.mean()) ** 2).sum() / whole) if whole > 0 else None


def tau(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Weighted tau of two lists of values, greater for better: exchanges at the top weigh most; 1 to -1.

    Reference: Vigna 2015, "A Weighted Correlation Index for Rankings with Ties", https://arxiv.org/abs/1404.3325
    """
    from scipy.stats import weightedtau

    if len(one) < 3 or len(set(one)) < 2 or len(set(other)) < 2:
        return None
    found = float(weightedtau(one, other).statistic)
    return found if math.isfinite(found) else None


def _number(spec: ScorerSpec, value: Any) -> float:
    if not isinstance(value, float | int | np.floating | np.integer) or not math.isfinite(value):
        raise PluginError(
            f"the score {spec.name} came to {value!r}, not a finite number", help=f"leave {spec.name} out of --scorers"
        )
    return float(value)


def _parts(count: int, groups: int, seed: int) -> list[NDArray[np.int64]]:
    """Row numbers without each of the parts."""
    part = np.random.default_rng(seed).permutation(np.arange(count) % min(groups, count))
    return [np.flatnonzero(part != each) for each in range(min(groups, count))]


def _error(without: Array) -> float:
    """The jackknife's standard error (Quenouille 1956, Tukey 1958)."""
    g = len(without)
    return math.sqrt((g - 1) / g * float(((without - without.mean()) ** 2).sum()))


def _quantile(groups: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + SURE) / 2, groups - 1))


def _around(value: float, without: Array) -> tuple[float, float]:
    half = _quantile(len(without)) * _error(without)
    return value - half, value + half


def _share(value: float, count: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    found = binomtest(round(value * count), count).proportion_ci(SURE, method="wilson")
    return float(found.low), float(found.high)
