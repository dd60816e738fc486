"""Draws of training rows, and what a sweep over them says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ttest_1samp
from sklearn.datasets import load_digits

from zoo import Task, UnknownNameError, UsageError
from zoo.transfer.probe import predict, solve
from zoo.transfer.sweep import ALL, Rows, Shots, drawn, possible_shots, solves, student, sweep, usual_shots

DIGITS = Task("multiclass", tuple("0123456789"))
NUMBERS = Task("regression", (), ("value",))
NAMES = tuple(f"{number}.png" for number in range(300))


def rows(task: Task = DIGITS) -> tuple[Rows, Rows]:
    x, y = load_digits(return_X_y=True)
    targets = y[:, None].astype(np.float32) if task.kind == "regression" else y
    x = x.astype(np.float32)
    return Rows(x[:300], targets[:300], NAMES), Rows(x[300:500], targets[300:500], tuple(map(str, range(200))))


# --- which rows are drawn


@settings(max_examples=20)
@given(seed=st.integers(0, 9), few=st.integers(1, 8), more=st.integers(1, 8), regression=st.booleans())
def test_rows_of_fewer_shots_are_among_those_of_more(seed: int, few: int, more: int, regression: bool) -> None:
    task = NUMBERS if regression else DIGITS
    targets = rows(task)[0].targets
    one, other = (set(drawn(NAMES, targets, task, shots, seed)) for shots in (few, few + more))
    assert one < other


@settings(max_examples=20)
@given(order=st.permutations(range(60)), seed=st.integers(0, 9), shots=st.integers(1, 4))
def test_the_order_of_rows_does_not_change_a_draw(order: list[int], seed: int, shots: int) -> None:
    targets = rows()[0].targets[:60]
    names = NAMES[:60]
    one = {names[row] for row in drawn(names, targets, DIGITS, shots, seed)}
    moved = tuple(names[row] for row in order)
    assert {moved[row] for row in drawn(moved, targets[order], DIGITS, shots, seed)} == one


@settings(max_examples=20)
@given(seed=st.integers(0, 9), shots=st.integers(1, 4))
def test_a_draw_from_what_all_draws_take_is_the_draw_from_everything(seed: int, shots: int) -> None:
    targets = rows()[0].targets
    taken = np.unique(np.concatenate([drawn(NAMES, targets, DIGITS, 4, each) for each in range(10)]))
    names = tuple(NAMES[row] for row in taken)
    found = taken[drawn(names, targets[taken], DIGITS, shots, seed)]
    np.testing.assert_array_equal(found, drawn(NAMES, targets, DIGITS, shots, seed))


def test_every_class_has_its_shots_or_all_it_has() -> None:
    targets = np.array([0] * 9 + [1] * 2)
    found = drawn(NAMES[:11], targets, Task("binary", ("a", "b")), 4, 0)
    assert np.bincount(targets[found]).tolist() == [4, 2]


def test_draws_of_other_seeds_are_others_and_chance_is_even() -> None:
    targets = np.zeros(40, dtype=np.int64)
    count = np.zeros(40)
    for seed in range(400):
        count[drawn(NAMES[:40], targets, Task("binary", ("a", "b")), 10, seed)] += 1
    assert abs(count / 400 - 0.25).max() < 0.09  # four deviations of a share of 400 draws


@pytest.mark.parametrize(
    ("wanted", "found"),
    [((4, 1, 2, 1), (1, 2, 4)), ((1, ALL), (1, ALL)), ((8, 1000), (8, ALL)), ((1000, 2000, ALL), (ALL,))],
)
def test_shots_that_there_are_no_rows_for_stand_for_all(wanted: tuple[Shots, ...], found: tuple[Shots, ...]) -> None:
    assert possible_shots(wanted, rows()[0].targets, DIGITS) == found


@pytest.mark.parametrize("wanted", [(0,), (-1, ALL), (1.5,), (True,), ("some",), ()])
def test_shots_that_are_no_numbers_are_refused(wanted: tuple[Shots, ...]) -> None:
    with pytest.raises(UsageError, match="shots"):
        possible_shots(wanted, rows()[0].targets, DIGITS)


# --- the curves


def test_a_sweep_says_what_the_probe_says_on_the_rows_of_each_draw() -> None:
    train, held = rows()
    found = sweep(train, held, DIGITS, heads=("linear",), shots=(1, 3), seeds=(0, 1))
    for point in found.of("linear"):
        values = []
        for seed in range(2):
            few = drawn(NAMES, train.targets, DIGITS, point.shots, seed)
            solution = solve(train.features[few], train.targets[few], DIGITS, seed=seed)
            values.append(float((predict(solution, DIGITS, held.features).argmax(1) == held.targets).mean()))
        assert point.values == pytest.approx(values)
        assert point.mean == pytest.approx(np.mean(values))
        assert point.rows == 10 * int(point.shots)


def test_all_rows_are_one_draw_with_the_interval_of_the_held_out_rows() -> None:
    done: list[int] = []
    train, held = rows()
    shots: tuple[Shots, ...] = (4, ALL)
    found = sweep(train, held, DIGITS, heads=("knn", "prototypes"), shots=shots, seeds=(0, 1), progress=done.append)
    assert len(done) == solves(("knn", "prototypes"), shots, (0, 1)) == 6
    few, every = found.of("knn")
    assert (few.interval_of, every.interval_of) == ("draws", "held-out rows")
    assert (len(few.values), len(every.values), every.rows) == (2, 1, 300)
    assert every.interval is not None
    assert every.mean is not None
    assert every.interval[0] < every.mean < every.interval[1]
    assert found.heads == ("knn", "prototypes")


def test_the_interval_of_a_mean_is_that_of_student() -> None:
    values = [0.5, 0.6, 0.55, 0.7]
    theirs = ttest_1samp(values, 0).confidence_interval(0.95)
    assert student(values, "accuracy") == pytest.approx((theirs.low, theirs.high))
    assert student([0.9, 1.0], "accuracy") == (pytest.approx(0.3147, abs=1e-4), 1.0)  # 0.95 - 12.706 * 0.05
    assert student([0.1, -0.2], "r2") == pytest.approx((-1.956, 1.0), abs=1e-3)
    assert student([0.9], "accuracy") is None


def test_numbers_and_labels_are_swept_by_rows() -> None:
    assert usual_shots(NUMBERS) == (16, 64, 256, 1024, ALL)
    train, held = rows(NUMBERS)
    found = sweep(train, held, NUMBERS, heads=("linear", "knn"), shots=(16, 64), seeds=(0, 1))
    assert [point.rows for point in found.points] == [16, 64, 16, 64]
    assert found.metric == "r2"
    labels = Task("multilabel", ("odd", "great"))
    x, y = load_digits(return_X_y=True)
    many: NDArray[np.float32] = np.stack([y % 2, y > 4], 1).astype(np.float32)
    train, held = Rows(x[:300].astype(np.float32), many[:300], NAMES), Rows(x[300:400], many[300:400], NAMES[:100])
    heads = ("linear", "knn", "prototypes")
    found = sweep(train, held, labels, heads=heads, shots=(1, 64), seeds=(0,), metric="map")
    assert all(point.mean is not None and 0 <= point.mean <= 1 for point in found.points)
    assert all(point.interval is None for point in found.points)  # one draw tells none


def test_what_cannot_be_swept_is_refused() -> None:
    train, held = rows()
    with pytest.raises(UnknownNameError, match=r"No metric is named 'acuracy'\. Did you mean accuracy"):
        sweep(train, held, DIGITS, heads=("knn",), shots=(1,), seeds=(0,), metric="acuracy")
    with pytest.raises(UsageError, match="the head attention cannot be solved"):
        sweep(train, held, DIGITS, heads=("attention",), shots=(1,), seeds=(0,))
    with pytest.raises(UsageError, match="a sweep needs a head and a seed"):
        sweep(train, held, DIGITS, heads=("knn",), shots=(1,), seeds=())
