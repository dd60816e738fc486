"""From a training batch to its loss: the part of a step that several processes share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo.data.batches import Batch
from zoo.models.backbone import Inputs
from zoo.models.features import Features
from zoo.models.heads import LossHead
from zoo.transfer.compiling import Compiled
from zoo.transfer.devices import channels_last
from zoo.transfer.model import Model
from zoo.transfer.replay import Replay
from zoo.transfer.shared_norms import SharedNorms
from zoo.transfer.terms import Seen

if TYPE_CHECKING:
    from zoo.transfer.loop import Job


class Forward(nn.Module):
    """The loss of a batch: that of the task, and what is added to it.

    Args:
        job: what is trained.
        model: its model, on the device.
        terms: of the loss, likewise.
        autocast: the precision to compute in.
        channels_last: whether the model has images so.
    """

    replay: Replay
    """Of the phase; set when it begins."""
    compiled: Compiled | None = None
    """Likewise, where the backbone is compiled."""

    def __init__(
        self,
        job: Job,
        model: Model,
        terms: nn.ModuleList,
        autocast: Callable[[], AbstractContextManager[None]],
        *,
        channels_last: bool,
    ) -> None:
        super().__init__()
        self.job, self.model, self.terms = job, model, terms
        self.autocast = autocast
        self.channels_last = channels_last

    def forward(self, batch: Batch, step: int) -> Tensor:
        """A scalar, the mean over the rows of the batch that are here.

        Args:
            batch: on the device.
            step: optimiser steps so far.
        """
        with self._norms(batch):
            return self._loss(batch, step)

    def _loss(self, batch: Batch, step: int) -> Tensor:
        job = self.job
        if job.mix is not None:
            batch = job.mix(batch, step)
        assert batch.targets is not None
        head = job.model.head
        with self.autocast():
            features = self._features(batch)
            if isinstance(head, LossHead) and not job.terms:
                return head.loss(features, batch.targets)
            if job.blend is not None:
                features, batch = job.blend(features, batch, step)
            outputs = head(features).float()
            seen = Seen(job.model, batch, features, outputs, step)
            added = [term(seen).float() for term in self.terms]
        assert batch.targets is not None
        weight = job.task_weight
        total = weight * job.loss(outputs, batch.targets) if weight else torch.zeros((), device=outputs.device)
        return total + torch.stack(added).sum() if added else total

    def _features(self, batch: Batch) -> Features:
        inputs = self._inputs(batch)
        return self.replay.features(batch, inputs) if self.compiled is None else self.compiled(inputs)

    def _inputs(self, batch: Batch) -> Inputs:
        return channels_last(batch.inputs) if self.channels_last else batch.inputs

    def _norms(self, batch: Batch) -> AbstractContextManager[object]:
        return nullcontext() if self.job.team.size == 1 else SharedNorms(counts=not batch.idle)
