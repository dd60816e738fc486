"""Metrics against scikit-learn and scipy, intervals against theory, and rows that cannot tell."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import Task
from zoo.transfer.metrics import (
    bootstrap,
    calibration_error,
    confusion,
    greater_is_better,
    intervals,
    measure,
    measure_one,
    per_class,
    primary,
    shown,
)

BINARY = Task("binary", ("no", "yes"))
MULTI = Task("multiclass", ("a", "b", "c", "d"))
LABELS = Task("multilabel", ("a", "b", "c"))
NUMBER = Task("regression", (), ("y",))
NUMBERS = Task("regression", (), ("x", "y"))
TASKS = [BINARY, MULTI, LABELS, NUMBER, NUMBERS]

seeds = st.integers(0, 10_000)
rows = st.integers(1, 40)


def drawn(task: Task, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions somewhat better than chance, and targets in which classes may be missing."""
    rng = np.random.default_rng(seed)
    if task.kind == "regression":
        targets = rng.normal(size=(count, len(task.targets))).astype(np.float32)
        return (targets + rng.normal(size=targets.shape)).astype(np.float32), targets
    size = len(task.classes)
    if task.kind == "multilabel":
        return rng.random((count, size)).astype(np.float32), (rng.random((count, size)) < 0.3).astype(np.float32)
    targets = rng.integers(0, size, count)
    logits = rng.normal(size=(count, size)) + 1.5 * np.eye(size)[targets]
    odds = np.exp(logits)
    return (odds / odds.sum(1, keepdims=True)).astype(np.float32), targets


def quietly(function: object, *args: object, **options: object) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of empty classes
        return float(function(*args, **options))  # type: ignore[operator]


# --- against scikit-learn and scipy


@pytest.mark.parametrize("task", [BINARY, MULTI], ids=lambda task: task.kind)
@settings(max_examples=40, deadline=None)
@given(seed=seeds, count=rows)
def test_metrics_of_classes_are_scikit_learns(task: Task, seed: int, count: int) -> None:
    p, y = drawn(task, seed, count)
    found, decided, every = measure(task, p, y), p.argmax(1), list(range(len(task.classes)))
    present = np.unique(y)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, decided))
    assert found["balanced_accuracy"] == pytest.approx(quietly(sk.balanced_accuracy_score, y, decided))
    f1 = quietly(sk.f1_score, y, decided, labels=present, average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(f1)
    assert found["log_loss"] == pytest.approx(quietly(sk.log_loss, y, p.astype(float), labels=every), rel=1e-4)
    if len(present) == 1:
        assert found["auroc"] is None
    elif task is BINARY:
        assert found["auroc"] == pytest.approx(sk.roc_auc_score(y, p[:, 1]))
    elif len(present) == 4:
        expected = sk.roc_auc_score(y, p / p.sum(1, keepdims=True), multi_class="ovr")
        assert found["auroc"] == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, count=rows)
def test_metrics_of_labels_are_scikit_learns(seed: int, count: int) -> None:
    p, y = drawn(LABELS, seed, count)
    found, decided, truth = measure(LABELS, p, y), p >= 0.5, y.astype(bool)
    assert found["micro_f1"] == pytest.approx(quietly(sk.f1_score, truth, decided, average="micro", zero_division=0))
    assert found["samples_f1"] == pytest.approx(
        quietly(sk.f1_score, truth, decided, average="samples", zero_division=0)
    )
    assert found["subset_accuracy"] == pytest.approx(sk.accuracy_score(truth, decided))
    assert found["log_loss"] == pytest.approx(
        np.mean([quietly(sk.log_loss, y[:, k], p[:, k].astype(float), labels=[0, 1]) for k in range(3)]), rel=1e-4
    )
    present = truth.any(0)
    if present.any():
        assert found["map"] == pytest.approx(sk.average_precision_score(truth[:, present], p[:, present]))
        columns = [quietly(sk.f1_score, truth[:, k], decided[:, k], zero_division=0) for k in np.flatnonzero(present)]
        assert found["macro_f1"] == pytest.approx(np.mean(columns))
    else:
        assert found["map"] is None


@settings(max_examples=40, deadline=None)
@given(seed=seeds, count=st.integers(3, 40))
def test_metrics_of_numbers_are_those_of_scikit_learn_and_scipy(seed: int, count: int) -> None:
    p, y = drawn(NUMBERS, seed, count)
    found = measure(NUMBERS, p, y)
    assert found["r2"] == pytest.approx(sk.r2_score(y, p), rel=1e-4, abs=1e-5)
    assert found["r2.x"] == pytest.approx(sk.r2_score(y[:, 0], p[:, 0]), rel=1e-4, abs=1e-5)
    assert found["rmse"] == pytest.approx(math.sqrt(sk.mean_squared_error(y, p)), rel=1e-5)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(y, p), rel=1e-5)
    for name, theirs in (("pearson", scipy.stats.pearsonr), ("spearman", scipy.stats.spearmanr)):
        expected = np.mean([theirs(p[:, k], y[:, k]).statistic for k in range(2)])
        assert found[name] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_large_numbers_lose_nothing_to_single_precision() -> None:
    y = (1e7 + np.arange(100, dtype=np.float32))[:, None]
    assert measure(NUMBER, y + 1, y)["r2"] == pytest.approx(sk.r2_score(y.astype(float), y.astype(float) + 1))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind}{task.num_outputs}")
@settings(max_examples=20, deadline=None)
@given(seed=seeds, count=rows)
def test_no_metric_depends_on_the_order_of_rows(task: Task, seed: int, count: int) -> None:
    p, y = drawn(task, seed, count)
    order = np.random.default_rng(seed).permutation(count)
    assert measure(task, p[order], y[order]) == pytest.approx(measure(task, p, y), nan_ok=False, abs=1e-9)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind}{task.num_outputs}")
@settings(max_examples=20, deadline=None)
@given(seed=seeds, count=rows)
def test_a_metric_alone_is_the_metric_among_all(task: Task, seed: int, count: int) -> None:
    p, y = drawn(task, seed, count)
    every = measure(task, p, y)
    for name, value in every.items():
        assert measure_one(task, name, p, y) == (None if value is None else pytest.approx(value, abs=1e-9))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind}{task.num_outputs}")
@settings(max_examples=30, deadline=None)
@given(seed=seeds, count=st.integers(0, 4))
def test_a_metric_is_a_finite_number_or_none(task: Task, seed: int, count: int) -> None:
    p, y = drawn(task, seed, count)
    assert all(value is None or math.isfinite(value) for value in measure(task, p, y).values())


@settings(max_examples=20, deadline=None)
@given(seed=seeds, count=rows)
def test_calibration_error_is_the_gap_between_confidence_and_accuracy(seed: int, count: int) -> None:
    p, y = drawn(MULTI, seed, count)
    confidence, right, total = p.max(1), p.argmax(1) == y, 0.0
    for low in range(15):
        inside = [
            i for i in range(count) if low / 15 <= confidence[i] and (confidence[i] < (low + 1) / 15 or low == 14)
        ]
        if inside:
            total += len(inside) / count * abs(np.mean(right[inside]) - np.mean(confidence[inside]))
    assert calibration_error(p, y) == pytest.approx(total, abs=1e-6)


# --- rows that cannot tell


def test_a_split_of_one_class_has_no_auroc_but_the_rest() -> None:
    p = np.array([[0.9, 0.1], [0.4, 0.6]], dtype=np.float32)
    found = measure(BINARY, p, np.array([0, 0]))
    assert found["auroc"] is None
    assert found["accuracy"] == 0.5
    assert found["majority"] == 1.0


def test_a_class_missing_from_the_split_is_left_out_of_means_over_classes() -> None:
    y = np.array([0, 1, 2] * 4)  # no "d"
    p = np.eye(4, dtype=np.float32)[y] * 0.97 + 0.01
    found = measure(MULTI, p, y)
    assert found["macro_f1"] == found["balanced_accuracy"] == found["auroc"] == 1.0


def test_labels_that_no_row_has_are_left_out() -> None:
    y = np.array([[1, 0, 0], [1, 0, 0]], dtype=np.float32)
    found = measure(LABELS, np.array([[0.9, 0.1, 0.8], [0.9, 0.2, 0.1]], dtype=np.float32), y)
    assert found["map"] == found["macro_f1"] == 1.0
    assert found["micro_f1"] == pytest.approx(0.8)
    none = measure(LABELS, np.full((2, 3), 0.1, dtype=np.float32), np.zeros((2, 3), dtype=np.float32))
    assert none["map"] is None
    assert none["micro_f1"] == 0.0


@pytest.mark.parametrize("value", [0.1, 0.3, 5.0, 123456.7])
@pytest.mark.parametrize("count", [1, 7, 100, 118])
def test_constant_targets_have_no_r2_and_no_correlation(value: float, count: int) -> None:
    # The float32 mean of 100 times 0.1 is not 0.1: the spread came out above 0, and R2 as -1e16.
    y = np.full((count, 1), value, dtype=np.float32)
    p = y + np.random.default_rng(0).normal(size=y.shape).astype(np.float32)
    found = measure(NUMBER, p, y)
    assert found["r2"] is found["pearson"] is found["spearman"] is None
    assert found["mae"] is not None
    assert measure_one(NUMBER, "r2", p, y) is None


def test_a_constant_target_is_left_out_of_the_mean_over_targets() -> None:
    rng = np.random.default_rng(0)
    y = np.column_stack([rng.normal(size=50), np.full(50, 0.1)]).astype(np.float32)
    p = (y + rng.normal(scale=0.1, size=y.shape)).astype(np.float32)
    found = measure(NUMBERS, p, y)
    assert found["r2"] == found["r2.x"] == measure_one(NUMBERS, "r2", p, y)
    assert "r2.y" not in found


def test_constant_predictions_have_an_r2_but_no_correlation() -> None:
    y = np.arange(10, dtype=np.float32)[:, None]
    found = measure(NUMBER, np.full_like(y, 4.5), y)
    assert found["r2"] == pytest.approx(0)
    assert found["pearson"] is found["spearman"] is None


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind}{task.num_outputs}")
def test_no_rows_have_no_metric(task: Task) -> None:
    p, y = drawn(task, 0, 0)
    assert measure(task, p, y) == {primary(task): None}


def test_a_certain_mistake_costs_much_but_not_infinitely() -> None:
    found = measure(BINARY, np.array([[1.0, 0.0]], dtype=np.float32), np.array([1]))
    assert found["log_loss"] == pytest.approx(-math.log(1e-7))


# --- tables


@pytest.mark.parametrize("task", [BINARY, MULTI, LABELS], ids=lambda task: task.kind)
def test_rows_of_classes_are_scikit_learns_report(task: Task) -> None:
    p, y = drawn(task, 3, 60)
    decided, truth = (p >= 0.5, y.astype(bool)) if task is LABELS else (p.argmax(1), y)
    report = sk.classification_report(truth, decided, target_names=task.classes, output_dict=True, zero_division=0)
    for row in per_class(task, p, y):
        expected = report[row.name]
        assert (row.precision, row.recall, row.f1, row.support) == pytest.approx(
            (expected["precision"], expected["recall"], expected["f1-score"], expected["support"])
        )


def test_a_class_without_rows_still_has_its_row() -> None:
    found = per_class(MULTI, np.eye(4, dtype=np.float32)[[0, 1]], np.array([0, 1]))
    assert [(row.name, row.support) for row in found] == [("a", 1), ("b", 1), ("c", 0), ("d", 0)]


def test_the_confusion_counts_true_classes_by_predicted_ones() -> None:
    p, y = drawn(MULTI, 1, 50)
    counts = confusion(MULTI, p, y)
    assert counts is not None
    assert counts.tolist() == sk.confusion_matrix(y, p.argmax(1), labels=range(4)).tolist()
    assert confusion(LABELS, *drawn(LABELS, 1, 5)) is None
    assert per_class(NUMBER, *drawn(NUMBER, 1, 5)) == ()


def test_losses_and_errors_are_better_when_smaller() -> None:
    assert [greater_is_better(name) for name in ("accuracy", "r2", "log_loss", "rmse", "mae", "ece")] == [
        True, True, False, False, False, False]  # fmt: skip


# --- intervals


def test_the_interval_of_accuracy_is_that_of_the_binomial() -> None:
    right = np.arange(400) < 320  # 0.80 of 400: the standard error is 0.02
    p = np.where(right[:, None], [[0.9, 0.1]], [[0.1, 0.9]]).astype(np.float32)
    low, high = bootstrap(BINARY, p, np.zeros(400, dtype=int), "accuracy")
    assert (low, high) == pytest.approx((0.80 - 1.96 * 0.02, 0.80 + 1.96 * 0.02), abs=0.006)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng, covered = np.random.default_rng(0), 0
    for trial in range(200):
        right = rng.random(150) < 0.8
        p = np.where(right[:, None], [[0.9, 0.1]], [[0.1, 0.9]]).astype(np.float32)
        low, high = bootstrap(BINARY, p, np.zeros(150, dtype=int), "accuracy", draws=200, seed=trial)
        covered += low <= 0.8 <= high
    # 95%, within three standard errors of a proportion over 200 trials, and a little for the coarseness of 150 rows.
    assert 0.89 <= covered / 200 <= 0.99


def test_the_interval_of_r2_covers_its_value_and_follows_the_seed() -> None:
    p, y = drawn(NUMBER, 0, 300)
    value = measure(NUMBER, p, y)["r2"]
    low, high = bootstrap(NUMBER, p, y, "r2", seed=1)
    assert value is not None
    assert low < value < high
    assert bootstrap(NUMBER, p, y, "r2", seed=1) == (low, high)
    assert bootstrap(NUMBER, p, y, "r2", seed=2) != (low, high)


@pytest.mark.parametrize(
    ("task", "metric"),
    [(task, metric) for task in (BINARY, MULTI) for metric in ("accuracy", "macro_f1", "log_loss")]
    + [(LABELS, "micro_f1"), (LABELS, "macro_f1"), (NUMBERS, "r2")],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_the_ends_of_an_interval_are_those_of_the_metric_measured_draw_by_draw(task: Task, metric: str) -> None:
    p, y = drawn(task, 3, 9)  # so few that some draws miss a class
    rng = np.random.default_rng(5)
    draws = [rng.integers(0, 9, 9) for _ in range(60)]
    values = [value for rows in draws if (value := measure_one(task, metric, p[rows], y[rows])) is not None]
    low, high = bootstrap(task, p, y, metric, draws=60, seed=5) or (0.0, 0.0)
    assert (low, high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12)


def test_more_rows_make_a_narrower_interval() -> None:
    widths = [np.ptp(bootstrap(MULTI, *drawn(MULTI, 0, count), "macro_f1")) for count in (50, 200, 800)]
    assert widths[0] > 1.5 * widths[1] > 2 * widths[2]


def test_where_no_row_is_wrong_accuracy_has_the_exact_interval_and_the_others_none() -> None:
    p, y = np.tile([[0.9, 0.1], [0.2, 0.8]], (50, 1)).astype(np.float32), np.tile([0, 1], 50)
    found = intervals(BINARY, p, y)
    assert set(found) == {"accuracy"}
    low, high = found["accuracy"]
    assert low == pytest.approx(0.025 ** (1 / 100))  # all of 100 right: Clopper and Pearson in closed form
    assert high == 1.0
    assert intervals(BINARY, 1 - p, y)["accuracy"] == pytest.approx((0.0, 1 - low))


def test_where_no_resample_can_tell_there_is_no_interval() -> None:
    y = np.full((5, 1), 0.1, dtype=np.float32)
    assert bootstrap(NUMBER, y, y, "r2") is None
    assert intervals(NUMBER, y, y) == {}
    assert bootstrap(NUMBER, y[:0], y[:0], "r2") is None


@pytest.mark.parametrize("task", [BINARY, MULTI, LABELS, NUMBER], ids=lambda task: task.kind)
def test_the_metrics_of_a_short_report_are_measured_and_have_intervals(task: Task) -> None:
    p, y = drawn(task, 0, 80)
    measured = measure(task, p, y)
    assert list(intervals(task, p, y)) == list(shown(task)) == [name for name in shown(task) if name in measured]
