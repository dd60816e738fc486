"""Intervals of scores, candidates that cannot be told apart, and how far orders agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

import zoo
from zoo import DataError, PluginError, ScorerSpec
from zoo.scoring import order
from zoo.scoring.order import Scored, above, concordance, places, ranks, scored, tau
from zoo.scoring.rows import explained

Array = np.ndarray[Any, Any]
SCORERS = zoo.default_catalog().scorers


def blobs(rows: int, apart: float, seed: int = 0, dim: int = 12) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    return (apart * rng.standard_normal((3, dim)))[labels] + rng.standard_normal((rows, dim)), labels


def test_the_interval_of_an_accuracy_is_that_of_a_share() -> None:
    features, labels = blobs(100, apart=5)
    found = scored(SCORERS["knn"], features, labels)
    assert found.value == 1
    assert found.interval == pytest.approx((0.963, 1.0), abs=5e-4)  # Wilson's of 100 of 100


def test_the_interval_of_another_score_covers_what_other_rows_give() -> None:
    inside = 0
    for seed in range(10):
        low, high = scored(SCORERS["logme"], *same_classes(seed)).interval or (0, 0)
        others = [scored(SCORERS["logme"], *same_classes(s), intervals=False).value for s in range(10, 16)]
        inside += bool(low < np.mean(others) < high)
    assert inside >= 8


def same_classes(seed: int) -> tuple[Array, Array]:
    means = np.random.default_rng(99).standard_normal((3, 12)) * 0.7
    labels = np.arange(90) % 3
    return means[labels] + np.random.default_rng(seed).standard_normal((90, 12)), labels


def test_r2_by_row_has_the_spread_that_a_bootstrap_finds() -> None:
    rng = np.random.default_rng(0)
    targets = rng.standard_t(4, (400, 1))
    found = 0.3 * targets + 0.2 * rng.standard_normal((400, 1))
    values = explained(found, targets)

    def r2(rows: Array) -> float:
        return float(1 - ((found - targets)[rows] ** 2).sum() / ((targets[rows] - targets[rows].mean()) ** 2).sum())

    drawn = [r2(rng.integers(0, 400, 400)) for _ in range(400)]
    assert values.mean() == pytest.approx(r2(np.arange(400)))
    assert values.std() / 20 == pytest.approx(np.std(drawn), rel=0.15)


def test_candidates_that_rows_cannot_tell_apart_share_a_rank() -> None:
    better, labels = blobs(200, apart=1.5)
    noise = np.random.default_rng(1).standard_normal((200, 12))
    moved = better + 1e-3 * noise
    found = [{name: scored(SCORERS[name], x, labels) for name in order.ORDERING} for x in (noise, better, moved)]
    place, mean = places(found, order.ORDERING)
    assert place == [3, 1, 1]
    assert mean[0] == 3


def test_no_score_decides_against_another() -> None:
    def of(value: float) -> Scored:
        return Scored(value, None, value + 0.001 * np.linspace(-1, 1, 50))

    one, other = {"knn": of(0.9), "linear": of(0.5)}, {"knn": of(0.5), "linear": of(0.9)}
    assert not above(one, other, ("knn", "linear"))
    assert not above(other, one, ("knn", "linear"))
    assert above(one, other, ("knn",))


def test_a_share_of_true_ties_is_called_apart_as_often_as_it_should_be() -> None:
    wrong = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        labels = np.arange(120) % 3
        one, other = ({"knn": scored(SCORERS["knn"], rng.standard_normal((120, 5)), labels)} for _ in range(2))
        wrong += above(one, other, ("knn",)) or above(other, one, ("knn",))
    assert wrong <= 6  # 5% of 40, and three standard errors


def test_orders_that_agree_have_a_w_of_1_and_ties_are_corrected_for() -> None:
    assert concordance([[1, 2, 3, 4]] * 3) == 1
    assert concordance([[1.5, 1.5, 3, 4]] * 2) == pytest.approx(1)
    assert concordance([[1, 2, 3, 4], [4, 3, 2, 1]]) == 0
    assert concordance([[1, 2], [1, 2]]) is None


def test_ranks_and_tau_are_scipys() -> None:
    assert ranks([0.5, None, 0.9, 0.5]) == [2.5, 4, 1, 2.5]
    assert tau([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert tau([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert tau([1, 2], [1, 2]) is None
    assert tau([1, 2, 3], [5, 5, 5]) is None
    # An exchange at the top weighs more than one at the bottom, which Kendall's own tau cannot say.
    top, bottom = [3, 4, 2, 1], [4, 3, 1, 2]
    first, last = tau([4, 3, 2, 1], top), tau([4, 3, 2, 1], bottom)
    assert first is not None
    assert last is not None
    assert first < last
    assert kendalltau([4, 3, 2, 1], top).statistic == kendalltau([4, 3, 2, 1], bottom).statistic


def no_number(features: Array, labels: Array) -> float:
    return float("nan")


def test_a_score_that_is_no_number_is_refused() -> None:
    spec = ScorerSpec("mine", f"{__name__}:no_number", "a score")
    with pytest.raises(PluginError, match="the score mine came to nan, not a finite number"):
        scored(spec, *blobs(20, 1))


def needs_thirty(features: Array, labels: Array) -> float:
    if len(labels) < 30:
        raise DataError("too few rows")
    return 1.0


def test_a_score_that_cannot_do_without_a_part_of_the_rows_has_no_interval() -> None:
    spec = ScorerSpec("mine", f"{__name__}:needs_thirty", "a score")
    assert scored(spec, *blobs(30, 1)).interval is None
    assert scored(spec, *blobs(60, 1)).interval == (1, 1)
