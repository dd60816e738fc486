"""Places that ties share, and mean places over data sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.comparison.ranks import mean_ranks, ranks
from zoo.comparison.scores import Scored, scored
from zoo.data.types import Task

AB = Task("binary", classes=("no", "yes"))


def measured(accuracy: float, *, count: int = 400, seeds: int = 1, seed: int = 0, metric: str = "accuracy") -> Scored:
    rng, targets = np.random.default_rng(seed), np.zeros(count, dtype=int)
    wrong = [rng.permutation(count) >= round(accuracy * count) for _ in range(seeds)]
    return scored(AB, metric, [np.eye(2)[each.astype(int)] * 0.8 + 0.1 for each in wrong], targets)


def test_those_within_noise_share_a_place_and_leave_places_free() -> None:
    values = {"a": 0.9, "b": 0.89, "c": 0.7, "d": 0.6}
    far = lambda one, other: values[one] - values[other] > 0.1  # noqa: E731
    assert ranks(values, far) == {"a": 1, "b": 1, "c": 3, "d": 3}


def test_who_has_no_value_has_no_place() -> None:
    assert ranks({"a": 0.9, "b": None}, lambda one, other: True) == {"a": 1}


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 0.5))
def test_nobody_is_placed_behind_the_first_within_noise(values: dict[str, float], noise: float) -> None:
    found = ranks(values, lambda one, other: values[one] - values[other] > noise)
    best = max(values.values())
    assert all((found[title] > 1) == (best - value > noise) for title, value in values.items())


def test_mean_places_are_those_of_the_values() -> None:
    sets = [
        {"a": measured(0.9, seed=1), "b": measured(0.7, seed=2), "c": measured(0.7, seed=3)},
        {"a": measured(0.6, seed=4), "b": measured(0.8, seed=5)},
    ]
    found = mean_ranks(sets)
    assert [found[title].value for title in "abc"] == [1.5, (2.5 + 1) / 2, 2.5]
    assert [found[title].data for title in "abc"] == [2, 2, 1]
    assert found["a"].interval == (1.0, 2.0)


def test_less_loss_is_the_better_place() -> None:
    found = mean_ranks([{"good": measured(0.9, metric="log_loss"), "bad": measured(0.5, seed=1, metric="log_loss")}])
    assert [found[title].value for title in ("good", "bad")] == [1, 2]


def test_equals_are_not_told_apart_by_their_mean_places() -> None:
    sets = [{name: measured(0.8, seeds=3, seed=10 * d + s) for s, name in enumerate("abcd")} for d in range(6)]
    intervals = [each.interval for each in mean_ranks(sets).values()]
    assert max(pair[0] for pair in intervals if pair) < min(pair[1] for pair in intervals if pair)


def test_the_same_draws_give_the_same_interval() -> None:
    sets = [{"a": measured(0.8), "b": measured(0.79, seed=1)}] * 3
    assert mean_ranks(sets, seed=3) == mean_ranks(sets, seed=3)


def test_a_set_without_values_places_nobody() -> None:
    nothing = scored(AB, "auroc", [np.full((4, 2), 0.5)], np.zeros(4, dtype=int))
    assert mean_ranks([{"a": nothing}]) == {}
    assert mean_ranks([{"a": nothing}, {"a": measured(0.8)}])["a"].data == pytest.approx(1)
