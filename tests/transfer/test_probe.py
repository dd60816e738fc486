"""The solved linear probe against scikit-learn, and the strength that it chooses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

import zoo
from zoo import DataError, Dataset, Examples, ImageRef, Task
from zoo.transfer.metrics import measure
from zoo.transfer.probe import C_GRID, LONGEST, predict, solve
from zoo.verbs.config import Output

BINARY = Task("binary", ("no", "yes"))
MULTI = Task("multiclass", ("a", "b", "c"))
LABELS = Task("multilabel", ("a", "b", "c", "d"))
NUMBERS = Task("regression", (), ("x", "y"))
SOLVED = 2e-3
"""Of a probability: scikit-learn and zoo stop their solvers at a gradient of 1e-4, not at the same point."""

FEW = (0.01, 0.1, 1.0)
"""Enough strengths where the choice is not what is tested."""


def problem(
    task: Task, count: int = 150, dim: int = 8, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features of uneven scale and offset, with noisy linear targets."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, dim))
    truth = x @ rng.normal(size=(dim, max(len(task.classes), 2))) + rng.normal(size=(count, max(len(task.classes), 2)))
    x = (x * np.logspace(-2, 2, dim) + np.linspace(-50, 50, dim)).astype(np.float32)
    if task.kind == "regression":
        return x, truth.astype(np.float32)
    if task.kind == "multilabel":
        return x, (truth > 1).astype(np.float32)
    return x, truth.argmax(1)


def sklearns(x: NDArray[np.float32], y: NDArray[np.float32], c: float) -> NDArray[np.float32]:
    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    return LogisticRegression(C=c, max_iter=5000, tol=1e-8).fit(scaled, y).predict_proba(scaled)


@pytest.mark.parametrize("task", [BINARY, MULTI], ids=lambda task: task.kind)
@pytest.mark.parametrize("c", [0.01, 1.0, 30.0])
def test_the_probe_is_logistic_regression_on_standardised_features(task: Task, c: float) -> None:
    x, y = problem(task)
    found = predict(solve(x, y, task, grid=(c,)), task, x)
    np.testing.assert_allclose(found, sklearns(x, y, c), atol=SOLVED)


@pytest.mark.parametrize("c", [0.01, 1.0])
def test_the_probe_of_labels_is_one_logistic_regression_for_each(c: float) -> None:
    x, y = problem(LABELS)
    found = predict(solve(x, y, LABELS, grid=(c,)), LABELS, x)
    expected = np.column_stack([sklearns(x, y[:, k], c)[:, 1] for k in range(4)])
    np.testing.assert_allclose(found, expected, atol=SOLVED)


@pytest.mark.parametrize("c", [0.01, 1.0])
@pytest.mark.parametrize("dim", [8, 400])
def test_the_probe_of_numbers_is_ridge_regression(c: float, dim: int) -> None:
    x, y = problem(NUMBERS, dim=dim)
    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    expected = Ridge(alpha=len(x) / (100 * c)).fit(scaled, y).predict(scaled)
    # The layer takes features as they are, so an offset of 5,000 deviations costs float32 some of its digits.
    found = predict(solve(x, y, NUMBERS, grid=(c,)), NUMBERS, x)
    np.testing.assert_allclose(found, expected, atol=1e-3 * expected.std())


@pytest.mark.parametrize("task", [BINARY, MULTI, LABELS, NUMBERS], ids=lambda task: task.kind)
def test_penalties_weaker_than_the_best_by_far_are_not_tried(task: Task) -> None:
    x, y = problem(task, count=60, dim=40)
    tried = [c for c, _ in solve(x, y, task).scores]
    best = solve(x, y, task).C
    assert tried == list(C_GRID[: len(tried)])
    assert tried.index(best) == len(tried) - 3  # two weaker ones were no better
    scores = dict(solve(x, y, task, grid=C_GRID).scores) | {
        c: dict(solve(x, y, task, grid=(best, c)).scores)[c] for c in C_GRID[len(tried) :]
    }
    assert max(scores.values()) <= scores[best] + 1e-3 * abs(scores[best])  # nor would any beyond have been


def test_strength_and_length_are_those_of_scikit_learns_models_on_the_rows_that_they_did_not_see() -> None:
    x, y = problem(MULTI, count=120, dim=60)
    found = solve(x, y, MULTI, seed=4)
    lengths = np.logspace(-1.5, 1.5, 301)
    expected = {}
    for c in C_GRID[:6]:
        losses = np.zeros((len(lengths), len(x)))
        for kept, held in StratifiedKFold(5, shuffle=True, random_state=4).split(x, y):
            scaler = StandardScaler().fit(x[kept])
            model = LogisticRegression(C=c, max_iter=1000).fit(scaler.transform(x[kept]), y[kept])
            for row, length in enumerate(lengths):
                told = log_softmax(length * scaler.transform(x[held]) @ model.coef_.T + model.intercept_, axis=1)
                losses[row, held] = -told[np.arange(len(held)), y[held]]
        best = int(losses.mean(1).argmin())
        expected[c] = -losses[best].mean(), lengths[best]
    assert max(expected, key=lambda c: expected[c][0]) == found.C
    assert found.length == pytest.approx(expected[found.C][1], rel=0.1)
    for c, score in found.scores[:6]:
        assert score == pytest.approx(expected[c][0], abs=2e-3)


def test_a_penalty_that_ranks_classes_well_is_not_passed_over_for_its_short_weights() -> None:
    # Many weak hints: the best weights by far are all alike, and small.
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3_000)
    x = (rng.normal(size=(3_000, 400)) + 0.1 * (2 * y[:, None] - 1)).astype(np.float32)
    train, test = slice(0, 200), slice(200, None)
    found = solve(x[train], y[train], BINARY)
    said = predict(found, BINARY, x[test])
    plain = [predict(solve(x[train], y[train], BINARY, grid=(c,)), BINARY, x[test]) for c in C_GRID]
    losses = [measure(BINARY, each, y[test])["log_loss"] for each in plain]
    loss = measure(BINARY, said, y[test])["log_loss"]
    assert loss is not None
    assert loss < min(each for each in losses if each is not None) + 0.01
    assert found.length > 2
    assert C_GRID.index(found.C) < 3


def test_columns_that_hardly_ever_vary_do_not_decide_how_sure_the_others_may_be() -> None:
    # In a fold whose rows are all alike there, a held-out row that is not lies hundreds of deviations off.
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1_400)
    hints = rng.normal(size=(1_400, 20)) + 0.5 * (2 * y[:, None] - 1) * (np.arange(20) < 8)
    rare = rng.normal(size=(1_400, 200)) * 0.01 + 5 * (rng.random((1_400, 200)) < 0.003)
    x = np.hstack([hints, rare]).astype(np.float32)
    found = predict(solve(x[:200], y[:200], BINARY), BINARY, x[200:])
    accuracy = measure(BINARY, found, y[200:])["accuracy"]
    assert accuracy is not None
    assert accuracy > 0.7


def test_rows_that_are_all_told_right_leave_some_doubt() -> None:
    y = np.arange(40) % 2
    found = solve((2 * y[:, None] - 1).astype(np.float32), y, BINARY)
    # Without end, were it for the log-loss alone.
    assert 0.98 < predict(found, BINARY, np.ones((1, 1), np.float32))[0, 1] < 0.999
    assert found.length < LONGEST


@pytest.mark.parametrize("task", [BINARY, MULTI, LABELS], ids=lambda task: task.kind)
def test_a_known_strength_and_length_make_the_same_layer(task: Task) -> None:
    x, y = problem(task)
    found = solve(x, y, task)
    again = solve(x, y, task, grid=(found.C,), length=found.length)
    np.testing.assert_allclose(predict(again, task, x), predict(found, task, x), atol=SOLVED)


def test_real_digits_are_told_as_well_as_with_the_best_strength_of_all() -> None:
    x, y = load_digits(return_X_y=True)
    task = Task("multiclass", tuple("0123456789"))
    train, test = slice(0, 300), slice(300, 1300)
    found = solve(x[train].astype(np.float32), y[train], task)
    accuracy = measure(task, predict(found, task, x[test].astype(np.float32)), y[test])["accuracy"]
    scaler = StandardScaler().fit(x[train])
    best = max(
        LogisticRegression(C=c, max_iter=3000).fit(scaler.transform(x[train]), y[train]).score(
            scaler.transform(x[test]), y[test]
        )
        for c in (0.01, 0.1)
    )  # fmt: skip
    assert accuracy is not None
    assert accuracy >= best - 0.015
    assert not found.at_edge


@pytest.mark.parametrize("task", [BINARY, MULTI, LABELS, NUMBERS], ids=lambda task: task.kind)
def test_scale_and_offset_of_the_features_do_not_matter(task: Task) -> None:
    x, y = problem(task)
    plain = predict(solve(x, y, task, grid=FEW), task, x)
    moved = x * 1000 + 7
    np.testing.assert_allclose(predict(solve(moved, y, task, grid=FEW), task, moved), plain, atol=2e-2)


@pytest.mark.parametrize("task", [BINARY, MULTI, LABELS, NUMBERS], ids=lambda task: task.kind)
def test_a_dead_feature_gets_no_weight_and_does_no_harm(task: Task) -> None:
    x, y = problem(task)
    x[:, 3] = 0.1
    found = solve(x, y, task, grid=FEW)
    assert np.isfinite(found.weight).all()
    assert np.abs(found.weight[:, 3]).max() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("task", [BINARY, MULTI, LABELS, NUMBERS], ids=lambda task: task.kind)
def test_the_same_rows_give_the_same_layer(task: Task) -> None:
    x, y = problem(task)
    one, two = solve(x, y, task, seed=1, grid=FEW), solve(x, y, task, seed=1, grid=FEW)
    assert np.array_equal(one.weight, two.weight)
    assert np.array_equal(one.bias, two.bias)
    assert one.weight.shape == (task.num_outputs, x.shape[1])
    assert one.weight.dtype == np.float32


def test_a_class_without_training_rows_is_never_predicted() -> None:
    x, y = problem(MULTI)
    kept = y != 1
    found = predict(solve(x[kept], y[kept], MULTI, grid=FEW), MULTI, x)
    assert found[:, 1].max() < 1e-3
    assert set(found.argmax(1)) == {0, 2}
    np.testing.assert_allclose(found[:, [0, 2]], predicted_alone(x, y, kept), atol=2e-2)


def predicted_alone(x: NDArray[np.float32], y: NDArray[np.float32], kept: NDArray[np.bool_]) -> NDArray[np.float32]:
    two = (y[kept] == 2).astype(int)
    return predict(solve(x[kept], two, BINARY, grid=FEW), BINARY, x)


def test_one_row_a_class_is_solved_with_a_middling_strength() -> None:
    # Nothing can be held out of one row; the weakest model of all would answer 1/3 everywhere.
    x = np.eye(3, 8, dtype=np.float32)
    found = solve(x, np.array([0, 1, 2]), MULTI)
    assert 0.3 < found.C < 3
    assert predict(found, MULTI, x).max(1).min() > 0.5
    assert not found.at_edge


def test_few_rows_of_a_class_are_spread_over_the_folds() -> None:
    x, y = problem(MULTI)
    rare = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1), np.flatnonzero(y == 2)[:2]])
    found = solve(x[rare], y[rare], MULTI, grid=FEW)
    assert all(math.isfinite(score) for _, score in found.scores)


@pytest.mark.parametrize("task", [BINARY, LABELS, NUMBERS], ids=lambda task: task.kind)
def test_constant_targets_are_answered_with_their_constant(task: Task) -> None:
    x, y = problem(task)
    if task is BINARY:
        y = np.array([0, 1] * 75)
        x = np.full_like(x, 3.0)  # nothing to tell them by
        np.testing.assert_allclose(predict(solve(x, y, task), task, x), 0.5, atol=1e-3)
        return
    y = np.zeros_like(y) if task is LABELS else np.full_like(y, 0.3)
    found = predict(solve(x, y, task), task, x)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, y, atol=1e-2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused_with_their_row(bad: float) -> None:
    x, y = problem(MULTI)
    x[17, 2] = bad
    with pytest.raises(DataError, match="1 rows have features that are not finite, the first is row 17"):
        solve(x, y, MULTI)


# --- the edge of the grid


def test_a_strength_at_the_edge_of_what_was_tried_is_marked() -> None:
    x, y = problem(MULTI)
    inside = solve(x, y, MULTI)
    assert not inside.at_edge
    assert solve(x, y, MULTI, grid=(1e-4, 1e-3)).at_edge
    assert solve(x, y, MULTI, grid=(1e2, 1e3)).at_edge
    assert not solve(x, y, MULTI, grid=(1.0,)).at_edge  # nothing else was tried because nothing else was asked for


def test_a_strength_at_the_edge_is_said_to_the_user(tmp_path: Path) -> None:
    # Labels that have nothing to do with the pictures: the stronger the penalty, the better.
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(60) % 2).astype(np.int64)
    images = [ImageRef(f"{i}", array=rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for i in range(60)]
    ids = tuple(map(str, range(60)))
    examples = Examples({"image": images}, labels, ids, ids)
    splits = {"train": examples.select(range(40)), "test": examples.select(range(40, 60))}
    data = Dataset("noise", BINARY, splits, {"image": "image"}, fingerprint="noise")
    notes: list[str] = []
    zoo.finetune(
        "starter/pixels",
        data,
        strategy="linear-probe",
        out=Output(dir=str(tmp_path)),
        watch=lambda event: notes.append(event.note or ""),
    )
    assert [note for note in notes if "C = 0.0001, the last that was tried" in note]
