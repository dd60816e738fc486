"""A backbone with its head, and the part of its state that training can change."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from zoo.models.backbone import Backbone, Inputs, Stage
from zoo.models.features import Features
from zoo.models.heads import Head, LossHead
from zoo.models.pyramid import Pyramid
from zoo.transfer.shares import shared_as, whole
from zoo.transfer.strategies import Phase, rows_of


class Model(nn.Module):
    """A backbone with its head: a batch to outputs (B, K).

    Args:
        backbone: what makes the features.
        head: what makes the outputs.
        pyramid: of the backbone, for a head that takes one.
    """

    pyramid: Pyramid | None

    def __init__(self, backbone: Backbone, head: Head, pyramid: Pyramid | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.set_pyramid(pyramid)
        self.adapters: tuple[nn.Parameter, ...] = ()
        """What the strategy inserted into the backbone; trained at the rate of "adapters"."""

    def set_pyramid(self, pyramid: Pyramid | None) -> None:
        """Held aside, so that no tensor of the backbone has two names."""
        object.__setattr__(self, "pyramid", pyramid)

    def forward(self, inputs: Inputs, targets: Tensor | None = None) -> Tensor:
        """(B, K) outputs of the head; (B, K, H, W) of pixels, (B, T, K) of tokens, (B, M, 6) of objects.

        With targets it is the loss of a head that has its own.
        """
        features = self.features(inputs)
        if targets is None:
            return self.head(features)  # type: ignore[no-any-return]
        assert isinstance(self.head, LossHead)
        return self.head.loss(features, targets)

    def features(self, inputs: Inputs) -> Features:
        """What the head takes."""
        found: Features = self.backbone(inputs) if self.pyramid is None else self.pyramid.features(inputs)
        return found


def stepping(phases: Sequence[Phase], stages: Sequence[Stage]) -> tuple[Phase, ...]:
    """The phases that take steps: those that are not solved, and train something that has parameters."""
    empty = {stage.name for stage in stages if not any(p.numel() for p in stage.parameters())}
    return tuple(
        phase
        for phase in phases
        if phase.solver == "gradient" and any(rate > 0 and name not in empty for name, rate in phase.lr.items())
    )


def changeable(model: Model, phases: Sequence[Phase]) -> frozenset[str]:
    """Names of everything that training can change in any phase: trained parameters and all buffers."""
    stages = model.backbone.stages()
    rows = rows_of(stages)
    trained = {name for phase in phases for name in phase.trained(rows)}
    frozen = {id(p) for stage in stages if stage.name not in trained for p in stage.parameters()}
    frozen -= {id(p) for p in model.adapters}
    fixed = {name for name, p in model.named_parameters(remove_duplicate=False) if id(p) in frozen}
    return frozenset(name for name in model.state_dict() if name not in fixed)


def copied(model: Model, names: Collection[str]) -> dict[str, Tensor]:
    """These tensors of the model's state, on the CPU and no longer shared.

    Of a model that is spread over processes whole ones in each, all of which have to ask for them.
    """
    return {
        name: whole(tensor.detach()).to("cpu", copy=True).contiguous()
        for name, tensor in model.state_dict().items()
        if name in names
    }


def put_back(model: Model, state: Mapping[str, Tensor]) -> None:
    """Put back what `copied` gave; every key must have its place."""
    own = model.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(shared_as(tensor, own[name]))
