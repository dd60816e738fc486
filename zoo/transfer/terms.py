"""What a strategy adds to the loss, and what it does once training is over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.data.batches import Batch
from zoo.data.types import Examples, Task
from zoo.models.features import Features
from zoo.transfer.model import Model
from zoo.transfer.options import Training
from zoo.transfer.tasks import TargetScale


@dataclass(frozen=True)
class Seen:
    """One training batch as the loss sees it."""

    model: Model
    batch: Batch
    """On the device; its `rows` are indices into the training rows."""
    features: Features
    """Of the backbone, with their gradient."""
    outputs: Tensor
    """(B, K) float32, of the head."""
    step: int
    """Optimiser steps so far; with the seed the only source of randomness, so that a resumed run draws alike."""


class Term(nn.Module, ABC):
    """Something added to the loss.

    Its parameters are trained at the rate of the head; with its buffers they are part of every checkpoint, and they
    are dropped when the run ends.
    """

    compares: ClassVar[bool] = False
    """Whether it sets the rows of a batch beside each other, so that it needs all of them in one process."""

    @abstractmethod
    def forward(self, seen: Seen) -> Tensor:
        """A scalar, weighted as it shall count."""


@dataclass(frozen=True)
class Setting:
    """What terms are built from, when training is about to begin."""

    model: Model
    train: Examples
    """The rows that are trained on."""
    task: Task
    scale: TargetScale | None
    """Of regression targets; the head answers in its units."""
    training: Training
    device: torch.device
    steps: int
    """Of the whole run."""
    unlabelled: Examples | None
    """Rows of the target without labels, if any were given."""
    features: Callable[[Examples, str], NDArray[np.float32]]
    """(N, D) frozen pooled features of rows, cached; the text says what for, and a progress bar shows it."""
    say: Callable[[str], None]


@runtime_checkable
class Guided(Protocol):
    """A strategy, or a distillation, that adds terms to the loss."""

    @property
    def task_weight(self) -> float:
        """Of the task's own loss beside the terms; 1 as a rule."""

    def terms(self, setting: Setting) -> tuple[Term, ...]:
        """The terms of one run; their parameters are drawn from the seed of the run."""


@dataclass(frozen=True)
class Ended:
    """A model whose training is over."""

    model: Model
    start: Mapping[str, Tensor]
    """Everything that training could change, as it was before the first step, by name in the model's state."""


@runtime_checkable
class Finishing(Protocol):
    """A strategy that changes the weights once training is over."""

    def finish(self, ended: Ended) -> str:
        """Change the model; what was done, in one sentence."""
