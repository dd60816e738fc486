"""What answers can be made from: a model with its task, its processors and its device."""

from __future__ import annotations

from typing import Protocol

import torch

from zoo.catalog.spec import Modality
from zoo.data.types import Task
from zoo.models.backbone import Processor
from zoo.transfer.model import Model


class Predictor(Protocol):
    """A trained model as those that make its answers see it."""

    @property
    def model(self) -> Model:
        """Backbone and head."""

    @property
    def task(self) -> Task:
        """What is predicted."""

    @property
    def device(self) -> torch.device:
        """Where the model is."""

    def processors(self) -> dict[Modality, Processor]:
        """One processor for each modality."""
