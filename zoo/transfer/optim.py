"""Optimisers with a group for each rate and weight decay, and schedules as functions of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from zoo.models.backbone import Stage
from zoo.transfer.options import Training
from zoo.transfer.shares import is_shared
from zoo.transfer.strategies import ADAPTERS, HEAD, Phase


@dataclass(frozen=True)
class Scheduler:
    """Multiplier of every group's own rate at a step: a pure function, so that it needs no saving."""

    training: Training
    total: int
    """Steps of the phase."""
    per_epoch: int

    def __call__(self, step: int) -> float:
        """In [0, 1], for a step counted from 0."""
        t = self.training
        warm = round(t.warmup * self.total) if t.schedule in ("cosine", "linear") else 0
        if step < warm:
            return (step + 1) / warm
        if t.schedule == "constant":
            return 1.0
        epoch = step // self.per_epoch
        if t.schedule == "step":
            return t.gamma ** (epoch // t.step_size)
        if t.schedule == "multistep":
            epochs = max(self.total // self.per_epoch, 1)
            milestones = t.milestones or {each for each in (epochs // 2, epochs * 3 // 4) if each > 0}
            return t.gamma ** sum(epoch >= each for each in milestones)
        done = (step - warm) / max(self.total - warm, 1)
        return 1 - done if t.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def make_optimizer(
    phase: Phase,
    stages: Sequence[Stage],
    head: nn.Module,
    training: Training,
    adapters: Sequence[nn.Parameter] = (),
    terms: Sequence[nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """Each stage with its own rate in `base_lr`; biases and norms get no weight decay.

    Stages that learn alike make one group, as each costs time in every step; "+" joins their names. The head is in the
    last one.

    Args:
        phase: rates relative to `training.lr`.
        stages: of the backbone.
        head: trained at the rate of "head".
        training: optimiser, rate and weight decay.
        adapters: what the strategy inserted, inside of stages, trained at the rate of "adapters".
        terms: of what is added to the loss, trained at the rate of the head.
    """
    assert training.lr is not None
    groups: list[dict[str, Any]] = []
    inserted = {id(parameter) for parameter in adapters}
    own = ((stage.name, [p for p in stage.parameters() if id(p) not in inserted]) for stage in stages)
    rates = {"terms": phase.lr.get(HEAD, 0.0), **phase.lr}
    for name, parameters in (*own, (ADAPTERS, adapters), ("terms", terms), (HEAD, head.parameters())):
        rate = training.lr * rates.get(name, 0.0)
        if rate > 0:
            groups += _groups(name, parameters, rate, training.weight_decay)
    groups = _merged(groups)
    fused = _fuses(p for group in groups for p in group["params"]) or None
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=training.lr, momentum=training.momentum, fused=fused)
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=training.lr, fused=fused)


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Give every group its base rate times `factor`; the rate of the last group (the head) is returned."""
    rate = 0.0
    for group in optimizer.param_groups:
        rate = group["lr"] = group["base_lr"] * factor
    return rate


def _merged(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups of one rate and weight decay together, where the last of them stood."""
    found: dict[tuple[float, float], dict[str, Any]] = {}
    for group in groups:
        kind = group["base_lr"], group["weight_decay"]
        if (alike := found.pop(kind, None)) is not None:
            names, params = f"{alike['name']}+{group['name']}", [*alike["params"], *group["params"]]
            group = {**group, "name": names, "params": params}
        found[kind] = group
    return list(found.values())


def _fuses(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether one kernel can do the whole step: it reads and writes each weight once, in place of a dozen times."""
    # What is spread over processes has none for momentum.
    kinds = ("cpu", "cuda")
    return all(p.device.type in kinds and p.is_floating_point() and not is_shared(p) for p in parameters)


def _groups(name: str, parameters: Iterable[nn.Parameter], rate: float, decay: float) -> list[dict[str, Any]]:
    found = list(parameters)
    matrices = [p for p in found if p.ndim > 1]
    vectors = [p for p in found if p.ndim <= 1]
    return [
        {"params": params, "name": f"{name}{suffix}", "base_lr": rate, "lr": rate, "weight_decay": weight_decay}
        for params, suffix, weight_decay in ((matrices, "", decay), (vectors, ".no-decay", 0.0))
        if params
    ]
