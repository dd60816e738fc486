"""Mixing of rows and targets: what is mixed, what is refused, and that chance comes from seed, step and rows alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributions import Beta

from zoo import Features, Task, UnknownNameError, UsageError
from zoo.data.batches import Batch
from zoo.data.types import TaskKind
from zoo.models.heads import AttentionHead, GapDenseHead, LinearHead, MlpHead
from zoo.transfer.mixing import FeatureMixer, Mix, PixelMixer, check_guides, mix_of, mixers, soft, takes_pooled

BINARY = Task("binary", ("no", "yes"))
MULTI = Task("multiclass", ("a", "b", "c"))
LABELS = Task("multilabel", ("x", "y"))
NUMBERS = Task("regression", (), ("n",))
TARGETS = {
    "binary": torch.tensor([0, 1, 1, 0]),
    "multiclass": torch.tensor([0, 1, 2, 0]),
    "multilabel": torch.tensor([[0.0, 1], [1, 1], [0, 0], [1, 0]]),
    "regression": torch.tensor([[0.5], [2], [-1], [4]]),
}
TASKS = [BINARY, MULTI, LABELS, NUMBERS]


def batch_of(task: Task, first: int = 0) -> Batch:
    """Four images of one colour each: row, neighbour and share can be read from any pixel."""
    pixels = torch.arange(4.0).add(1)[:, None, None, None].expand(4, 3, 16, 16).contiguous()
    rows = torch.arange(first, first + 4)
    return Batch({"image": {"pixels": pixels}}, TARGETS[task.kind], rows, {}, finished=True)


def pixels_of(batch: Batch) -> torch.Tensor:
    return batch.inputs["image"]["pixels"]


def features_of(batch: Batch) -> Features:
    pooled = pixels_of(batch)[:, :, 0, 0].requires_grad_()
    return Features(pooled=pooled, tokens=pooled.unsqueeze(1))


# --- what is asked for


@pytest.mark.parametrize(
    ("text", "alphas"),
    [
        ("mixup=0.2", {"mixup": 0.2}),
        ("cutmix=1", {"cutmix": 1.0}),
        ("mixup=0.4, cutmix=0.5", {"mixup": 0.4, "cutmix": 0.5}),
        ("mixup,cutmix", {"mixup": 0.2, "cutmix": 1.0}),
    ],
)
def test_kinds_and_alphas_are_read(text: str, alphas: dict[str, float]) -> None:
    assert mix_of(text).alphas == alphas


@pytest.mark.parametrize("text", ["mixup=0", "cutmix=-1", "mixup=x", "mixup=nan", "mixup=0.2,cutmix=inf"])
def test_an_alpha_that_is_not_above_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no alpha above 0(.|\n)*mixup=0.2"):
        mix_of(text)


def test_another_kind_of_mixing_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"No mixing is named 'mixip'. Did you mean mixup"):
        mix_of("mixip=0.2")


def test_both_kinds_are_drawn_about_as_often() -> None:
    mix = mix_of("mixup,cutmix")
    kinds = [mix.pick(0, step, 3)[0] for step in range(400)]
    assert 160 < kinds.count("mixup") < 240


# --- what is mixed


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_pixels_and_targets_are_mixed_in_the_same_share(task: Task) -> None:
    batch = batch_of(task)
    mixed = PixelMixer(mix_of("mixup=1"), task, seed=0)(batch, 5)
    one, other = pixels_of(batch)[:, 0, 0, 0], pixels_of(batch).roll(1, 0)[:, 0, 0, 0]
    share = (pixels_of(mixed)[:, 0, 0, 0] - other) / (one - other)
    assert share.std() < 1e-5
    assert 0 < share[0] < 1
    targets = soft(TARGETS[task.kind], task)
    torch.testing.assert_close(mixed.targets, share[0] * targets + (1 - share[0]) * targets.roll(1, 0))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_cutmix_pastes_a_box_and_gives_its_area_to_the_target(task: Task) -> None:
    batch = batch_of(task)
    mixed = PixelMixer(mix_of("cutmix=1"), task, seed=0)(batch, 1)
    pasted = pixels_of(mixed) != pixels_of(batch)
    torch.testing.assert_close(pixels_of(mixed)[pasted], pixels_of(batch).roll(1, 0)[pasted])
    share = 1 - pasted[0, 0].float().mean()
    assert 0 < share < 1
    box = pasted[0, 0].nonzero()
    assert len(box) == (box.amax(0) - box.amin(0) + 1).prod()
    targets = soft(TARGETS[task.kind], task)
    torch.testing.assert_close(mixed.targets, share * targets + (1 - share) * targets.roll(1, 0))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_pooled_features_are_mixed_with_their_gradient(task: Task) -> None:
    batch = batch_of(task)
    features = features_of(batch)
    mixed, after = FeatureMixer(mix_of("mixup=1"), task, seed=0)(features, batch, 5)
    one, other = features.pooled[:, 0], features.pooled.roll(1, 0)[:, 0]
    share = ((mixed.pooled[:, 0] - other) / (one - other)).detach()
    assert share.std() < 1e-5
    targets = soft(TARGETS[task.kind], task)
    torch.testing.assert_close(after.targets, share[0] * targets + (1 - share[0]) * targets.roll(1, 0))
    (gradient,) = torch.autograd.grad(mixed.pooled[1].sum(), features.pooled)
    assert (gradient[:2] > 0).all()
    assert (gradient[2:] == 0).all()


def test_shares_follow_the_beta_distribution_of_their_alpha() -> None:
    mixer, batch = FeatureMixer(mix_of("mixup=0.4"), NUMBERS, seed=0), batch_of(NUMBERS)
    mixed = torch.cat([mixer(features_of(batch), batch, step)[0].pooled[1:2, 0] for step in range(600)]).detach()
    shares = mixed - 1  # of row 2 beside row 1
    expected = Beta(torch.tensor(0.4), torch.tensor(0.4))
    assert float(shares.mean()) == pytest.approx(float(expected.mean), abs=0.05)
    assert float(shares.var()) == pytest.approx(float(expected.variance), abs=0.03)


def test_chance_comes_from_seed_step_and_rows_and_is_put_back() -> None:
    def drawn(seed: int, step: int, first: int) -> torch.Tensor:
        return pixels_of(PixelMixer(mix_of("mixup,cutmix"), MULTI, seed)(batch_of(MULTI, first), step))

    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = drawn(0, 7, 3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(drawn(0, 7, 3), one)
    for other in ((1, 7, 3), (0, 8, 3), (0, 7, 4)):
        assert not torch.equal(drawn(*other), one)


def test_a_batch_that_is_mixed_stays_as_it_was() -> None:
    batch = batch_of(MULTI)
    before = pixels_of(batch).clone()
    PixelMixer(mix_of("cutmix=1"), MULTI, seed=0)(batch, 1)
    assert torch.equal(pixels_of(batch), before)
    assert torch.equal(batch.targets, TARGETS["multiclass"])  # type: ignore[arg-type]


# --- what is refused


@pytest.mark.parametrize(
    ("head", "pooled"),
    [
        (LinearHead(4, 2), True),
        (MlpHead(4, 2), True),
        (AttentionHead(4, 2), False),
        (GapDenseHead(4, 2), False),
    ],
    ids=["linear", "mlp", "attention", "gap-dense"],
)
def test_heads_that_look_at_tokens_are_told_from_those_that_do_not(head: Any, pooled: bool) -> None:
    features = Features(pooled=torch.randn(1, 4), tokens=torch.randn(1, 5, 4))
    assert takes_pooled(head, features) is pooled


@pytest.mark.parametrize("kind", ["segmentation", "tokens", "detection"])
def test_tasks_with_many_answers_a_row_are_refused(kind: TaskKind) -> None:
    inputs = {"image": {"pixels": torch.zeros(1, 3, 8, 8)}}
    with pytest.raises(UsageError, match=r"--mix mixup=0.2 (.|\n)* one for every (.|\n)*--augment"):
        mixers("mixup=0.2", Task(kind, ("a", "b")), 0, None, inputs, gradient=True)  # type: ignore[arg-type]


def test_a_teacher_and_pairs_without_labels_are_refused() -> None:
    class Pairs:
        name, task_weight = "flyp", 0.0

    class Penalty:
        name, task_weight = "l2-sp", 1.0

    check_guides("mixup", (Penalty(),))
    with pytest.raises(UsageError, match="--strategy flyp learns from pairs"):
        check_guides("mixup", (Pairs(),))
    with pytest.raises(UsageError, match="a teacher has answers"):
        check_guides("mixup", (Penalty(), object()))


def test_a_mix_is_a_value() -> None:
    assert mix_of("mixup=0.2") == Mix({"mixup": 0.2})
