"""Which stages want to move most: gradients beside weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

from zoo.errors import UsageError
from zoo.transfer.strategies import HEAD, LinearProbe, Phase, StageRow

if TYPE_CHECKING:
    import torch

    from zoo.data.batches import Batch
    from zoo.transfer.model import Model

LOOKED_AT = 8
"""Batches whose gradients are looked at."""


@runtime_checkable
class Looking(Protocol):
    """A strategy that looks at gradients before it knows its table."""

    name: ClassVar[str]

    def looked(self, ratios: Mapping[str, float]) -> Self:
        """The strategy with its table settled, by the gradient-to-weight ratio of each stage."""


@dataclass(frozen=True)
class Surgical:
    """Solve a linear head, then train it with the stages whose gradient is largest beside their weights.

    Lee et al. 2023, surgical fine-tuning, https://arxiv.org/abs/2210.11466: which stage pays depends on how the target
    differs, the first for blurred or noisy inputs, the last for other classes.
    """

    name: ClassVar[str] = "surgical"
    backbone_lr: float = 0.1
    """Rate of the chosen stages relative to the head."""
    stages: int = 1
    """How many are trained."""
    chosen: tuple[str, ...] = ()
    """Set once the gradients were looked at."""

    def __post_init__(self) -> None:
        if self.stages < 1:
            raise UsageError(f"stages {self.stages} trains none", help="use --strategy linear-probe for the head alone")

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        rates = dict.fromkeys(self.chosen, self.backbone_lr)
        return (*LinearProbe().phases(stages), Phase("surgical", {**rates, HEAD: 1.0}, keep_statistics=True))

    def looked(self, ratios: Mapping[str, float]) -> Surgical:
        """The stages of the greatest ratios; of equal ones the higher."""
        order = list(ratios)
        ranked = sorted(order, key=lambda name: (ratios[name], order.index(name)), reverse=True)
        return replace(self, chosen=tuple(ranked[: self.stages]))


def gradient_ratios(
    model: Model, batches: Iterable[Batch], loss: Callable[[Any, Any], torch.Tensor], device: torch.device
) -> dict[str, float]:
    """||gradient|| / ||weights|| of every stage, over all its parameters, in eval mode; the model stays as it is.

    Lee et al. 2023, section 5 (Auto-RGN), there for each layer.

    Args:
        model: backbone and head.
        batches: labelled rows; their gradients are added up.
        loss: outputs and targets to a scalar.
        device: where the model is.
    """
    import torch

    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    backbone = model.backbone
    model.eval()
    for parameter in wanted:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            for batch in batches:
                placed = batch.to(device)
                loss(model(placed.inputs).float(), placed.targets).backward()  # type: ignore[no-untyped-call]
        found = {}
        for stage in backbone.stages():
            own = [p for p in stage.parameters() if p.grad is not None]
            weights = sum(float(p.detach().square().sum()) for p in own)
            slopes = sum(float(p.grad.square().sum()) for p in own if p.grad is not None)
            if weights > 0:
                found[stage.name] = (slopes / weights) ** 0.5
        return found
    finally:
        model.zero_grad(set_to_none=True)
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)
