"""Weights against the weights that training began with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from zoo.models.backbone import Backbone
from zoo.transfer.model import put_back
from zoo.transfer.terms import Ended, Seen, Term


class Pull(Term):
    """pull / 2 times the squared distance of the trained weights of a backbone from where they began.

    Args:
        backbone: as it is before the first step.
        pull: weight of the distance.
    """

    def __init__(self, backbone: Backbone, pull: float) -> None:
        super().__init__()
        self.pull = pull
        self.start = {name: parameter.detach().clone() for name, parameter in backbone.named_parameters()}

    def forward(self, seen: Seen) -> Tensor:
        """A scalar."""
        moved = [
            (parameter - self.start[name].to(parameter.device)).square().sum()
            for name, parameter in seen.model.backbone.named_parameters()
            if parameter.requires_grad
        ]
        return 0.5 * self.pull * torch.stack(moved).sum() if moved else torch.zeros((), device=seen.outputs.device)


def between(ended: Ended, alpha: float) -> None:
    """Put the model at (1 - alpha) times its first weights plus alpha times its last."""
    last = ended.model.state_dict()
    put_back(
        ended.model,
        {
            name: torch.lerp(start, last[name].to(start), alpha) if start.is_floating_point() else last[name]
            for name, start in ended.start.items()
        },
    )


def averaged(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several states, name by name; counts and indices are those of the first."""
    first = states[0]
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }
