"""What a run will need before it starts: parameters, steps, memory, disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.models.backbone import Inputs
from zoo.transfer.model import Model
from zoo.transfer.strategies import Phase, rows_of


@dataclass(frozen=True)
class Estimate:
    """Counts and bytes; memory is an estimate, said as such."""

    params: int
    trained: int
    steps: int
    memory: int
    """Bytes while training: weights, gradients, optimiser state, and activations of one batch."""
    disk: int
    """Bytes of the finished run with two checkpoints."""


def estimate(
    model: Model, phases: Sequence[Phase], one: Inputs, *, backbone: int, batch_size: int, steps: int
) -> Estimate:
    """Measured on a forward pass of one example.

    Args:
        model: backbone and head.
        phases: of the strategy.
        one: a batch of one row.
        backbone: parameters of the backbone itself, without what a strategy inserted and will fold in.
        batch_size: rows a step.
        steps: of all phases.
    """
    stages = model.backbone.stages()
    rows = rows_of(stages)
    trained_stages = {name for phase in phases for name in phase.trained(rows)}
    head = sum(p.numel() for p in model.head.parameters() if p.requires_grad)
    inserted = sum(p.numel() for p in model.adapters)
    trained = head + inserted + sum(p.numel() for s in stages if s.name in trained_stages for p in s.parameters())
    params = backbone + sum(p.numel() for p in model.head.parameters())
    total, kept = _activations(model, one, {id(m) for s in stages if s.name in trained_stages for m in s.modules})
    activations = batch_size * (total if inserted else kept if trained_stages else total // 8)
    # float32: four bytes a weight; a trained one also has a gradient and two moments.
    return Estimate(
        params=params,
        trained=trained,
        steps=steps,
        memory=4 * (params + 3 * trained) + activations,
        disk=4 * params + 2 * 4 * 3 * trained,
    )


def _activations(model: nn.Module, one: Inputs, trained: set[int]) -> tuple[int, int]:
    """Bytes of all leaf outputs for one row, and of those inside trained stages (kept for the backward pass)."""
    inside = {id(m) for module in model.modules() if id(module) in trained for m in module.modules()}
    total = kept = 0

    def count(module: nn.Module, _: Any, out: Any) -> None:
        nonlocal total, kept
        if isinstance(out, Tensor):
            size = out.numel() * out.element_size()
            total += size
            kept += size if id(module) in inside else 0

    leaves = [m for m in model.modules() if not any(True for _ in m.children())]
    handles = [leaf.register_forward_hook(count) for leaf in leaves]
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            model(one)
    finally:
        for handle in handles:
            handle.remove()
        model.train(was_training)
    return total, kept
