"""What wrong answers cost: outputs and targets to a scalar, with classes that count differently."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.transfer.weighting import Weights

Loss = Callable[[Tensor, Tensor], Tensor]

GAMMA = 2.0
"""How fast the focal loss forgets rows that are right; the value of its paper."""


def cross_entropy(label_smoothing: float = 0.0, weights: Weights | None = None) -> Loss:
    """Of (B, K) logits with class indices (B,), or with probabilities (B, K) as mixed rows have them.

    The mean over rows, each weighted by its class. `torch.nn.CrossEntropyLoss` divides by the sum of the weights
    instead, which makes a step on few rows depend on which of them came together.
    """

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        if weights is None:
            return F.cross_entropy(outputs, targets, label_smoothing=label_smoothing)
        total = F.cross_entropy(
            outputs, targets, weight=_like(weights, outputs), label_smoothing=label_smoothing, reduction="sum"
        )
        return total / len(outputs)

    return loss


def dense_cross_entropy(ignored: int, label_smoothing: float = 0.0, weights: Weights | None = None) -> Loss:
    """Of (B, K, H, W) pixels or (B, T, K) tokens: the mean over those that are labelled, 0 where a batch has none."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        logits = outputs if outputs.ndim == 4 else outputs.transpose(1, 2)  # (B, T, K) -> (B, K, T)
        wanted = targets.long()
        total = F.cross_entropy(
            logits,
            wanted,
            weight=None if weights is None else _like(weights, outputs),
            ignore_index=ignored,
            reduction="sum",
            label_smoothing=label_smoothing,
        )
        return total / (wanted != ignored).sum().clamp(min=1)

    return loss


def binary_cross_entropy(label_smoothing: float = 0.0, weights: Weights | None = None) -> Loss:
    """Of (B, 1) logits with targets (B,), or (B, K) of labels; targets may lie between 0 and 1."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        wanted = _columns(outputs, targets, label_smoothing)
        if weights is None:
            return F.binary_cross_entropy_with_logits(outputs, wanted)
        negative, positive = _sides(weights, outputs)
        cost = positive * wanted * F.logsigmoid(outputs) + negative * (1 - wanted) * F.logsigmoid(-outputs)
        return -cost.mean()

    return loss


def focal(label_smoothing: float = 0.0, weights: Weights | None = None) -> Loss:
    """Cross-entropy of (B, K) logits in which an answer that is right with p counts (1 - p)^2 as much.

    Lin et al. 2017, https://arxiv.org/abs/1708.02002; their factor alpha is what class weights are here.
    """

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        wanted = targets if targets.is_floating_point() else F.one_hot(targets, outputs.shape[1]).to(outputs.dtype)
        wanted = wanted * (1 - label_smoothing) + label_smoothing / outputs.shape[1]
        logs = outputs.log_softmax(1)
        cost = wanted * (1 - logs.exp()) ** GAMMA * logs
        return -(cost if weights is None else cost * _like(weights, outputs)).sum(1).mean()

    return loss


def binary_focal(label_smoothing: float = 0.0, weights: Weights | None = None) -> Loss:
    """The same of a logit for each label, (B, K) with targets (B, K), or (B, 1) with targets (B,)."""
    from torchvision.ops import sigmoid_focal_loss

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        wanted = _columns(outputs, targets, label_smoothing)
        cost: Tensor = sigmoid_focal_loss(outputs, wanted, alpha=-1, gamma=GAMMA)  # alpha -1: none
        if weights is None:
            return cost.mean()
        negative, positive = _sides(weights, outputs)
        return (cost * (positive * wanted + negative * (1 - wanted))).mean()

    return loss


def _columns(outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    wanted = targets.to(outputs.dtype)
    if wanted.ndim == 1:
        wanted = wanted.unsqueeze(1)
    return wanted * (1 - label_smoothing) + 0.5 * label_smoothing


def _sides(weights: Weights, outputs: Tensor) -> tuple[Tensor | float, Tensor]:
    """What rows without and with a label count: of two classes one each, of several labels 1 and the label's own."""
    found = _like(weights, outputs)
    return (found[0], found[1]) if outputs.shape[1] == 1 and len(weights) == 2 else (1.0, found)


def _like(weights: Weights, outputs: Tensor) -> Tensor:
    return torch.as_tensor(weights, dtype=outputs.dtype, device=outputs.device)
