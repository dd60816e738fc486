"""Rates over time against torch's schedulers, and what each group of parameters gets."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as theirs

import zoo
from zoo.models.heads import LinearHead
from zoo.transfer.layered import LayerDecay
from zoo.transfer.optim import Scheduler, make_optimizer, set_rates
from zoo.transfer.options import Training
from zoo.transfer.strategies import Full, HeadOnly, Partial, StageRow

EPOCHS, STEPS = 8, 5
TOTAL = EPOCHS * STEPS
BASE = Training(epochs=EPOCHS, lr=0.1, backbone_lr=0.1, warmup=0.0, optimizer="adamw")


def ours(**options: object) -> list[float]:
    schedule = Scheduler(replace(BASE, **options), TOTAL, STEPS)  # type: ignore[arg-type]
    return [schedule(step) for step in range(TOTAL)]


def torchs(build: object, every: int = 1) -> list[float]:
    """The rate of each step under torch's scheduler, stepped after `every` steps."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = build(optimizer), []  # type: ignore[operator]
    for step in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % every == 0:
            scheduler.step()
    return rates


def test_a_constant_rate_is_constant() -> None:
    assert ours(schedule="constant") == [1.0] * TOTAL


@pytest.mark.parametrize(("size", "gamma"), [(1, 0.5), (3, 0.1), (100, 0.1)])
def test_step_is_torchs(size: int, gamma: float) -> None:
    expected = torchs(lambda o: theirs.StepLR(o, size, gamma), every=STEPS)
    assert ours(schedule="step", step_size=size, gamma=gamma) == pytest.approx(expected)


@pytest.mark.parametrize("milestones", [(2, 5), (1,), (3, 4, 6)])
def test_multistep_is_torchs(milestones: tuple[int, ...]) -> None:
    expected = torchs(lambda o: theirs.MultiStepLR(o, list(milestones), 0.3), every=STEPS)
    assert ours(schedule="multistep", milestones=milestones, gamma=0.3) == pytest.approx(expected)


def test_multistep_drops_at_a_half_and_three_quarters_by_default() -> None:
    expected = torchs(lambda o: theirs.MultiStepLR(o, [4, 6], 0.1), every=STEPS)
    assert ours(schedule="multistep") == pytest.approx(expected)


@pytest.mark.parametrize(("epochs", "rates"), [(1, [1.0]), (2, [1.0, 0.1]), (3, [1.0, 0.1, 0.01])])
def test_multistep_over_few_epochs_starts_at_the_full_rate_and_drops_once_at_a_time(
    epochs: int, rates: list[float]
) -> None:
    schedule = Scheduler(replace(BASE, schedule="multistep"), epochs * STEPS, STEPS)
    assert [schedule(epoch * STEPS) for epoch in range(epochs)] == pytest.approx(rates)


def test_cosine_is_torchs() -> None:
    expected = torchs(lambda o: theirs.CosineAnnealingLR(o, TOTAL))
    assert ours(schedule="cosine") == pytest.approx(expected, abs=1e-6)


def test_linear_is_torchs() -> None:
    expected = torchs(lambda o: theirs.LinearLR(o, 1.0, 0.0, TOTAL))
    assert ours(schedule="linear") == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_warmup_rises_before_the_curve_as_torchs_sequence_does(schedule: str) -> None:
    warm = 4  # a tenth of 40

    def build(optimizer: torch.optim.Optimizer) -> theirs.LRScheduler:
        rising = theirs.LinearLR(optimizer, 1 / warm, 1.0, warm - 1)
        falling = (
            theirs.CosineAnnealingLR(optimizer, TOTAL - warm)
            if schedule == "cosine"
            else theirs.LinearLR(optimizer, 1.0, 0.0, TOTAL - warm)
        )
        return theirs.SequentialLR(optimizer, [rising, falling], milestones=[warm])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR calls its parts in a way that torch itself deprecates
        expected = torchs(build)
    assert ours(schedule=schedule, warmup=0.1) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "step", "multistep", "cosine", "linear"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("total", [1, 2, 7])
def test_every_schedule_stays_between_nothing_and_the_full_rate(schedule: str, warmup: float, total: int) -> None:
    scheduler = Scheduler(replace(BASE, schedule=schedule, warmup=warmup), total, per_epoch=3)  # type: ignore[arg-type]
    rates = [scheduler(step) for step in range(total)]
    assert all(0 < rate <= 1 for rate in rates)


@pytest.mark.parametrize("schedule", ["step", "multistep", "cosine", "linear"])
def test_without_warmup_a_rate_never_rises(schedule: str) -> None:
    assert all(a >= b for a, b in pairwise(ours(schedule=schedule)))


# --- groups


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.body = nn.Sequential(nn.Conv2d(4, 6, 3), nn.GroupNorm(2, 6))
        self.top = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5), nn.LayerNorm(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.top(self.body(self.stem(x)))


@pytest.fixture
def backbone() -> zoo.Backbone:
    torch.manual_seed(0)
    return zoo.wrap(Small(), preprocess=zoo.ImagePreprocess(size=(8, 8)))


def rows(backbone: zoo.Backbone) -> list[StageRow]:
    return [StageRow(stage.name, stage.branch) for stage in backbone.stages()]


def optimizer_for(backbone: zoo.Backbone, strategy: object, **options: object) -> torch.optim.Optimizer:
    (phase,) = strategy.phases(rows(backbone))  # type: ignore[attr-defined]
    backbone.freeze_except(phase.trained(rows(backbone)))
    training = replace(BASE, **options)  # type: ignore[arg-type]
    return make_optimizer(phase, backbone.stages(), LinearHead(backbone.dim, 2), training)


def rates_of(optimizer: torch.optim.Optimizer, key: str = "lr") -> dict[str, float]:
    """By stage."""
    return {
        name.removesuffix(".no-decay"): group[key]
        for group in optimizer.param_groups
        for name in group["name"].split("+")
    }


@pytest.mark.parametrize(
    ("strategy", "stages"),
    [(HeadOnly(), []), (Partial(1), ["top"]), (Partial(2), ["body", "top"]), (Full(), ["stem", "body", "top"])],
    ids=["head", "partial 1", "partial 2", "full"],
)
def test_the_optimiser_holds_what_is_trained_once_and_nothing_else(
    strategy: object, stages: list[str], backbone: zoo.Backbone
) -> None:
    optimizer = optimizer_for(backbone, strategy)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held})
    expected = {id(p) for stage in backbone.stages() if stage.name in stages for p in stage.parameters()}
    own = {id(p) for p in backbone.parameters()}
    assert {id(p) for p in held} & own == expected
    assert expected == {id(p) for p in backbone.parameters() if p.requires_grad}
    assert rates_of(optimizer).keys() == {*stages, "head"}


def test_stages_that_learn_alike_are_one_group(backbone: zoo.Backbone) -> None:
    assert len(optimizer_for(backbone, Full(backbone_lr=0.2), weight_decay=0.3).param_groups) == 4
    assert len(optimizer_for(backbone, Full(backbone_lr=1.0), weight_decay=0.0).param_groups) == 1
    assert len(optimizer_for(backbone, LayerDecay(decay=0.5), weight_decay=0.3).param_groups) == 8


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_one_kernel_takes_the_whole_step(name: str, dtype: torch.dtype, backbone: zoo.Backbone) -> None:
    backbone.get_submodule("module.body").to(dtype)
    optimizer = optimizer_for(backbone, Full(), optimizer=name, weight_decay=0.3)
    assert all(group["fused"] for group in optimizer.param_groups)
    for parameter in backbone.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = [parameter.detach().clone() for parameter in backbone.parameters()]
    set_rates(optimizer, 1.0)
    optimizer.step()
    assert all((a != b).any() for a, b in zip(before, backbone.parameters(), strict=True))


def test_norms_and_biases_do_not_decay_and_matrices_do(backbone: zoo.Backbone) -> None:
    optimizer = optimizer_for(backbone, Full(), weight_decay=0.3)
    spared = {id(p) for g in optimizer.param_groups if g["weight_decay"] == 0 for p in g["params"]}
    assert {g["weight_decay"] for g in optimizer.param_groups} == {0.0, 0.3}
    for name, parameter in backbone.named_parameters():
        norm = isinstance(backbone.get_submodule(name.rpartition(".")[0]), nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm)
        assert (id(parameter) in spared) == (norm or name.endswith("bias")), name


def test_weight_decay_shrinks_matrices_and_leaves_norms_alone(backbone: zoo.Backbone) -> None:
    optimizer = optimizer_for(backbone, Full(), weight_decay=0.5)
    before = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    for parameter in backbone.parameters():
        parameter.grad = torch.zeros_like(parameter)
    set_rates(optimizer, 1.0)
    optimizer.step()
    for name, parameter in backbone.named_parameters():
        # AdamW: the rate of the backbone is a tenth of 0.1.
        factor = 1 - 0.01 * 0.5 if parameter.ndim > 1 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * factor, rtol=1e-6, atol=0)


def test_a_schedule_keeps_the_ratio_between_head_and_backbone(backbone: zoo.Backbone) -> None:
    # A scheduler that sets one rate for all groups undoes the lower rate of the backbone without a word.
    optimizer = optimizer_for(backbone, Full(backbone_lr=0.2))
    for factor in (1.0, 0.37, 0.01):
        shown = set_rates(optimizer, factor)
        rates = rates_of(optimizer)
        assert rates == pytest.approx({"stem": 0.02 * factor, "body": 0.02 * factor, "top": 0.02 * factor,
                                       "head": 0.1 * factor})  # fmt: skip
        assert shown == pytest.approx(0.1 * factor)


@pytest.mark.parametrize("schedule", ["constant", "step", "multistep", "cosine", "linear"])
def test_every_schedule_keeps_the_stages_apart(schedule: str, backbone: zoo.Backbone) -> None:
    optimizer = optimizer_for(backbone, LayerDecay(decay=0.5), schedule=schedule, warmup=0.1)
    own = rates_of(optimizer, "base_lr")
    assert len(set(own.values())) == len(own) == 4
    factors = ours(schedule=schedule, warmup=0.1)
    for factor in factors:
        set_rates(optimizer, factor)
        rates = rates_of(optimizer)
        assert rates == pytest.approx({name: rate * factor for name, rate in own.items()})
    assert len(set(factors)) > 1 or schedule == "constant"


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_optimisers_are_torchs_own(name: str, kind: type, backbone: zoo.Backbone) -> None:
    optimizer = optimizer_for(backbone, HeadOnly(), optimizer=name, momentum=0.8)
    assert type(optimizer) is kind
    if name == "sgd":
        assert all(group["momentum"] == 0.8 for group in optimizer.param_groups)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_steps_are_those_of_torchs_optimiser_with_the_same_rates(name: str, backbone: zoo.Backbone) -> None:
    optimizer = optimizer_for(backbone, Full(backbone_lr=1.0), optimizer=name, weight_decay=0.0)
    twin = zoo.wrap(Small(), preprocess=zoo.ImagePreprocess(size=(8, 8)))
    twin.load_state_dict(backbone.state_dict())
    kind = {"sgd": lambda p: torch.optim.SGD(p, 0.1, 0.9), "adam": lambda p: torch.optim.Adam(p, 0.1),
            "adamw": lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.0)}[name]  # fmt: skip
    reference = kind(list(twin.parameters()))
    pixels = torch.randn(4, 3, 8, 8)
    for each, steps in ((backbone, optimizer), (twin, reference)):
        each.eval()
        for _ in range(3):
            steps.zero_grad()
            each({"image": {"pixels": pixels}}).pooled.square().sum().backward()
            if each is backbone:
                set_rates(optimizer, 1.0)
            steps.step()
    for a, b in zip(backbone.parameters(), twin.parameters(), strict=True):
        # Adam divides by the size of a gradient: where that is small, its rounding counts. The rate is 0.1.
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-5)
