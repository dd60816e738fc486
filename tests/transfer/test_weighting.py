"""Class weights and the focal loss, against torch, torchvision and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight
from torchvision.ops import sigmoid_focal_loss

from zoo import Task, UnknownNameError, UsageError
from zoo.data.tags import IGNORED, Tags
from zoo.data.types import TaskKind
from zoo.transfer.probe import predict, solve
from zoo.transfer.tasks import loss_for
from zoo.transfer.weighting import MOST, class_counts, class_weights, described

BINARY = Task("binary", ("no", "yes"))
MULTI = Task("multiclass", ("a", "b", "c"))
LABELS = Task("multilabel", ("x", "y", "z"))
WORDS = Task("tokens", ("O", "N"))
ROWS = np.array([0] * 6 + [1] * 3 + [2])


@pytest.fixture
def outputs() -> torch.Tensor:
    return torch.randn(10, 3, generator=torch.Generator().manual_seed(0)) * 3


# --- the weights


def test_balanced_is_scikit_learns() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=ROWS)
    np.testing.assert_allclose(class_weights("balanced", MULTI, ROWS), expected)


def test_a_class_without_rows_counts_nothing_among_the_others() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(2), y=ROWS[:9])
    np.testing.assert_allclose(class_weights("balanced", MULTI, ROWS[:9])[:2], expected)


@pytest.mark.parametrize("text", ["1,2,4", " 10, 20 ,40", "b=2,c=4", "c=4, a=1, b=2"])
def test_only_ratios_count_and_the_mean_over_rows_is_one(text: str) -> None:
    weights = class_weights(text, MULTI, ROWS)
    np.testing.assert_allclose(weights / weights[0], [1, 2, 4])
    assert weights[ROWS].mean() == pytest.approx(1)


def test_a_rare_label_counts_as_much_as_its_absence_up_to_a_limit() -> None:
    targets = np.zeros((100, 3), np.float32)
    targets[:50, 0] = targets[:20, 1] = targets[:1, 2] = 1
    np.testing.assert_allclose(class_weights("balanced", LABELS, targets), [1, 4, MOST])


def test_words_that_are_not_labelled_are_not_counted() -> None:
    rows = [Tags(np.array([0, IGNORED])), Tags(np.array([0, 1]))]
    counts, total = class_counts(WORDS, rows)
    assert (counts.tolist(), total) == ([2, 1], 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2", r"has 2 weights, and there are 3 classes: a, b, c"),
        ("", r"has 1 weights"),
        ("1,2,x", r"'x' is no weight(.|\n)*use balanced"),
        ("1,2,-1", r"'-1' is no weight"),
        ("1,nan,1", r"'nan' is no weight"),
        ("0,0,0", r"leave no training row that counts"),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        class_weights(text, MULTI, ROWS)


def test_a_name_that_is_no_class_is_refused_with_those_that_are() -> None:
    with pytest.raises(UnknownNameError, match=r"No class is named 'd'(.|\n)*the classes are a, b, c"):
        class_weights("a=2,d=3", MULTI, ROWS)


@pytest.mark.parametrize("kind", ["regression", "detection"])
def test_tasks_without_classes_of_rows_take_none(kind: TaskKind) -> None:
    with pytest.raises(UsageError, match=f"this is {kind}"):
        class_weights("balanced", Task(kind, (), ("x",)), np.zeros((3, 1)))


def test_few_weights_are_all_said_and_many_by_their_ends() -> None:
    assert described(np.array([0.5, 2]), ("a", "b")) == "class weights a 0.5, b 2"
    many = tuple("abcdefgh")
    assert described(np.arange(1.0, 9), many) == "class weights from 1 (a) to 8 (h)"


# --- the losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_cross_entropy_is_torchs_up_to_its_divisor(outputs: torch.Tensor, smoothing: float) -> None:
    weights, targets = class_weights("balanced", MULTI, ROWS), torch.from_numpy(ROWS)
    theirs = F.cross_entropy(outputs, targets, torch.tensor(weights).float(), label_smoothing=smoothing)
    # torch divides by the weights of the rows, which over all rows are as many as the rows.
    torch.testing.assert_close(loss_for(MULTI, None, smoothing, weights)(outputs, targets), theirs)


def test_weighted_binary_cross_entropy_is_that_of_two_outputs(outputs: torch.Tensor) -> None:
    rows = (ROWS > 0).astype(np.int64)
    weights, targets = class_weights("no=1,yes=3", BINARY, rows), torch.from_numpy(rows)
    two = torch.cat([torch.zeros(10, 1), outputs[:, :1]], dim=1)
    expected = loss_for(MULTI, class_weights=weights)(two, targets)
    torch.testing.assert_close(loss_for(BINARY, class_weights=weights)(outputs[:, :1], targets), expected)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 20, 3)], ids=["pixels", "words"])
def test_weights_of_pixels_and_words_are_torchs_up_to_the_divisor(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    kind: TaskKind = "segmentation" if len(shape) == 4 else "tokens"
    outputs = torch.randn(shape, generator=generator)
    targets = torch.randint(3, (2, *shape[2:]) if len(shape) == 4 else shape[:2], generator=generator)
    logits = outputs if len(shape) == 4 else outputs.transpose(1, 2)
    weights = class_weights("1,2,4", MULTI, targets.numpy().ravel())
    targets[0, 0] = 255 if kind == "segmentation" else IGNORED  # unlabelled
    known = (targets >= 0) & (targets < 3)
    theirs = F.cross_entropy(logits, torch.where(known, targets, -100), torch.tensor(weights).float(), reduction="sum")
    ours = loss_for(Task(kind, ("a", "b", "c")), class_weights=weights)(outputs, targets)
    torch.testing.assert_close(ours, theirs / known.sum())


def test_weighted_labels_are_torchs_pos_weight(outputs: torch.Tensor) -> None:
    targets = (outputs.roll(1, 0) > 0).float()
    weights = class_weights("1,2,5", LABELS, targets.numpy())
    expected = F.binary_cross_entropy_with_logits(outputs, targets, pos_weight=torch.tensor([1.0, 2, 5]))
    torch.testing.assert_close(loss_for(LABELS, class_weights=weights)(outputs, targets), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", ["cross-entropy", "focal"])
@pytest.mark.parametrize("text", [None, "balanced"])
def test_certain_probabilities_cost_what_class_numbers_do(
    outputs: torch.Tensor, name: str, smoothing: float, text: str | None
) -> None:
    weights = class_weights(text, MULTI, ROWS) if text else None
    loss, targets = loss_for(MULTI, name, smoothing, weights), torch.from_numpy(ROWS)
    torch.testing.assert_close(loss(outputs, F.one_hot(targets, 3).float()), loss(outputs, targets))


def test_a_mixed_row_costs_the_mix_of_both(outputs: torch.Tensor) -> None:
    one, two = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0, 0, 1.0]])
    for task, columns in ((MULTI, 3), (LABELS, 3), (BINARY, 1)):
        loss, row = loss_for(task), outputs[:1, :columns]
        a, b = one[:, -columns:], two[:, -columns:]
        torch.testing.assert_close(loss(row, 0.3 * a + 0.7 * b), 0.3 * loss(row, a) + 0.7 * loss(row, b))


def test_the_focal_loss_is_torchvisions_where_it_has_one(outputs: torch.Tensor) -> None:
    targets = (outputs.roll(1, 0) > 0).float()
    expected = sigmoid_focal_loss(outputs, targets, alpha=-1, gamma=2, reduction="mean")
    torch.testing.assert_close(loss_for(LABELS, "focal")(outputs, targets), expected)
    torch.testing.assert_close(
        loss_for(BINARY, "focal")(outputs[:, :1], targets[:, 0].long()),
        loss_for(MULTI, "focal")(torch.cat([torch.zeros(10, 1), outputs[:, :1]], 1), targets[:, 0].long()),
    )


def test_the_focal_loss_forgets_rows_that_are_right() -> None:
    right, wrong = torch.tensor([[4.0, 0, 0]]), torch.tensor([[0.0, 4, 0]])
    target = torch.tensor([0])
    plain, focal = loss_for(MULTI), loss_for(MULTI, "focal")
    assert focal(right, target) < 0.01 * plain(right, target)
    assert focal(wrong, target) > 0.9 * plain(wrong, target)


# --- the solved probe


def skewed(count: int = 400) -> tuple[Any, Any]:
    """Two clouds that overlap, one ten times rarer."""
    rng = np.random.default_rng(0)
    targets = (np.arange(count) % 11 == 0).astype(np.int64)
    return (rng.normal(size=(count, 3)) + targets[:, None]).astype(np.float32), targets


def test_a_balanced_probe_is_scikit_learns() -> None:
    x, y = skewed()
    weights = class_weights("balanced", BINARY, y)
    found = predict(solve(x, y, BINARY, grid=(0.1,), class_weights=weights), BINARY, x)
    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    theirs = LogisticRegression(C=0.1, class_weight="balanced", tol=1e-8).fit(scaled, y).predict_proba(scaled)
    np.testing.assert_allclose(found, theirs, atol=2e-3)  # both stop at a gradient, not at the same point


def test_balanced_labels_are_scikit_learns_label_by_label() -> None:
    x, y = skewed()
    targets = np.stack([y, 1 - y, y], axis=1).astype(np.float32)
    weights = class_weights("1,1,4", LABELS, targets)
    found = predict(solve(x, targets, LABELS, grid=(0.1,), class_weights=weights), LABELS, x)
    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    for k, weight in enumerate((1, 1, 4)):
        model = LogisticRegression(C=0.1, class_weight={0: 1, 1: weight}, tol=1e-8).fit(scaled, targets[:, k])
        np.testing.assert_allclose(found[:, k], model.predict_proba(scaled)[:, 1], atol=2e-3)


def test_a_balanced_probe_finds_more_of_the_rare_class() -> None:
    x, y = skewed()
    plain = predict(solve(x, y, BINARY), BINARY, x).argmax(1)
    weights = class_weights("balanced", BINARY, y)
    balanced = predict(solve(x, y, BINARY, class_weights=weights), BINARY, x).argmax(1)
    assert balanced[y == 1].mean() > plain[y == 1].mean() + 0.2
