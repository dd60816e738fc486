"""Losses and decisions of each task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.masks import VOID
from zoo.data.tags import IGNORED
from zoo.data.types import DENSE, Task
from zoo.errors import UsageError
from zoo.transfer import losses
from zoo.transfer.losses import Loss
from zoo.transfer.weighting import Weights

LOSSES: Mapping[str, tuple[str, ...]] = {
    "binary": ("bce", "focal"),
    "multiclass": ("cross-entropy", "focal"),
    "multilabel": ("bce", "focal"),
    "regression": ("mse", "huber"),
    "segmentation": ("cross-entropy",),
    "tokens": ("cross-entropy",),
    "detection": ("detector",),
    "pairs": ("head",),
}
"""The losses that fit each task; the first is the default."""


def loss_for(
    task: Task, name: str | None = None, label_smoothing: float = 0.0, class_weights: Weights | None = None
) -> Loss:
    """Outputs (B, K) and targets to a scalar.

    Args:
        task: binary takes one logit and targets (B,) of 0 and 1; multiclass (B, K) and indices (B,), or probabilities
            (B, K); multilabel (B, K) and multi-hot (B, K); regression (B, K) numbers of both; segmentation
            (B, K, H, W) and (B, H, W) class numbers; tokens (B, T, K) and (B, T) indices; the heads of detection have
            their own.
        name: bce, cross-entropy, focal, mse or huber; the task's own if None.
        label_smoothing: share of the target spread over the other classes (Szegedy et al. 2015,
            https://arxiv.org/abs/1512.00567, section 7).
        class_weights: (K,) of `zoo.transfer.weighting`.

    Raises:
        UsageError: a loss that does not fit the task.
    """
    fitting = LOSSES[task.kind]
    name = name or fitting[0]
    if name not in fitting:
        raise UsageError(f"--loss {name} does not fit a {task.kind} task", help=f"use {' or '.join(fitting)}")
    if label_smoothing and task.kind in ("regression", "detection", "pairs"):
        raise UsageError(f"--label-smoothing is for classes, and this is {task.kind}", help="leave it out")
    if name in ("detector", "head"):
        return _of_the_head
    if name == "focal":
        chosen = losses.focal if task.kind == "multiclass" else losses.binary_focal
        return chosen(label_smoothing, class_weights)
    if name == "bce":
        return losses.binary_cross_entropy(label_smoothing, class_weights)
    if task.kind in DENSE:
        ignored = VOID if task.kind == "segmentation" else IGNORED
        return losses.dense_cross_entropy(ignored, label_smoothing, class_weights)
    if name == "cross-entropy":
        return losses.cross_entropy(label_smoothing, class_weights)
    return F.mse_loss if name == "mse" else F.huber_loss


def probabilities(task: Task, outputs: Tensor) -> Tensor:
    """(N, K) class probabilities, two columns for binary; regression outputs as they are."""
    if task.kind == "binary":
        positive = outputs.sigmoid()
        return torch.cat([1 - positive, positive], dim=1)
    if task.kind == "multiclass":
        return outputs.softmax(1)
    return outputs.sigmoid() if task.kind == "multilabel" else outputs


@dataclass(frozen=True)
class TargetScale:
    """Mean and deviation of regression targets, so that a loss of 1 means the spread of the data."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, targets: NDArray[Any]) -> Self:
        """Of training targets (N, K); a constant column is left as it is."""
        wide = targets.astype(np.float64)
        # By the range: the mean of a constant column is rounded, and its deviation is then not quite 0.
        std = np.where(np.ptp(wide, axis=0) > 0, wide.std(0), 1.0)
        return cls(tuple(map(float, wide.mean(0))), tuple(map(float, std)))

    def apply(self, targets: Tensor) -> Tensor:
        """Targets in units of their deviation."""
        return (targets - targets.new_tensor(self.mean)) / targets.new_tensor(self.std)

    def undo(self, outputs: Tensor) -> Tensor:
        """Outputs in the units of the data."""
        return outputs * outputs.new_tensor(self.std) + outputs.new_tensor(self.mean)

    def to_json(self) -> dict[str, list[float]]:
        """Plain values."""
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(tuple(value["mean"]), tuple(value["std"]))


def _of_the_head(outputs: Tensor, targets: Tensor) -> Tensor:
    raise AssertionError("this head has a loss of its own")
