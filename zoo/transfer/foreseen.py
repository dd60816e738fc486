"""What a plan says of frozen stages before the first step: whether they are computed once, and how much is kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from zoo.models.backbone import Inputs
from zoo.models.heads import LossHead
from zoo.transfer.model import Model
from zoo.transfer.options import Training
from zoo.transfer.prefix import FIELDS, Prefix, fields_of, frozen_prefix, last_of_each, quiet, reduced
from zoo.transfer.replay import repeats
from zoo.transfer.store import size
from zoo.transfer.strategies import Phase
from zoo.transfer.stubs import Calls, UnkeepableError, recording, tensors_in


def foreseen(
    model: Model,
    phases: Sequence[Phase],
    epochs: Sequence[int],
    training: Training,
    one: Inputs,
    *,
    rows: int,
    judged: int,
    draws: bool,
    mixed: bool,
) -> tuple[str, ...]:
    """One sentence for each phase that has something to say.

    Args:
        model: with what the strategy inserts.
        phases: those that take steps.
        epochs: of each.
        training: as it was asked for.
        one: a batch of one row.
        rows: that are trained on.
        judged: rows that are judged after each epoch.
        draws: whether inputs are augmented by chance.
        mixed: whether rows are mixed before the backbone sees them.
    """
    said = []
    for phase, count in zip(phases, epochs, strict=True):
        text = _phase(model, phase, count, training, one, (rows, judged), draws, mixed)
        said.append(f"{phase.name}: {text}" if text and len(phases) > 1 else text)
    views = training.views
    if views is not None and not draws:
        said.append(f"--views {views} changes nothing, as no image is augmented")
    elif views is not None and not any(frozen_prefix(model, phase).deep for phase in phases):
        said.append(f"--views {views} changes nothing, as no leading stages are frozen")
    return tuple(each for each in said if each)


def _phase(
    model: Model,
    phase: Phase,
    epochs: int,
    training: Training,
    one: Inputs,
    rows: tuple[int, int],
    draws: bool,
    mixed: bool,
) -> str:
    found = repeats(model, phase, training, epochs=epochs, draws=draws, mixed=mixed)
    if found is not None:
        views = f" for each of {found.views} views" if found.views > 1 else ""
        if training.replay == "off":
            return f"{found.prefix} is computed anew in every epoch, as asked"
        kept = size((rows[0] * found.views + rows[1]) * _bytes(model, found.prefix, one))
        return f"{found.prefix} is computed once{views} and replayed: about {kept}"
    prefix = frozen_prefix(model, phase)
    if not prefix.deep or epochs < 2:
        return ""
    if mixed:
        return f"{prefix} is computed anew in every epoch, as its images are mixed"
    if training.views is None:
        return f"{prefix} is computed anew in every epoch, as images are augmented; with --views 2 it is for two alone"
    return f"--views {training.views} changes nothing in {epochs} epochs"


def _bytes(model: Model, prefix: Prefix, one: Inputs) -> int:
    """What is kept of one row, as far as one forward pass tells."""
    calls: Calls = {}
    with quiet(model), torch.no_grad():
        if prefix.whole:
            features = model.features(one)
            names = FIELDS[-1] if isinstance(model.head, LossHead) else fields_of(model, features)
            kept = tensors_in(reduced(features, names))
        else:
            try:
                with recording(prefix.modules, None, calls):
                    model.features(one)
            except UnkeepableError:
                return 0
            kept = [tensor for index in last_of_each(prefix, calls) for tensor in tensors_in(calls[index])]
    return sum(tensor.numel() * tensor.element_size() for tensor in kept)
