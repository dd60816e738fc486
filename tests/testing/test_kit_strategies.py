"""Faults of strategies that make no sound, and the checks that catch them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from faults import failed
from torch import Tensor, nn

import zoo
from zoo import Phase, StageRow
from zoo.testing import check_strategy
from zoo.transfer.options import Training
from zoo.transfer.terms import Seen, Term


@dataclass(frozen=True)
class Everything:
    name: ClassVar[str] = "everything"
    backbone_lr: float = 0.1

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {**{stage.name: self.backbone_lr for stage in stages}, "head": 1.0}),)


class ForgetsTheHead(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {stage.name: 0.1 for stage in stages}),)


class UnknownStage(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {"layer4": 0.1, "head": 1.0}),)


class SharesOfTwo(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("one", {"head": 1.0}), Phase("two", {"head": 1.0}))


class Backwards(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {stages[0].name: -0.1, "head": 1.0}),)


class Nothing(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("idle", {}, share=0.5), Phase("head", {"head": 1.0}, share=0.5))


class SolvesABackbone(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {stages[0].name: 1.0, "head": 1.0}, solver="closed-form"),)


class Dice(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {"head": float(np.random.default_rng().random()) + 0.1}),)


class DeafToItsOption(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {**{stage.name: 0.1 for stage in stages}, "head": 1.0}),)


@dataclass(frozen=True)
class DeadAdapters(Everything):
    """As LoRA on the output projection of torch's attention: inserted, counted, and never run through."""

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {"adapters": 1.0, "head": 1.0}),)

    def adapt(self, backbone: Any, inputs: Any) -> Any:
        extra = nn.Parameter(torch.zeros(3))
        return type("Inserted", (), {"layers": ("top",), "parameters": (extra,), "fold": lambda self: None})()


class Counting(Term):
    """Counts its calls where no checkpoint finds it, and has a parameter that it never uses."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.idle = 0, nn.Parameter(torch.zeros(3))

    def forward(self, seen: Seen) -> Tensor:
        self.calls += 1
        return self.calls * seen.outputs.square().mean()


class Counted(Everything):
    task_weight = 1.0

    def terms(self, setting: Any) -> tuple[Term, ...]:
        return (Counting(),)


STRATEGIES = [
    (ForgetsTheHead, "trains-the-head"),
    (UnknownStage, "known-names"),
    (SharesOfTwo, "rates"),
    (Backwards, "rates"),
    (Nothing, "table"),
    (SolvesABackbone, "solver"),
    (Dice, "repeats"),
    (DeafToItsOption, "options"),
    (DeadAdapters, "trains-what-it-says"),
    (Counted, "trains-what-it-says"),
    (Counted, "resumes-alike"),
]


@pytest.mark.parametrize(("kind", "check"), STRATEGIES)
def test_a_fault_of_a_strategy_is_caught(kind: Any, check: str) -> None:
    assert check in failed(check_strategy(kind))


def scheduler_inert(
    phase: Phase, stages: Sequence[Any], head: nn.Module, training: Training, total: int
) -> Callable[[int], None]:
    """Layer decay as timm writes it, `lr_scale` in the groups, under torch's own scheduler, which does not know it."""
    parts = [*((stage.name, list(stage.parameters())) for stage in stages), ("head", list(head.parameters()))]
    groups = [{"params": params, "lr_scale": phase.lr[name]} for name, params in parts if name in phase.lr]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)

    def step(number: int) -> None:
        optimizer.step()
        scheduler.step()

    return step


def test_layer_decay_that_a_scheduler_ignores_is_caught() -> None:
    found = check_strategy(Everything, engine=scheduler_inert, only=["rates-survive-schedules"])
    assert failed(found) == ["rates-survive-schedules"]
    assert "moves 1 of the base rate, the table says 0.1" in found.failed[0].measured


def test_a_sound_strategy_passes_every_check_and_each_check_has_a_fault() -> None:
    found = check_strategy(Everything)
    assert found.passed, str(found)
    caught = {check for _, check in STRATEGIES} | {"rates-survive-schedules"}
    assert {result.check for result in found.results} == caught


@pytest.mark.parametrize("name", zoo.default_catalog().strategies)
def test_every_strategy_of_zoo_passes(name: str) -> None:
    assert check_strategy(name).passed, str(check_strategy(name))
