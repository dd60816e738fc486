"""Where errors fall, and what is lost without a modality."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from zoo.comparison.overlap import overlap, right, telling
from zoo.comparison.spoil import dropped, loss, other_rows, shuffled
from zoo.data.types import Task

Array = NDArray[Any]
AB = Task("binary", classes=("no", "yes"))
LABELS = Task("multilabel", classes=("a", "b"))
NUMBERS = Task("regression", targets=("x",))


def test_overlap_counts_rows_and_sets_them_beside_chance() -> None:
    one = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
    other = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0], dtype=bool)
    found = overlap("emoji", "image", "text", one, other)
    assert (found.both_right, found.only_one, found.only_other, found.both_wrong) == (3, 1, 1, 5)
    chance = 0.4 * 0.4 + 0.6 * 0.6
    assert found.kappa == pytest.approx((0.8 - chance) / (1 - chance))
    assert found.either == 0.5


def test_kappa_is_none_where_all_rows_are_right() -> None:
    assert overlap("d", "a", "b", np.ones(5, bool), np.ones(5, bool)).kappa is None


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_overlap_the_other_way_round_swaps_what_one_alone_has(rows: list[tuple[bool, bool]]) -> None:
    one, other = np.array(rows).T
    there, back = overlap("d", "a", "b", one, other), overlap("d", "b", "a", other, one)
    assert (there.only_one, there.kappa, there.either) == (back.only_other, back.kappa, back.either)
    assert there.both_right + there.only_one + there.only_other + there.both_wrong == len(rows)


def test_labels_are_right_when_all_of_them_are_and_numbers_never_just_right() -> None:
    truth = np.array([[1.0, 0], [1, 1]])
    found = right(LABELS, np.array([[0.9, 0.1], [0.9, 0.4]]), truth)
    assert found is not None
    assert found.tolist() == [True, False]
    assert right(NUMBERS, np.ones((2, 1)), np.ones((2, 1))) is None
    assert telling(NUMBERS, [np.ones((2, 1))], [np.ones((2, 1))], np.ones((2, 1))).size == 0


def test_the_most_telling_rows_come_first() -> None:
    truth = np.array([1, 1, 1, 0])
    images = np.array([[0.4, 0.6], [0.1, 0.9], [0.1, 0.9], [0.8, 0.2]])
    texts = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    assert telling(AB, [images], [texts], truth).tolist() == [1, 0]
    assert telling(AB, [texts], [images], truth).size == 0
    doubtful = [images, images, 1 - images]
    assert telling(AB, doubtful, [texts], truth).tolist() == [1, 0]


@given(st.integers(2, 50), st.integers(0, 99))
def test_every_row_gets_that_of_another(count: int, seed: int) -> None:
    found = other_rows(count, seed)
    assert sorted(found) == list(range(count))
    assert (found != np.arange(count)).all()
    assert (found == other_rows(count, seed)).all()


def test_one_part_is_spoiled_and_the_other_left_alone() -> None:
    features, training = np.arange(12.0).reshape(4, 3), np.full((2, 3), 5.0)
    before = features.copy()
    gone, mixed = dropped(features, slice(0, 2), training), shuffled(features, slice(0, 2), seed=1)
    assert (gone[:, :2] == 5).all()
    assert (mixed[:, :2] != features[:, :2]).all()
    assert (np.stack([gone, mixed])[:, :, 2] == features[:, 2]).all()
    assert sorted(map(tuple, mixed[:, :2])) == sorted(map(tuple, features[:, :2]))
    assert (features == before).all()


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "macro_f1"])
def test_loss_is_above_nothing_whichever_way_the_metric_goes(metric: str) -> None:
    rng, truth = np.random.default_rng(0), np.arange(60) % 2
    whole = np.eye(2)[truth] * 0.7 + 0.15
    spoiled = np.eye(2)[np.where(rng.random(60) < 0.3, 1 - truth, truth)] * 0.7 + 0.15
    found = loss(AB, metric, [whole], [spoiled], truth)
    assert found is not None
    assert 0 < found.low < found.value < found.high
