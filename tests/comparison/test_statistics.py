"""Intervals, tests and their correction, against counts by hand, other libraries and simulated truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest, kstest

from zoo.comparison.scores import DRAWS, scored
from zoo.comparison.statistics import Paired, apart, estimate, estimated, holm, paired
from zoo.data.types import Task
from zoo.transfer.metrics import bootstrap, measure_one
from zoo.transfer.paired import difference

Array = NDArray[Any]
ABC = Task("multiclass", classes=("a", "b", "c"))
LABELS = Task("multilabel", classes=("a", "b", "c", "d"))
NUMBERS = Task("regression", targets=("x", "y"))


def answers(right: Array, targets: Array) -> Array:
    """(N, 3) sure answers, the next class where they are wrong."""
    found: Array = np.eye(3)[np.where(right, targets, (targets + 1) % 3)]
    return found


def guesses(task: Task, count: int, seed: int) -> tuple[Array, Array]:
    """Predictions that know something, and targets that are the same for every seed."""
    truth, rng = np.random.default_rng(99), np.random.default_rng(seed)
    if task.kind == "multiclass":
        targets = truth.integers(0, 3, count)
        raw = rng.dirichlet(np.ones(3), count) + 0.5 * np.eye(3)[targets]
        return (raw / raw.sum(1, keepdims=True)).astype(np.float32), targets
    if task.kind == "multilabel":
        labels = (truth.random((count, 4)) < 0.3).astype(np.float32)
        return (0.4 * labels + 0.6 * rng.random((count, 4))).astype(np.float32), labels
    numbers = truth.normal(100, 1, (count, 2)).astype(np.float32)
    return (numbers + rng.normal(0, 0.5, (count, 2))).astype(np.float32), numbers


def found(result: Paired | None) -> Paired:
    assert result is not None
    return result


def ends(result: Paired) -> tuple[float, float, float, float]:
    return result.value, result.low, result.high, result.p


METRICS = [
    *((ABC, name) for name in ("accuracy", "log_loss", "macro_f1", "balanced_accuracy")),
    *((LABELS, name) for name in ("log_loss", "top1", "subset_accuracy", "samples_f1", "micro_f1", "macro_f1")),
    *((NUMBERS, name) for name in ("mae", "rmse", "r2")),
]
OF = pytest.mark.parametrize(("task", "metric"), METRICS, ids=lambda each: each if isinstance(each, str) else each.kind)


@OF
def test_a_metric_over_drawn_rows_is_the_metric_of_those_rows(task: Task, metric: str) -> None:
    predictions, targets = guesses(task, 40, 0)
    rows = np.random.default_rng([0, 0]).integers(0, 40, (DRAWS, 40))[:5]
    wanted = [measure_one(task, metric, predictions[each], targets[each]) for each in rows]
    drawn = scored(task, metric, [predictions], targets).drawn()[:5, 0]
    np.testing.assert_allclose(drawn, np.array(wanted, dtype=float), atol=1e-6)  # measured in float32 there


def test_a_metric_without_sums_is_measured_anew_in_each_draw() -> None:
    predictions, targets = guesses(NUMBERS, 40, 0)
    result = found(paired(NUMBERS, "pearson", [predictions], [guesses(NUMBERS, 40, 1)[0] - 1], targets))
    assert result.low < result.value < result.high


@OF
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_other_way_round_is_the_opposite(task: Task, metric: str, seeds: int) -> None:
    targets = guesses(task, 40, 0)[1]
    one, other = ([guesses(task, 40, start + s)[0] for s in range(seeds)] for start in (0, 10))
    there, back = found(paired(task, metric, one, other, targets)), found(paired(task, metric, other, one, targets))
    assert (there.value, there.p) == pytest.approx((-back.value, back.p))
    # multinomial draws are not mirrored draw by draw: their quantiles agree to a row of 40
    assert (there.low, there.high) == pytest.approx(
        (-back.high, -back.low), abs=0.026 if metric == "accuracy" else 1e-9
    )


def test_mcnemar_asks_which_of_two_is_alone_right() -> None:
    targets = np.zeros(100, dtype=int)
    one, other = np.ones(100, bool), np.ones(100, bool)
    one[:3], other[3:15] = False, False  # 12 rows by one alone, 3 by the other alone
    result = found(paired(ABC, "accuracy", [answers(one, targets)], [answers(other, targets)], targets))
    assert result.value == pytest.approx(0.09)
    assert result.p == pytest.approx(binomtest(12, 15).pvalue)
    assert result.test == "McNemar, exact"
    assert 0 < result.low < 0.09 < result.high < 0.18


@given(more=st.integers(0, 25), less=st.integers(0, 25), same=st.integers(1, 200))
@settings(max_examples=200, deadline=None)
def test_the_interval_leaves_out_nothing_just_where_the_test_does(more: int, less: int, same: int) -> None:
    targets = np.zeros(more + less + same, dtype=int)
    rows = np.arange(len(targets))
    one, other = answers(rows >= less, targets), answers((rows < less) | (rows >= more + less), targets)
    result = found(paired(ABC, "accuracy", [one], [other], targets))
    assert result.value == pytest.approx((more - less) / len(targets))
    assert (result.p < 0.05) == (result.low > 0 or result.high < 0)
    assert -1 <= result.low <= result.value <= result.high <= 1


@pytest.mark.parametrize("metric", ["macro_f1", "log_loss", "balanced_accuracy"])
def test_a_bootstrapped_p_is_below_a_twentieth_just_where_the_interval_leaves_out_nothing(metric: str) -> None:
    targets = guesses(ABC, 60, 0)[1]
    for seed in range(25):
        result = found(paired(ABC, metric, [guesses(ABC, 60, seed)[0]], [guesses(ABC, 60, seed + 60)[0]], targets))
        assert (result.p < 0.05) == (result.low > 0 or result.high < 0)
        assert result.test == "paired bootstrap"


def test_one_seed_has_the_interval_that_runs_are_compared_by() -> None:
    targets = guesses(ABC, 400, 0)[1]
    one, other = guesses(ABC, 400, 0)[0], guesses(ABC, 400, 1)[0]
    ours, theirs = found(paired(ABC, "accuracy", [one], [other], targets)), difference(ABC, one, other, targets)
    assert theirs is not None
    assert (ours.low, ours.high) == pytest.approx(
        (theirs.low, theirs.high), abs=0.008
    )  # of 1,000 draws, about 0.03 off
    assert estimate(ABC, "accuracy", [one], targets).interval == bootstrap(ABC, one, targets, "accuracy")


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss"])
def test_the_order_of_rows_does_not_matter(metric: str, seeds: int) -> None:
    targets = guesses(ABC, 300, 0)[1]
    one, other = ([guesses(ABC, 300, start + s)[0] for s in range(seeds)] for start in (0, 10))
    order = np.random.default_rng(0).permutation(300)
    here = found(paired(ABC, metric, one, other, targets))
    there = found(paired(ABC, metric, [p[order] for p in one], [p[order] for p in other], targets[order]))
    exact = metric == "accuracy" or (metric == "log_loss" and seeds > 1)
    width = here.high - here.low
    assert here.value == pytest.approx(there.value)
    # other rows are drawn: the ends of an interval scatter by a few percent of its width
    assert ends(here)[1:3] == pytest.approx(ends(there)[1:3], abs=1e-9 if exact else 0.12 * width)


def test_contenders_that_answer_alike_are_not_apart() -> None:
    targets = guesses(ABC, 50, 0)[1]
    every, one = [guesses(ABC, 50, seed)[0] for seed in range(3)], [guesses(ABC, 50, 0)[0]]
    for metric in ("accuracy", "macro_f1", "log_loss"):
        for predictions in (one, every):
            result = found(paired(ABC, metric, predictions, predictions, targets))
            assert (result.value, result.p) == (0, 1)
            assert result.low <= 0 <= result.high


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_rows_that_are_all_right_leave_room_for_what_so_many_rows_may_hide(seeds: int) -> None:
    targets = np.zeros(30, dtype=int)
    perfect = [answers(np.ones(30, bool), targets)] * seeds
    alone, result = (
        estimate(ABC, "accuracy", perfect, targets),
        found(paired(ABC, "accuracy", perfect, perfect, targets)),
    )
    hidden = 1 - 0.025 ** (1 / 30)  # Clopper and Pearson: so many rows are all right once in 40 times
    assert alone.interval == pytest.approx((1 - hidden, 1))
    assert ends(result) == pytest.approx((0, -hidden, hidden, 1))


def test_one_contender_that_is_always_right_beats_one_that_never_is() -> None:
    targets = np.zeros(30, dtype=int)
    right, wrong = answers(np.ones(30, bool), targets), answers(np.zeros(30, bool), targets)
    for seeds in (1, 3):
        result = found(paired(ABC, "accuracy", [right] * seeds, [wrong] * seeds, targets))
        assert result.value == 1
        assert result.low > 0.7
        assert result.p < 1e-7


def test_what_the_rows_do_not_tell_is_none() -> None:
    same = np.zeros(20, dtype=int)
    one = [guesses(ABC, 20, 0)[0]] * 2
    assert paired(ABC, "auroc", one, one, same) is None
    assert estimate(ABC, "auroc", one, same).interval is None
    assert estimate(ABC, "accuracy", [one[0][:0]], same[:0]).value is None


def test_seeds_that_do_not_match_are_refused() -> None:
    predictions, targets = guesses(ABC, 20, 0)
    with pytest.raises(ValueError, match="2 and 1 seeds"):
        paired(ABC, "accuracy", [predictions] * 2, [predictions], targets)


def test_variance_over_rows_and_seeds_is_the_textbook_one() -> None:
    """Obuchowski and Rockette's with mean scores is that of two crossed random factors, by sums of squares."""
    rng = np.random.default_rng(0)
    count, seeds = 80, 4
    shift = rng.normal(0, 0.8, seeds)
    targets = np.zeros(count, dtype=int)
    picked = 1 / (1 + np.exp(-(rng.normal(0, 1, (count, 1)) + shift + rng.normal(0, 0.3, (count, seeds)))))
    predictions = [np.stack([p, (1 - p) / 2, (1 - p) / 2], 1) for p in picked.T]
    x = -np.log(picked)
    of_rows = seeds * x.mean(1).var(ddof=1)
    of_seeds = count * x.mean(0).var(ddof=1)
    rest = ((x - x.mean(1, keepdims=True) - x.mean(0) + x.mean()) ** 2).sum() / ((count - 1) * (seeds - 1))
    assert of_seeds > rest
    variance = (of_rows + of_seeds - rest) / (count * seeds)
    result = estimate(ABC, "log_loss", predictions, targets)
    freedom = variance**2 / (
        (of_seeds / (count * seeds)) ** 2 / (seeds - 1) + (of_rows / (count * seeds)) ** 2 / (count - 1)
    )
    from scipy.stats import t

    assert result.value is not None
    assert (result.high or 0) - result.value == pytest.approx(t.ppf(0.975, freedom) * variance**0.5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_what_is_adjusted_is_rejected_just_where_the_procedure_rejects_it(p: list[float]) -> None:
    adjusted = holm(p)
    for level in (0.01, 0.05, 0.2, 0.7):
        left = sorted(range(len(p)), key=lambda index: p[index])
        while left and p[left[0]] * len(left) <= level:
            left.pop(0)
        assert {index for index in range(len(p)) if adjusted[index] > level} == set(left)


def test_nothing_to_correct_is_nothing() -> None:
    assert holm([]) == []


def simulated(rng: np.random.Generator, seeds: int, of_seed: float, gap: float = 0.0) -> Paired:
    """Two contenders on 200 rows of unequal difficulty, alike but for `gap` and chance."""
    targets, rows = np.zeros(200, dtype=int), rng.normal(0, 0.2, 200)
    both = []
    for level in (0.7 + gap, 0.7):
        own = rows + rng.normal(0, 0.1, 200)
        chance = np.clip(level + own[:, None] + rng.normal(0, of_seed, seeds), 0, 1)
        both.append(scored(ABC, "accuracy", [answers(rng.random(200) < c, targets) for c in chance.T], targets))
    return found(apart(*both))


@pytest.mark.parametrize(("seeds", "of_seed"), [(1, 0.0), (2, 0.02), (5, 0.0), (5, 0.02)])
def test_intervals_hold_no_difference_between_equals_as_often_as_they_say(seeds: int, of_seed: float) -> None:
    rng = np.random.default_rng(0)
    results = [simulated(rng, seeds, of_seed) for _ in range(200)]
    held = np.mean([each.low <= 0 <= each.high for each in results])
    assert 0.90 <= held <= 1.0
    assert np.mean([each.p < 0.05 for each in results]) <= 0.10


def test_p_of_log_loss_is_uniform_between_equals() -> None:
    rng, targets = np.random.default_rng(0), np.zeros(150, dtype=int)
    p = []
    for _ in range(150):
        one, other = (rng.dirichlet(np.array([3.0, 1, 1]), 150) for _ in range(2))
        p.append(found(paired(ABC, "log_loss", [one], [other], targets)).p)
    assert kstest(p, "uniform").pvalue > 0.01


def test_seeds_of_a_contender_with_few_wrong_rows_end_below_one() -> None:
    targets = np.zeros(100, dtype=int)
    rows = np.arange(100)
    result = estimated(scored(ABC, "accuracy", [answers(rows > seed % 2, targets) for seed in range(4)], targets))
    assert result.value == pytest.approx(0.985)
    assert 0.92 < (result.low or 0) < 0.96
    assert 0.985 < (result.high or 0) < 1
