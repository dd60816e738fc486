"""Strategies that treat stages by their height: discriminative rates, and unfreezing step by step. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from zoo.errors import UsageError
from zoo.transfer.strategies import HEAD, Phase, StageRow


@dataclass(frozen=True)
class LayerDecay:
    """Train everything, each stage at a lower rate than the one above it: what is general moves least.

    Discriminative fine-tuning, Howard and Ruder 2018, https://arxiv.org/abs/1801.06146, with the rate of stage k from
    the top `backbone_lr` times `decay` to the k-th power, as ELECTRA and BEiT have it.
    """

    name: ClassVar[str] = "layer-decay"
    backbone_lr: float = 0.1
    """Rate of the top stage relative to the head."""
    decay: float = 0.75
    """Rate of a stage relative to the one above it."""

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise UsageError(f"decay {self.decay:g} is outside (0, 1]", help="give a share such as 0.75")

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        rates = {name: self.backbone_lr * self.decay**depth for name, depth in _depths(stages).items()}
        return (Phase("layer-decay", {**rates, HEAD: 1.0}),)


@dataclass(frozen=True)
class GradualUnfreezing:
    """The head first, then stages from the top down join it, a group at a time, until everything trains.

    Howard and Ruder 2018, https://arxiv.org/abs/1801.06146, section 3.3; there a layer joins with each epoch.
    """

    name: ClassVar[str] = "gradual-unfreezing"
    backbone_lr: float = 0.1
    """Rate of the backbone relative to the head."""
    groups: int = 3
    """Steps in which the stages of every branch join."""

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        grouped = _grouped(stages, self.groups)
        share = 1 / (len(grouped) + 1)
        found = [Phase("head", {HEAD: 1.0}, share)]
        for count in range(1, len(grouped) + 1):
            free = dict.fromkeys((name for group in grouped[-count:] for name in group), self.backbone_lr)
            found.append(Phase(f"top {count} of {len(grouped)}", {**free, HEAD: 1.0}, share))
        return tuple(found)


@dataclass(frozen=True)
class ChainThaw:
    """The head first, then each group of stages by itself from the bottom up, then everything together.

    Felbo et al. 2017, "DeepMoji", https://arxiv.org/abs/1708.00524, section 3.3; there each layer is a group.
    """

    name: ClassVar[str] = "chain-thaw"
    backbone_lr: float = 0.1
    """Rate of the backbone relative to the head."""
    groups: int = 3
    """Parts into which the stages of every branch are cut."""

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        grouped = _grouped(stages, self.groups)
        share = 1 / (len(grouped) + 2)
        alone = [
            Phase(f"group {number} of {len(grouped)}", dict.fromkeys(group, self.backbone_lr), share)
            for number, group in enumerate(grouped, 1)
        ]
        every = {stage.name: self.backbone_lr for stage in stages}
        return (Phase("head", {HEAD: 1.0}, share), *alone, Phase("all", {**every, HEAD: 1.0}, share))


def _branches(stages: Sequence[StageRow]) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for stage in stages:
        found.setdefault(stage.branch, []).append(stage.name)
    return list(found.values())


def _depths(stages: Sequence[StageRow]) -> dict[str, int]:
    """Stages above each in its branch."""
    return {name: len(names) - 1 - place for names in _branches(stages) for place, name in enumerate(names)}


def _grouped(stages: Sequence[StageRow], count: int) -> list[list[str]]:
    """The stages of every branch cut into at most `count` groups of like size, the lowest first.

    Raises:
        UsageError: no group.
    """
    if count < 1:
        raise UsageError(f"groups {count} is below 1", help="give 1 or more")
    branches = _branches(stages)
    count = min(count, max(map(len, branches), default=0))
    groups: list[list[str]] = [[] for _ in range(count)]
    for names in branches:
        for place, name in enumerate(names):
            # From the top, so that a short branch joins with the upper groups.
            groups[count - 1 - (len(names) - 1 - place) * count // len(names)].append(name)
    return [group for group in groups if group]
