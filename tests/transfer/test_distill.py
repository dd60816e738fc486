"""What a teacher adds to the loss, against closed forms and loops; no model is loaded."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo.data.batches import Batch
from zoo.data.types import Task
from zoo.errors import UnknownNameError, UsageError
from zoo.models.features import Features
from zoo.transfer.crossfit import cross_fitted
from zoo.transfer.distill import (
    AnglesTerm,
    DistancesTerm,
    FeaturesTerm,
    LogitsTerm,
    Taught,
    UnlabelledTerm,
    angles,
    check_learns,
    distances,
)
from zoo.transfer.paired import difference
from zoo.transfer.probe import predict, solve
from zoo.transfer.stage_outputs import averaged
from zoo.transfer.strategies import Full, HeadOnly, LinearProbe, StageRow
from zoo.transfer.tasks import TargetScale
from zoo.transfer.teaching import DistillOptions
from zoo.transfer.terms import Seen

THREE = Task("multiclass", ("a", "b", "c"))


def seen(rows: list[int], outputs: Tensor | None = None, pooled: Tensor | None = None) -> Seen:
    """A batch of these rows, as the loss sees it."""
    pooled = torch.zeros(len(rows), 2) if pooled is None else pooled
    batch = Batch({}, None, torch.tensor(rows), {})
    outputs = torch.zeros(len(rows), 3) if outputs is None else outputs
    model: Any = SimpleNamespace(backbone=None)
    return Seen(model, batch, Features(pooled, pooled.unsqueeze(1)), outputs, 0)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_logits_are_compared_by_the_softened_divergence_of_the_rows_of_the_batch() -> None:
    teacher, student = drawn(5, 3), drawn(2, 3, seed=1)
    term = LogitsTerm(teacher.numpy(), 0.5, THREE, None, temperature=2.0)
    p = (teacher[[4, 1]] / 2).softmax(1)
    q = (student / 2).softmax(1)
    expected = 0.5 * 4 * (p * (p / q).log()).sum() / 2
    assert float(term(seen([4, 1], student))) == pytest.approx(float(expected), rel=1e-5)


def test_a_student_that_agrees_with_its_teacher_is_not_moved() -> None:
    teacher = drawn(4, 3)
    student = (teacher + 7).requires_grad_()  # a shift of all logits is no other answer
    LogitsTerm(teacher.numpy(), 1.0, THREE, None, temperature=4.0)(seen([0, 1, 2, 3], student)).backward()
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-6


@pytest.mark.parametrize(("kind", "outputs"), [("binary", 1), ("multilabel", 3)])
def test_labels_of_their_own_are_compared_one_by_one_with_soft_targets(kind: Any, outputs: int) -> None:
    teacher, student = drawn(4, outputs), drawn(4, outputs, seed=1)
    term = LogitsTerm(teacher.numpy(), 1.0, Task(kind, ("a", "b", "c")[: max(outputs, 2)]), None, temperature=3.0)
    target, given = torch.sigmoid(teacher / 3), torch.sigmoid(student / 3)
    expected = -9 * (target * given.log() + (1 - target) * (1 - given).log()).mean()
    assert float(term(seen([0, 1, 2, 3], student))) == pytest.approx(float(expected), rel=1e-5)


def test_numbers_of_the_teacher_are_compared_in_units_of_their_deviation() -> None:
    scale = TargetScale((100.0,), (10.0,))
    term = LogitsTerm(np.array([[110.0], [90.0]], np.float32), 1.0, Task("regression", (), ("y",)), scale, 4.0)
    assert float(term(seen([0, 1], torch.tensor([[1.0], [1.0]])))) == pytest.approx((0 + 4) / 2)


def test_features_that_a_linear_map_gives_cost_nothing_and_their_mean_alone_costs_one() -> None:
    own = drawn(64, 4)
    teacher = own @ drawn(4, 6, seed=2) * 50 + 7  # scale and shift do not count
    term = FeaturesTerm(teacher.numpy(), 1.0, dim=4)
    with torch.no_grad():
        term.projection.weight.zero_()
        term.projection.bias.zero_()
    rows = list(range(64))
    assert float(term(seen(rows, pooled=own)).detach()) == pytest.approx(1.0, rel=1e-4)
    with_one = torch.cat([own, torch.ones(64, 1)], dim=1)
    solved = torch.linalg.lstsq(with_one, term.rows).solution  # (5, 6)
    with torch.no_grad():
        term.projection.weight.copy_(solved[:4].T)
        term.projection.bias.copy_(solved[4])
    assert float(term(seen(rows, pooled=own)).detach()) < 1e-6


def test_distances_are_those_of_a_loop_in_units_of_their_mean() -> None:
    x = drawn(5, 3)
    loop = np.array([[float((a - b).norm()) for b in x] for a in x])
    assert distances(x).numpy() == pytest.approx(loop / (loop.sum() / 20), abs=1e-4)


def test_angles_are_the_cosines_of_a_loop() -> None:
    x = drawn(4, 3)
    for i in range(4):
        for j in range(4):
            for k in range(4):
                a, b = x[j] - x[i], x[k] - x[i]
                expected = 0.0 if i in (j, k) else float(a @ b / (a.norm() * b.norm()))
                assert float(angles(x)[i, j, k]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("term", [DistancesTerm, AnglesTerm])
def test_relations_do_not_see_a_turned_scaled_and_moved_space(term: Any) -> None:
    teacher = drawn(6, 3)
    turn = torch.linalg.qr(drawn(3, 3, seed=3))[0]
    relation = term(teacher.numpy(), 2.0)
    rows = list(range(6))
    assert float(relation(seen(rows, pooled=5 * teacher @ turn + 3))) == pytest.approx(0, abs=1e-6)
    assert float(relation(seen(rows, pooled=drawn(6, 3, seed=4)))) > 1e-3


@pytest.mark.parametrize("term", [DistancesTerm, AnglesTerm])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_equal_rows_and_small_batches_have_a_finite_gradient(term: Any, rows: int) -> None:
    pooled = torch.ones(rows, 3, requires_grad=True)
    term(drawn(3, 2).numpy(), 1.0)(seen(list(range(rows)), pooled=pooled)).backward()
    assert pooled.grad is not None
    assert torch.isfinite(pooled.grad).all()


def test_a_stage_is_averaged_over_positions_wherever_its_channels_are_and_over_real_tokens() -> None:
    first = drawn(2, 5, 4, 4)
    assert torch.equal(averaged(first), first.mean((2, 3)))
    assert torch.allclose(averaged(first.permute(0, 2, 3, 1)), first.mean((2, 3)), atol=1e-6)
    tokens, mask = drawn(1, 3, 2), torch.tensor([[True, True, False]])
    assert torch.allclose(averaged(tokens, mask), tokens[:, :2].mean(1))


def test_cross_fitted_answers_do_not_know_the_labels_of_their_rows() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 60)).astype(np.float32)
    targets = rng.integers(0, 2, 80)  # nothing to learn: who is right has seen the answer
    task = Task("multiclass", ("a", "b"))
    solution = solve(features, targets, task, grid=(1.0,))
    assert (predict(solution, task, features).argmax(1) == targets).mean() > 0.95
    assert (cross_fitted(features, targets, task, solution, seed=0).argmax(1) == targets).mean() < 0.7


def test_a_difference_of_models_that_fail_on_the_same_rows_is_surer_than_their_intervals() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 400)
    right = rng.random(400) < 0.7
    better = right | (rng.random(400) < 0.2)
    task = Task("multiclass", ("a", "b"))

    def answers(correct: Any) -> Any:
        return np.eye(2, dtype=np.float32)[np.where(correct, targets, 1 - targets)]

    found = difference(task, answers(better), answers(right), targets)
    assert found is not None
    assert found.value == pytest.approx((better.mean() - right.mean()), abs=1e-9)
    assert found.sure
    assert found.high - found.low < 2 * 1.96 * math.sqrt(0.7 * 0.3 / 400)
    none = difference(task, answers(right), answers(right), targets)
    assert none is not None
    assert not none.sure


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": ("logit",)}, "logit'.*Did you mean logits"),
        ({"by": ()}, "nothing to learn"),
        ({"alpha": 0.0}, "outside"),
        ({"temperature": 0.0}, "not above 0"),
        ({"term_weights": {"angles": 2.0}}, "not in --by"),
        ({"term_weights": {"logits": 0.0}}, "not above 0"),
        ({"by": ("features",), "hint": "layer2"}, "does not name two stages"),
        ({"hint": "layer2:layer3"}, "is for features"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises((UsageError, UnknownNameError), match=said):
        DistillOptions("teacher", **options)


def test_strategies_by_which_nothing_is_learned_from_a_teacher_are_refused() -> None:
    stages = [StageRow("stem"), StageRow("top")]
    features = DistillOptions("teacher", ("features",))
    with pytest.raises(UsageError, match="takes no step"):
        check_learns(DistillOptions("teacher"), "linear-probe", LinearProbe().phases(stages), stages, "linear")
    with pytest.raises(UsageError, match="keeps the student's features"):
        check_learns(features, "head", HeadOnly().phases(stages), stages, "linear")
    with pytest.raises(UsageError, match="teaches the head nothing"):
        check_learns(DistillOptions("t", ("features",), alpha=1), "full", Full().phases(stages), stages, "mlp")
    check_learns(DistillOptions("teacher"), "head", HeadOnly().phases(stages), stages, "linear")
    check_learns(features, "full", Full().phases(stages), stages, "linear")


def test_rows_without_labels_are_compared_with_what_the_teacher_says_of_them() -> None:
    labelled, others = Taught(drawn(4, 3).numpy(), None, None), Taught(drawn(2, 3, seed=5).numpy(), None, None)
    taught = labelled.followed_by(others)
    assert taught.outputs is not None
    term = LogitsTerm(taught.outputs, 1.0, THREE, None, temperature=2.0)
    pooled = drawn(2, 3, seed=6)
    model: Any = SimpleNamespace(features=lambda inputs: Features(pooled, pooled[:, None]), head=lambda f: f.pooled)
    stream: Any = SimpleNamespace(at=lambda step: Batch({}, None, torch.tensor([1, 0]), {}))
    found = UnlabelledTerm((term,), stream, first=4)(replace(seen([0, 1]), model=model))
    alone = LogitsTerm(drawn(2, 3, seed=5).numpy(), 1.0, THREE, None, temperature=2.0)
    assert float(found) == pytest.approx(float(alone(seen([1, 0], pooled))))
    assert not list(UnlabelledTerm((FeaturesTerm(drawn(4, 3).numpy(), 1.0, dim=2),), stream, first=2).parameters())


def test_terms_with_parameters_offer_them_and_keep_the_teachers_rows_out_of_checkpoints() -> None:
    term = FeaturesTerm(drawn(50, 6).numpy(), 1.0, dim=4)
    assert sum(p.numel() for p in term.parameters()) == 4 * 6 + 6
    assert set(term.state_dict()) == {"projection.weight", "projection.bias"}
    assert isinstance(term, nn.Module)
