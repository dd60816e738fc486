"""Where gradients arrive: a backbone may hold what one of its towers, or one kind of input, never runs through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from zoo.models.backbone import Backbone, Inputs


@contextmanager
def backward(backbone: Backbone, inputs: Inputs) -> Iterator[None]:
    """Gradients of all features for as long as this lasts; a parameter without one is never run through.

    Args:
        backbone: put into eval mode.
        inputs: a batch of one row, as its `forward` takes it.
    """
    backbone.eval()
    with torch.enable_grad():
        plain = {m: {k: v.clone() for k, v in tensors.items()} for m, tensors in inputs.items()}  # no inference tensors
        found = backbone(plain)
        torch.autograd.backward(found.pooled.float().sum() + found.tokens.float().sum())
    try:
        yield
    finally:
        backbone.zero_grad(set_to_none=True)


def run_through(backbone: Backbone, inputs: Inputs, parameters: list[nn.Parameter]) -> list[bool]:
    """Whether each of these parameters has a part in the features."""
    with backward(backbone, inputs):
        return [parameter.grad is not None for parameter in parameters]
