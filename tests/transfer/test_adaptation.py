"""Learning from rows without labels: the tables, the closed forms and the terms, without a model of any size."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo.data.augment import RECIPES
from zoo.data.types import Examples
from zoo.errors import DataError, UsageError
from zoo.testing.strategy_training import TASK, Small
from zoo.transfer.adaptation import (
    Stream,
    TargetNorms,
    adversary_strength,
    coral_loss,
    evaluating,
    masked_loss,
    pseudo_labels,
    ramp,
    reversed_gradient,
    strong_view,
)
from zoo.transfer.averaging import Average
from zoo.transfer.options import Training
from zoo.transfer.strategies import Full, ProbeThenFull, StageRow
from zoo.transfer.unlabelled import Coral, CoralProbe, Dann, SelfTraining, check_unlabelled, recoloured

ROWS = Examples({"text": [f"row {n}" for n in range(7)]}, None, tuple("abcdefg"), tuple("abcdefg"))
STAGES = tuple(StageRow(name) for name in ("stem", "top"))


def gaussian(rows: int, seed: int, dim: int = 6) -> np.ndarray:
    """Rows with a mean and a covariance of their own."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(rows, dim)) @ rng.normal(size=(dim, dim)) + rng.normal(size=dim)).astype(np.float32)


@pytest.mark.parametrize("kind", [SelfTraining, Coral, Dann])
def test_underneath_they_train_as_lp_ft_does_but_learn_the_statistics_of_the_target(kind: Any) -> None:
    found, plain = kind(backbone_lr=0.3).phases(STAGES), ProbeThenFull(0.3).phases(STAGES)
    assert [phase.lr for phase in found] == [phase.lr for phase in plain]
    assert [phase.solver for phase in found] == ["closed-form", "gradient"]
    assert [phase.keep_statistics for phase in (found[1], plain[1])] == [False, True]
    assert [phase.solver for phase in CoralProbe().phases(STAGES)] == ["closed-form"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SelfTraining(threshold=1.0), "threshold 1 is outside"),
        (lambda: SelfTraining(threshold=0.4), "threshold 0.4 is outside"),
        (lambda: SelfTraining(rampup=1.5), "rampup 1.5 is outside"),
        (lambda: SelfTraining(ratio=0), "ratio 0 is below 1"),
        (lambda: Coral(weight=0), "weight 0 is not above 0"),
        (lambda: Coral(mean=-1), "mean -1 is below 0"),
        (lambda: Dann(width=0), "width 0 is below 1"),
    ],
)
def test_options_out_of_range_are_refused(make: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()


def test_unlabelled_rows_are_asked_for_and_never_ignored() -> None:
    with pytest.raises(UsageError, match="dann learns from rows without labels, and none are given"):
        check_unlabelled(Dann(), None, "multiclass")
    with pytest.raises(UsageError, match="full has no use for --unlabelled"):
        check_unlabelled(Full(), ROWS, "multiclass")
    with pytest.raises(UsageError, match="self-training is not for a task of regression"):
        check_unlabelled(SelfTraining(), ROWS, "regression")
    with pytest.raises(DataError, match="a single unlabelled row"):
        check_unlabelled(Coral(), ROWS.select([0]), "regression")
    check_unlabelled(Coral(), ROWS, "regression")
    check_unlabelled(Full(), None, "regression")


def test_recoloured_features_have_the_mean_and_the_covariance_of_the_target() -> None:
    source, target = gaussian(4000, 0), gaussian(4000, 1)
    moved = recoloured(source, target)
    np.testing.assert_allclose(moved.mean(0), target.mean(0), atol=1e-4)
    # Shrinkage towards a multiple of the identity keeps a little of the difference, less with more rows.
    spread = np.abs(np.cov(target.T)).max()
    np.testing.assert_allclose(np.cov(moved.T), np.cov(target.T), atol=0.02 * spread)


def test_features_that_are_spread_alike_are_left_where_they_are() -> None:
    rows = gaussian(50, 2)
    np.testing.assert_allclose(recoloured(rows, rows), rows, atol=1e-4)


def test_fewer_rows_than_dimensions_still_have_an_inverse() -> None:
    assert np.isfinite(recoloured(gaussian(5, 0, dim=40), gaussian(9, 1, dim=40))).all()
    assert np.isfinite(recoloured(np.zeros((5, 3), np.float32), np.ones((5, 3), np.float32))).all()
    with pytest.raises(DataError, match="two rows or more"):
        recoloured(gaussian(1, 0), gaussian(9, 1))


def test_the_coral_loss_is_that_of_the_paper_in_units_of_the_spread_of_the_source() -> None:
    source, target = torch.from_numpy(gaussian(40, 3)), torch.from_numpy(gaussian(30, 4))
    unit = source.var(0).mean().sqrt()
    difference = np.cov((source / unit).numpy().T) - np.cov((target / unit).numpy().T)
    expected = (difference**2).sum() / (4 * 6**2)
    assert float(coral_loss(source, target)) == pytest.approx(expected, rel=1e-4)
    assert float(coral_loss(1000 * source, 1000 * target)) == pytest.approx(expected, rel=1e-4)
    means = (source.mean(0) - target.mean(0)).div(unit).square().mean()
    assert float(coral_loss(source, target, mean=2.0)) == pytest.approx(expected + 2 * float(means), rel=1e-4)


def test_shrinking_all_features_of_the_target_does_not_lower_the_coral_loss_to_zero() -> None:
    rows = torch.from_numpy(gaussian(40, 3))
    assert float(coral_loss(rows, rows)) < 1e-10
    assert float(coral_loss(rows, 0.01 * rows)) > 0.01


def test_pseudo_labels_are_the_answers_that_are_at_least_as_likely_as_the_threshold() -> None:
    labels, sure = pseudo_labels("multiclass", torch.tensor([[4.0, 0.0], [0.1, 0.0]]), 0.9)
    assert (labels.tolist(), sure.tolist()) == ([0, 0], [True, False])
    labels, sure = pseudo_labels("binary", torch.tensor([[-4.0], [0.1], [4.0]]), 0.9)
    assert (labels.flatten().tolist(), sure.flatten().tolist()) == ([0, 0.0 + 1, 1], [True, False, True])
    labels, sure = pseudo_labels("multilabel", torch.tensor([[4.0, -4.0, 0.0]]), 0.9)
    assert (labels.tolist(), sure.tolist()) == ([[1, 0, 1]], [[True, True, False]])


def test_answers_that_are_not_sure_count_nothing_but_are_divided_by() -> None:
    outputs = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    both = masked_loss("multiclass", outputs, torch.tensor([0, 1]), torch.tensor([True, True]))
    one = masked_loss("multiclass", outputs, torch.tensor([0, 1]), torch.tensor([True, False]))
    alone = nn.functional.cross_entropy(outputs[:1], torch.tensor([0]))
    assert float(one) == pytest.approx(float(alone) / 2)
    assert float(one) < float(both)


def test_the_weight_rises_over_the_ramp_and_stays() -> None:
    assert [ramp(step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert ramp(0, 0) == 1


def test_the_gradient_of_the_adversary_is_turned_round_and_grows_from_nothing() -> None:
    values = torch.ones(3, requires_grad=True)
    reversed_gradient(values, 0.5).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [-0.5, -0.5, -0.5]
    assert adversary_strength(0) == 0
    assert adversary_strength(1) == pytest.approx(0.9999, abs=1e-4)


def test_the_strong_view_is_strong_unless_the_user_said_which_changes_fit() -> None:
    assert strong_view("light") == RECIPES["strong"]
    assert strong_view("none") == RECIPES["none"]
    assert strong_view("rotation=10").rotation == 10
    assert strong_view("rotation=10").flip == 0


class Words:
    """Rows as their number, so that a batch tells which rows it holds."""

    def __call__(self, value: str, draw: Any = None) -> int:
        return int(value.split()[1])

    def length(self, example: int) -> int:
        return 1

    def collate(self, examples: Any) -> dict[str, Tensor]:
        return {"ids": torch.tensor(examples)}

    def finish(self, tensors: Any) -> dict[str, Tensor]:
        return dict(tensors)


def stream(**changes: Any) -> Stream:
    backbone = SimpleNamespace(modalities=("text",), processor=lambda _: Words())
    training = replace(Training(batch_size=3, seed=1), **changes)
    setting = SimpleNamespace(
        unlabelled=ROWS,
        training=training,
        device=torch.device("cpu"),
        task=TASK,
        model=SimpleNamespace(backbone=backbone),
    )
    return Stream(setting, RECIPES["none"])  # type: ignore[arg-type]


def seen(stream: Stream, steps: Any) -> list[list[int]]:
    return [stream.at(step).inputs["text"]["ids"].tolist() for step in steps]


def test_which_unlabelled_rows_come_in_a_step_only_seed_and_step_decide() -> None:
    whole = seen(stream(), range(9))
    assert seen(stream(), range(4, 9)) == whole[4:]
    assert sorted(whole[0] + whole[1]) == list(range(7)), "every row once an epoch, the single one joined"
    assert whole[:2] != whole[2:4]
    assert seen(stream(seed=2), range(9)) != whole


def test_a_step_of_several_batches_takes_as_many_of_the_unlabelled() -> None:
    each = seen(stream(), range(6))
    assert seen(stream(accumulate=2), [0, 0, 1, 1, 2, 2]) == each
    assert seen(stream(accumulate=2), [1, 1]) == each[2:4]


def test_looking_in_eval_mode_leaves_every_module_in_the_mode_it_had() -> None:
    backbone = Small().train()
    backbone.freeze_except(["top"])
    modes = [module.training for module in backbone.modules()]
    with evaluating(backbone):
        assert not any(module.training for module in backbone.modules())
    assert [module.training for module in backbone.modules()] == modes


def test_averaged_statistics_follow_those_that_unlabelled_rows_put_in_place() -> None:
    model: Any = nn.Sequential(nn.BatchNorm1d(2))
    norms = TargetNorms(model)
    average = Average(model, ["0.running_mean", "0.num_batches_tracked"], decay=0.5)
    expected = torch.zeros(2)
    for step in range(4):
        with norms.used(model):
            model(torch.from_numpy(gaussian(8, step, dim=2)))
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model[0].running_mean
        average.update(step)
    assert torch.allclose(average.state["0.running_mean"], expected)
    assert int(average.state["0.num_batches_tracked"]) == 4
    with average.in_place():
        assert torch.allclose(model[0].running_mean, expected)
    assert not torch.allclose(model[0].running_mean, expected)
