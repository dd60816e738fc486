"""Losses against torch's own, and what outputs of each task mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zoo import Task, UsageError
from zoo.transfer.tasks import LOSSES, TargetScale, loss_for, probabilities

BINARY = Task("binary", ("no", "yes"))
MULTI = Task("multiclass", ("a", "b", "c"))
LABELS = Task("multilabel", ("a", "b", "c"))
NUMBERS = Task("regression", (), ("x", "y"))


@pytest.fixture
def outputs() -> torch.Tensor:
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(outputs: torch.Tensor, smoothing: float) -> None:
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    expected = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(outputs, targets)
    assert torch.equal(loss_for(MULTI, label_smoothing=smoothing)(outputs, targets), expected)


def test_smoothed_cross_entropy_is_that_of_smoothed_targets(outputs: torch.Tensor) -> None:
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    spread = F.one_hot(targets, 3) * 0.9 + 0.1 / 3
    expected = -(spread * outputs.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss_for(MULTI, label_smoothing=0.1)(outputs, targets), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_logit_costs_what_two_would(outputs: torch.Tensor, smoothing: float) -> None:
    logit, targets = outputs[:, :1], torch.tensor([0, 1, 1, 0, 1, 0])
    two = torch.cat([torch.zeros_like(logit), logit], dim=1)
    expected = F.cross_entropy(two, targets, label_smoothing=smoothing)
    torch.testing.assert_close(loss_for(BINARY, label_smoothing=smoothing)(logit, targets), expected)


def test_several_labels_cost_their_mean_binary_cross_entropy(outputs: torch.Tensor) -> None:
    targets = torch.tensor([[1.0, 0, 1]] * 6)
    expected = torch.nn.BCEWithLogitsLoss()(outputs, targets)
    assert torch.equal(loss_for(LABELS)(outputs, targets), expected)


@pytest.mark.parametrize(("name", "theirs"), [(None, F.mse_loss), ("mse", F.mse_loss), ("huber", F.huber_loss)])
def test_losses_of_numbers_are_torchs(name: str | None, theirs: object, outputs: torch.Tensor) -> None:
    assert torch.equal(loss_for(NUMBERS, name)(outputs, outputs * 2 - 1), theirs(outputs, outputs * 2 - 1))


@pytest.mark.parametrize("task", [BINARY, MULTI, LABELS, NUMBERS])
def test_every_listed_loss_falls_when_it_is_stepped_on(task: Task) -> None:
    generator = torch.Generator().manual_seed(0)
    columns = task.num_outputs
    targets = {
        "binary": torch.tensor([0, 1, 1, 0]),
        "multiclass": torch.tensor([0, 1, 2, 0]),
        "multilabel": torch.randint(2, (4, columns), generator=generator).float(),
        "regression": torch.randn(4, columns, generator=generator),
    }[task.kind]
    for name in LOSSES[task.kind]:
        outputs = torch.zeros(4, columns, requires_grad=True)
        loss = loss_for(task, name)
        first = loss(outputs, targets)
        first.backward()
        assert loss(outputs - 0.1 * outputs.grad, targets) < first


@pytest.mark.parametrize(
    ("task", "name", "message"),
    [
        (MULTI, "bce", r"--loss bce does not fit a multiclass task(.|\n)*use cross-entropy"),
        (NUMBERS, "cross-entropy", r"does not fit a regression task(.|\n)*use mse or huber"),
        (LABELS, "huber", r"does not fit a multilabel task(.|\n)*use bce"),
    ],
)
def test_a_loss_that_does_not_fit_the_task_is_refused(task: Task, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        loss_for(task, name)


def test_label_smoothing_of_numbers_is_refused() -> None:
    with pytest.raises(UsageError, match="--label-smoothing is for classes"):
        loss_for(NUMBERS, label_smoothing=0.1)


def test_probabilities_are_what_each_task_means(outputs: torch.Tensor) -> None:
    assert torch.equal(probabilities(MULTI, outputs), outputs.softmax(1))
    assert torch.equal(probabilities(LABELS, outputs), outputs.sigmoid())
    assert torch.equal(probabilities(NUMBERS, outputs[:, :2]), outputs[:, :2])
    binary = probabilities(BINARY, outputs[:, :1])
    assert torch.equal(binary[:, 1:], outputs[:, :1].sigmoid())
    torch.testing.assert_close(binary.sum(1), torch.ones(6))


@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_extreme_outputs_have_finite_losses_and_probabilities(extreme: float) -> None:
    outputs = torch.full((2, 3), extreme) * torch.tensor([1.0, 0, -1])
    assert loss_for(MULTI)(outputs, torch.tensor([0, 2])).isfinite()
    assert loss_for(LABELS)(outputs, torch.ones(2, 3)).isfinite()
    assert probabilities(MULTI, outputs).isfinite().all()
    assert probabilities(BINARY, outputs[:, :1]).isfinite().all()


# --- targets in units of their spread


def test_scaled_targets_have_no_mean_and_unit_spread_and_come_back() -> None:
    targets = np.random.default_rng(0).normal([300_000, 2], [90_000, 0.1], (200, 2)).astype(np.float32)
    scale = TargetScale.fit(targets)
    scaled = scale.apply(torch.from_numpy(targets))
    torch.testing.assert_close(scaled.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(scale.undo(scaled), torch.from_numpy(targets), rtol=1e-5, atol=1e-5)
    assert TargetScale.from_json(scale.to_json()) == scale


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, 123456.7])
@pytest.mark.parametrize("rows", [1, 7, 100, 118])
def test_a_constant_target_is_only_shifted(value: float, rows: int) -> None:
    # The float32 mean of 100 times 0.1 is not 0.1, so the deviation comes out as 3e-8, not 0.
    scale = TargetScale.fit(np.full((rows, 1), value, dtype=np.float32))
    assert scale.std == (1.0,)
    assert scale.mean == pytest.approx((value,), rel=1e-6)
