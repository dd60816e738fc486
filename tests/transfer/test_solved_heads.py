"""k nearest rows and class means against scikit-learn, and as heads of a run."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid, NearestNeighbors

import zoo
from zoo import DataError, Features, Task, UsageError
from zoo.models.solved_heads import KnnHead, PrototypeHead
from zoo.transfer.metrics import measure
from zoo.transfer.neighbours import KS, TEMPERATURES
from zoo.transfer.neighbours import solve as solve_knn
from zoo.transfer.solvers import decide, put_into, solve_head, solved_head
from zoo.verbs.config import Output

DIGITS = Task("multiclass", tuple("0123456789"))
PARITY = Task("binary", ("even", "odd"))
LABELS = Task("multilabel", ("odd", "round", "great"))
NUMBERS = Task("regression", (), ("value", "double"))


def digits(task: Task = DIGITS, rows: int = 200, new: int = 300) -> tuple[NDArray[np.float32], Any, Any, Any]:
    x, y = load_digits(return_X_y=True)
    columns = {
        "multiclass": y,
        "binary": y % 2,
        "multilabel": np.stack([y % 2, np.isin(y, [0, 6, 8, 9]), y > 6], 1).astype(np.float32),
        "regression": np.stack([y, 2 * y], 1).astype(np.float32),
    }
    t = columns[task.kind]
    return x[:rows].astype(np.float32), t[:rows], x[rows : rows + new].astype(np.float32), t[rows : rows + new]


def asked(task: Task, k: int, temperature: float) -> tuple[NDArray[np.float32], Any, NDArray[np.float32], Any]:
    """What a k-NN head with this k and temperature answers, with the rows that it keeps."""
    x, t, new, _ = digits(task)
    found = solve_head("knn", x, t, task)
    state = {**found.state, "k": np.array(k), "temperature": np.array(temperature, dtype=np.float32)}
    state |= {"centre": np.zeros(64, np.float32), "spread": np.ones(64, np.float32)}
    state["bank"] = x / np.linalg.norm(x, axis=1, keepdims=True)
    return x, t, new, decide(put_into(KnnHead(64, task.num_outputs), zoo.Solution(state, {}, "")), task, new)


def weighed(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-distance / 0.07)


# --- the k nearest rows


@pytest.mark.parametrize(("k", "temperature"), [(1, math.inf), (5, math.inf), (20, 0.07)])
@pytest.mark.parametrize("task", [DIGITS, PARITY], ids=lambda task: task.kind)
def test_knn_is_that_of_scikit_learn_with_one_vote_for_the_shares_of_the_classes(
    task: Task, k: int, temperature: float
) -> None:
    x, t, new, found = asked(task, k, temperature)
    weights: Any = "uniform" if math.isinf(temperature) else weighed
    theirs = KNeighborsClassifier(k, metric="cosine", weights=weights).fit(x, t).predict_proba(new)
    shares = (np.bincount(t) + 1) / (len(t) + len(task.classes))
    np.testing.assert_allclose(found, (k * theirs + shares) / (k + 1), atol=1e-4)


def test_knn_of_labels_is_that_of_scikit_learn_for_each() -> None:
    x, t, new, found = asked(LABELS, 5, math.inf)
    shares = (t.sum(0) + 1) / (len(t) + 2)
    for label in range(3):
        theirs = KNeighborsClassifier(5, metric="cosine").fit(x, t[:, label]).predict_proba(new)[:, 1]
        np.testing.assert_allclose(found[:, label], (5 * theirs + shares[label]) / 6, atol=1e-4)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_knn_of_numbers_is_that_of_scikit_learn(temperature: float) -> None:
    x, t, new, found = asked(NUMBERS, 5, temperature)
    weights: Any = "uniform" if math.isinf(temperature) else weighed
    theirs = KNeighborsRegressor(5, metric="cosine", weights=weights).fit(x, t).predict(new)
    np.testing.assert_allclose(found, theirs, atol=1e-3)


def test_k_is_the_one_that_leaving_each_row_out_says_is_best() -> None:
    x, t, _, _ = digits()
    found = solve_head("knn", x, t, DIGITS).chosen
    shares = (np.bincount(t) + 1) / (len(t) + 10)
    scores = {}
    for standardised in (False, True):
        scaled = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1) if standardised else x
        search = NearestNeighbors(metric="cosine").fit(scaled)
        for k in [k for k in KS if k < len(x)]:
            distance, rows = search.kneighbors(None, k)  # without a row itself
            for temperature in TEMPERATURES if k > 1 else TEMPERATURES[:1]:
                weights = np.exp(-distance / temperature)
                votes = (weights[:, :, None] * np.eye(10)[t[rows]]).sum(1) / weights.sum(1, keepdims=True)
                answer = (k * votes + shares) / (k + 1)
                right = round(float((answer.argmax(1) == t).mean()), 9)
                scores[right, float(np.log(answer[np.arange(len(t)), t]).mean())] = (k, temperature, standardised)
    k, temperature, standardised = scores[max(scores)]
    assert (found["k"], found.get("temperature", math.inf), found["standardised"]) == (k, temperature, standardised)


def test_more_rows_are_kept_than_a_fresh_head_has_room_for_and_their_width_is_checked() -> None:
    x, t, _, _ = digits()
    head = solved_head("knn", solve_head("knn", x, t, DIGITS), DIGITS, 64)
    assert isinstance(head, KnnHead)
    assert head.bank.shape == (200, 64)
    assert sum(p.numel() for p in head.parameters()) == 0
    with pytest.raises(RuntimeError, match="size mismatch for bank"):
        KnnHead(32, 10).load_state_dict(head.state_dict())


def test_a_head_that_is_not_solved_yet_answers_zero() -> None:
    assert KnnHead(4, 3)(Features(torch.ones(2, 4), torch.ones(2, 1, 4))).tolist() == [[0.0] * 3] * 2


def test_many_rows_are_judged_by_some_of_them_always_the_same() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2600, 6)).astype(np.float32)
    t = (x[:, 0] > 0).astype(np.int64)
    one, two = (solve_knn(x, t, PARITY, seed=3) for _ in range(2))
    assert one.chosen == two.chosen
    assert one.chosen["k"] > 1
    assert "the head keeps 2,600 rows, 0.1 MB" in one.said


# --- class means


def length_one(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("task", [DIGITS, PARITY], ids=lambda task: task.kind)
def test_prototypes_are_scikit_learns_nearest_centroid_on_features_of_length_one(task: Task) -> None:
    x, t, new, _ = digits(task)
    found = solve_head("prototypes", x, t, task)
    centre, spread = found.state["centre"], found.state["spread"]
    scaled, others = length_one((x - centre) / spread), length_one((new - centre) / spread)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pixels at the border are the same in every picture
        theirs = NearestCentroid().fit(scaled, t).predict(others)
    ours = decide(solved_head("prototypes", found, task, 64), task, new).argmax(1)
    assert (ours == theirs).mean() > 0.995  # float32 may decide a tie otherwise
    distance = ((others[:, None] - np.stack([scaled[t == k].mean(0) for k in np.unique(t)])) ** 2).sum(2)
    logits = -found.chosen["scale"] * distance / 2  # Snell et al. 2017
    softmax = np.exp(logits - logits.max(1, keepdims=True))
    wanted = softmax / softmax.sum(1, keepdims=True)
    np.testing.assert_allclose(decide(solved_head("prototypes", found, task, 64), task, new), wanted, atol=1e-3)


def test_the_scale_of_prototypes_is_the_best_for_rows_that_were_left_out() -> None:
    x, t, _, _ = digits()
    found = solve_head("prototypes", x, t, DIGITS)
    scaled = length_one((x - found.state["centre"]) / found.state["spread"]).astype(np.float64)
    scores = []
    for row in range(len(x)):
        kept = np.arange(len(x)) != row
        means = np.stack([scaled[kept & (t == k)].mean(0) for k in range(10)])
        scores.append(-((scaled[row] - means) ** 2).sum(1) / 2)

    def loss(scale: float) -> float:
        logits = scale * np.array(scores)
        return float((np.log(np.exp(logits).sum(1)) - logits[np.arange(len(t)), t]).mean())

    best = found.chosen["scale"]
    assert loss(best) < min(loss(best * 0.9), loss(best * 1.1))


def test_prototypes_of_labels_find_labels() -> None:
    x, t, new, answers = digits(LABELS)
    found = decide(solved_head("prototypes", solve_head("prototypes", x, t, LABELS), LABELS, 64), LABELS, new)
    metrics = measure(LABELS, found, answers)
    assert metrics["map"] is not None
    assert metrics["map"] > 0.8
    np.testing.assert_allclose(found.mean(0), answers.mean(0), atol=0.1)  # as often as they are there


@pytest.mark.parametrize("head", ["knn", "prototypes"])
def test_a_class_without_rows_is_never_the_answer(head: str) -> None:
    x, t, new, _ = digits()
    kept = t != 3
    found = decide(solved_head(head, solve_head(head, x[kept], t[kept], DIGITS), DIGITS, 64), DIGITS, new)
    assert 3 not in found.argmax(1)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("head", ["linear", "knn", "prototypes"])
def test_one_row_a_class_is_enough(head: str) -> None:
    x, t, new, answers = digits()
    first = [int(np.flatnonzero(t == k)[0]) for k in range(10)]
    found = decide(solved_head(head, solve_head(head, x[first], t[first], DIGITS), DIGITS, 64), DIGITS, new)
    assert (found.argmax(1) == answers).mean() > 0.5


@pytest.mark.parametrize("head", ["knn", "prototypes"])
def test_a_wide_part_of_the_features_does_not_drown_a_small_one(head: str) -> None:
    x, t, new, answers = digits(rows=400)
    noise = 1000 * np.random.default_rng(0).normal(size=(700, 20)).astype(np.float32)
    both, later = np.hstack([x, noise[:400]]), np.hstack([new, noise[400:]])
    found = solve_head(head, both, t, DIGITS)
    assert found.chosen["standardised"]
    assert (decide(solved_head(head, found, DIGITS, 84), DIGITS, later).argmax(1) == answers).mean() > 0.75


# --- what is refused


def test_heads_that_do_not_fit_are_refused() -> None:
    x, t, _, _ = digits(NUMBERS)
    with pytest.raises(UsageError, match="the head prototypes is not for a task of regression"):
        solve_head("prototypes", x, t, NUMBERS)
    with pytest.raises(UsageError, match="the head mlp cannot be solved"):
        solve_head("mlp", x, t, NUMBERS)
    with pytest.raises(UsageError, match="--class-weights are weights in a loss, and the head knn has none"):
        solve_head("knn", x, digits()[1], DIGITS, class_weights=np.ones(10))
    x[7, 3] = np.nan
    with pytest.raises(DataError, match="1 rows have features that are not finite, the first is row 7"):
        solve_head("knn", x, t, NUMBERS)


# --- as heads of a run


@pytest.mark.parametrize("head", ["knn", "prototypes"])
def test_a_run_with_a_solved_head_is_saved_and_predicts_the_same(head: str, tmp_path: Path) -> None:
    out = Output(dir=str(tmp_path), name=head)
    read = zoo.ReadOptions(limit=400)
    notes: list[str] = []
    run = zoo.finetune(
        "starter/glyph-cnn", "sklearn:digits", head=head, strategy="linear-probe", read=read, out=out,
        baseline="none", watch=lambda event: notes.append(event.note or ""),
    )  # fmt: skip
    assert run.metrics["accuracy"] is not None
    assert run.metrics["accuracy"] > 0.9
    assert any(note.startswith(f"head {head} solved in") for note in notes)
    assert zoo.evaluate(run.path).metrics == pytest.approx(run.metrics, abs=1e-4)
    held = zoo.read_dataset("sklearn:digits", read).splits["val"].select(range(8))
    loaded = run.load()
    assert isinstance(loaded.head, KnnHead if head == "knn" else PrototypeHead)
    np.testing.assert_allclose(loaded.predict(held), run.load().predict(held, batch_size=1), atol=1e-5)
    assert f"The head {head}, solved on frozen features." in (run.path / "model" / "README.md").read_text()


def test_prototypes_can_be_trained_on(tmp_path: Path) -> None:
    run = zoo.finetune(
        "starter/glyph-cnn", "sklearn:digits", strategy="lp-ft", head="prototypes", epochs=1, baseline="none",
        read=zoo.ReadOptions(limit=100), out=Output(dir=str(tmp_path)),
    )  # fmt: skip
    assert run.metrics["accuracy"] is not None
    assert run.metrics["accuracy"] > 0.7


def test_a_head_that_no_step_trains_is_solved_by_itself_and_refused_where_steps_are_asked_for(tmp_path: Path) -> None:
    read, out = zoo.ReadOptions(limit=100), Output(dir=str(tmp_path))
    run = zoo.finetune("starter/glyph-cnn", "sklearn:digits", head="knn", read=read, out=out, baseline="none")
    assert run.strategy == "linear-probe"
    assert "strategy linear-probe: the head knn is solved, no step trains it" in run.plan.notes
    with pytest.raises(UsageError, match="the head knn is solved, and --strategy full trains by steps"):
        zoo.finetune("starter/glyph-cnn", "sklearn:digits", head="knn", strategy="full", read=read, out=out)
