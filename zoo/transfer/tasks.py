"""Losses and decisions of each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: Mapping[str, tuple[str, ...]] = {
    "binary": ("bce",),
    "multiclass": ("cross-entropy",),
    "multilabel": ("bce",),
    "regression": ("mse", "huber"),
    "segmentation": ("cross-entropy",),
    "tokens": ("cross-entropy",),
    "detection": ("detector",),
}
"""The losses that fit each task; the first is the default."""


def loss_for(task: Task, name: str | None = None, label_smoothing: float = 0.0) -> Loss:
    """Outputs (B, K) and targets to a scalar.

    Args:
        task: binary takes one logit and targets (B,) of 0 and 1; multiclass (B, K) and indices (B,);
            multilabel (B, K) and multi-hot (B, K); regression (B, K) numbers of both; segmentation (B, K, H, W)
            and (B, H, W) class numbers; tokens (B, T, K) and (B, T) indices; the heads of detection have their own.
        name: bce, cross-entropy, mse or huber; the task's own if None.
        label_smoothing: share of the target spread over the other classes (Szegedy et al. 2015,
            https://arxiv.org/abs/1512.00567, section 7).

    Raises:
        UsageError: a loss that does not fit the task.
    """
    fitting = LOSSES[task.kind]
    name = name or fitting[0]
    if name not in fitting:
        raise UsageError(f"--loss {name} does not fit a {task.kind} task", help=f"use {' or '.join(fitting)}")
    if label_smoothing and task.kind in ("regression", "detection"):
        raise UsageError(f"--label-smoothing is for classes, and this is {task.kind}", help="leave it out")
    if name == "detector":
        return _of_the_head
    if name == "bce":
        return lambda outputs, targets: _bce(outputs, targets, label_smoothing)
    if task.kind in DENSE:
        ignored = VOID if task.kind == "segmentation" else IGNORED
        return lambda outputs, targets: _dense(outputs, targets, ignored, label_smoothing)
    if name == "cross-entropy":
        return lambda outputs, targets: F.cross_entropy(outputs, targets, label_smoothing=label_smoothing)
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


def _dense(outputs: Tensor, targets: Tensor, ignored: int, label_smoothing: float) -> Tensor:
    """Mean over the pixels or tokens that are labelled; 0 where a batch has none."""
    logits = outputs if outputs.ndim == 4 else outputs.transpose(1, 2)  # (B, T, K) -> (B, K, T)
    wanted = targets.long()
    total = F.cross_entropy(logits, wanted, ignore_index=ignored, reduction="sum", label_smoothing=label_smoothing)
    return total / (wanted != ignored).sum().clamp(min=1)


def _of_the_head(outputs: Tensor, targets: Tensor) -> Tensor:
    raise AssertionError("the head of a detector has a loss of its own")


def _bce(outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    wanted = targets.to(outputs.dtype)
    if wanted.ndim == 1:
        wanted = wanted.unsqueeze(1)
    return F.binary_cross_entropy_with_logits(outputs, wanted * (1 - label_smoothing) + 0.5 * label_smoothing)
