"""Frozen stages computed once: batches that come again bring what the stages below the trained ones said of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.data.batches import Batch, Loader, Place
from zoo.models.backbone import Inputs
from zoo.models.features import Features
from zoo.models.heads import LossHead
from zoo.transfer.model import Model
from zoo.transfer.options import Training
from zoo.transfer.prefix import FIELDS, Needs, Prefix, fields_of, frozen_prefix, needs_of, reduced
from zoo.transfer.store import Store, room_for
from zoo.transfer.strategies import Phase
from zoo.transfer.stubs import Calls, UnkeepableError, copied, embodied, recording, standing_in

JUDGED = -1
"""The view that rows judged after each epoch have for themselves."""


@dataclass(frozen=True)
class Repeats:
    """What comes again in a phase."""

    prefix: Prefix
    views: int
    """Epochs after which the same batches come again."""


def repeats(model: Model, phase: Phase, training: Training, *, epochs: int, draws: bool, mixed: bool) -> Repeats | None:
    """What the table of a phase lets be computed once; None: nothing that would come again.

    Decided by the plan alone and not by memory: batches then are the same ones whether they are replayed or not.

    Args:
        model: with what the strategy inserts.
        phase: its table.
        training: `views` is how many versions of augmented inputs there are.
        epochs: of the phase.
        draws: whether inputs are augmented by chance.
        mixed: whether rows are mixed before the backbone sees them.
    """
    prefix = frozen_prefix(model, phase)
    views = training.views if draws else 1
    if mixed or views is None or not prefix.deep or epochs <= views:
        return None
    return Repeats(prefix, views)


class Replay:
    """The forward pass of one phase, from the lowest stage or from where training begins.

    Args:
        model: in training mode, frozen as the phase has it.
        repeats: what comes again; None: nothing is recorded or replayed.
        training: how much may be kept.
        device: of the model.
        folder: for what goes to disk; None: nothing does.
        end: number of the epoch after the last of this phase.
        whole_inputs: keep the inputs too, for terms in the loss that look at them.
    """

    def __init__(
        self,
        model: Model,
        repeats: Repeats | None,
        training: Training,
        device: torch.device,
        folder: Path | None,
        *,
        end: int,
        whole_inputs: bool,
    ) -> None:
        self.model = model
        self.repeats = repeats
        self.device = device
        self.end = end
        self.whole_inputs = whole_inputs
        self.needs: Needs | None = None
        self.fields: tuple[str, ...] | None = None
        self.store: Store | None = None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        if repeats is not None and training.replay == "auto":
            room = room_for(device, training.replay_memory, training.replay_disk, folder)
            self.store = Store(room, device, folder)
        self.rows: dict[Place, tuple[Tensor, int | None, bool]] = {}
        self.epoch = self.epochs = 0
        self.why_not = ""
        """Why nothing is replayed although it could have been."""

    @property
    def views(self) -> int | None:
        """For `Loader.epoch`."""
        return None if self.repeats is None else self.repeats.views

    def ready(self, loader: Loader) -> Callable[[Place], Batch | None]:
        """The batches of a loader that are known already, for `Loader.epoch`."""

        def known(place: Place) -> Batch | None:
            if self.store is None or place not in self.store:
                return None
            inputs, targets, recorded = self.store.get(place)
            rows, whole, idle = self.rows[place]
            return Batch(embodied(inputs), targets, rows, loader.processors, True, place, recorded, whole, idle)

        return known

    def begin(self, epoch: int) -> None:
        """Say the number of the epoch, over all phases: what will not come again is not kept."""
        self.epoch = epoch

    def features(self, batch: Batch, inputs: Inputs) -> Features:
        """What the head takes of one batch.

        Args:
            batch: on the device.
            inputs: its inputs, as the backbone wants them laid out.
        """
        if batch.recorded is not None:
            return self._replayed(batch.recorded, inputs)
        if self.store is None or not self._comes_again(batch) or not self._prepared(batch, inputs):
            return self.model.features(inputs)
        return self._recorded(batch, inputs, self.store)

    def close(self) -> None:
        """Forget everything, on disk too."""
        if self.store is not None:
            self.store.close()

    def news(self) -> str:
        """What was kept, once everything has been seen that comes again; empty before and after."""
        if self.repeats is None:
            return ""
        self.epochs += 1
        return str(self) if self.epochs == self.repeats.views else ""

    def __str__(self) -> str:
        """What was done, in one sentence; empty if there is nothing to say."""
        if self.repeats is None or self.store is None:
            return f"nothing is computed once: {self.why_not}" if self.why_not else ""
        count = self.store.refused
        left = f"; {count} {'batch' if count == 1 else 'batches'} found no room and are computed anew" if count else ""
        return f"{self.repeats.prefix} is computed once: {self.store}{left}"

    def _comes_again(self, batch: Batch) -> bool:
        if self.repeats is None or batch.place is None:
            return False
        return self.epoch + (1 if batch.place[0] == JUDGED else self.repeats.views) < self.end

    def _prepared(self, batch: Batch, inputs: Inputs) -> bool:
        """Whether it is known what has to be kept; found out on the first batch that is trained on."""
        assert self.repeats is not None
        assert batch.place is not None
        if self.repeats.prefix.whole or self.needs is not None:
            return True
        if batch.place[0] == JUDGED:
            return False
        try:
            self.needs = needs_of(self.model, self.repeats.prefix, inputs)
        except UnkeepableError as error:
            self._give_up(f"a frozen stage returns a {error}")
        if self.needs is None and self.store is not None:
            self._give_up("the trained stages need more than what the frozen ones return")
        return self.needs is not None

    def _give_up(self, why: str) -> None:
        self.why_not, self.store = why, None

    def _recorded(self, batch: Batch, inputs: Inputs, store: Store) -> Features:
        """The features of a batch that is computed, and kept where there is room."""
        assert self.repeats is not None
        assert batch.place is not None
        own: Any
        kept: Any = {}
        if self.repeats.prefix.whole:
            features = self.model.features(inputs)
            if self.fields is None:
                everything = self.whole_inputs or isinstance(self.model.head, LossHead)
                self.fields = FIELDS[-1] if everything else fields_of(self.model, features)
            own = reduced(features, self.fields)
        else:
            assert self.needs is not None
            calls: Calls = {}
            with recording(self.repeats.prefix.modules, self.needs.modules, calls):
                features = self.model.features(inputs)
            own, kept = self.needs.taken(calls), self.needs.inputs_of(batch.inputs)
        if self.whole_inputs and batch.place[0] != JUDGED:
            kept = copied(batch.inputs)
        if own is not None and store.keep(batch.place, (kept, batch.targets, own)):
            self.rows[batch.place] = batch.rows, batch.whole, batch.idle
        return features

    def _replayed(self, recorded: Any, inputs: Inputs) -> Features:
        assert self.repeats is not None
        if self.repeats.prefix.whole:
            return embodied(recorded)  # type: ignore[no-any-return]
        with standing_in(self.repeats.prefix.modules, recorded):
            return self.model.features(inputs)
