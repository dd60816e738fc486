"""The frozen leading stages of a backbone, and how little of what they return the stages above them need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.catalog.spec import Modality
from zoo.models.backbone import Backbone, Inputs, Stage
from zoo.models.features import Features
from zoo.transfer.model import Model
from zoo.transfer.stubs import Calls, Ghost, copied, embodied, ghosted, recording, standing_in

Kept = dict[Modality, dict[str, Tensor | Ghost]]
"""Inputs of a batch, or what stands for them."""
FIELDS = (("pooled",), ("tokens",), ("maps",), ("pooled", "tokens"), ("pooled", "tokens", "maps"))
"""What a head may read of features, the smallest first."""


@dataclass(frozen=True)
class Prefix:
    """Stages whose outputs depend on the input alone as long as the phase lasts."""

    stages: tuple[Stage, ...]
    """The leading ones of every branch."""
    whole: bool
    """Whether these are all."""
    deep: bool
    """Whether they are more than the first of several: what a lone stem costs is not worth keeping."""

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """Theirs, in run order."""
        return tuple(module for stage in self.stages for module in stage.modules)

    @property
    def tops(self) -> tuple[str, ...]:
        """The highest of each branch."""
        return tuple({stage.branch: stage.name for stage in self.stages}.values())

    def __str__(self) -> str:
        return "the backbone" if self.whole else f"frozen up to {' and '.join(self.tops)}"


def frozen_prefix(backbone: Backbone) -> Prefix:
    """The leading stages that have no parameter to train and are in eval mode, while the backbone is in training mode.

    Args:
        backbone: after `freeze_except`, with everything inserted that a strategy inserts.
    """
    branches: dict[str, list[Stage]] = {}
    for stage in backbone.stages():
        branches.setdefault(stage.branch, []).append(stage)
    found: list[Stage] = []
    whole, deep = True, False
    for stages in branches.values():
        count = next((i for i, stage in enumerate(stages) if not _still(stage)), len(stages))
        found += stages[:count]
        whole = whole and count == len(stages)
        deep = deep or count > 1 or (count == 1 == len(stages))
    return Prefix(tuple(found), whole and bool(found), deep)


def _still(stage: Stage) -> bool:
    if any(parameter.requires_grad for parameter in stage.parameters()):
        return False
    return not any(module.training for top in stage.modules for module in top.modules())


@dataclass(frozen=True)
class Needs:
    """What of a prefix must be kept so that the features come out bit for bit as they did."""

    calls: Mapping[int, int]
    """How often each of the prefix's modules, by its index, is called and can be answered for."""
    modules: frozenset[int]
    """Those whose outputs are read."""
    inputs: frozenset[tuple[Modality, str]]
    """Tensors of numbers among the inputs that are read; masks and ids are kept in any case."""

    def taken(self, calls: Calls) -> Calls | None:
        """What is kept of what was recorded; None: the modules were called in another way than they were tried."""
        mine = {index: each for index, each in calls.items() if index in self.calls}
        return mine if {index: len(each) for index, each in mine.items()} == self.calls else None

    def inputs_of(self, inputs: Inputs) -> Kept:
        """What is kept of a batch's inputs."""
        return {
            modality: {
                key: copied(tensor) if (modality, key) in self.inputs else ghosted(tensor)
                for key, tensor in tensors.items()
            }
            for modality, tensors in inputs.items()
        }


def needs_of(model: Model, prefix: Prefix, inputs: Inputs) -> Needs | None:
    """The least that suffices on this batch, found by trying; None: not even everything does.

    The last output of every branch is tried first. Between the recording and each trial the backbone sees another
    batch, so that nothing it keeps on the side can pass for replayed. The model keeps its mode and its state.
    """
    modules = prefix.modules
    with _quiet(model):
        calls: Calls = {}
        with recording(modules, None, calls):
            truth = copied(model.features(inputs))
        numbers = [(m, key) for m, tensors in inputs.items() for key, value in tensors.items() if _is_ghostly(value)]
        last, times = _last_of_each(prefix, calls), {index: len(each) for index, each in calls.items()}
        with torch.no_grad():

            def suffices(kept: frozenset[int], read: frozenset[tuple[Modality, str]]) -> bool:
                return _same(truth, _tried(model, modules, calls, Needs(times, kept, read), inputs))

            none: frozenset[tuple[Modality, str]] = frozenset()
            if suffices(last, none):
                return Needs(times, last, none)
            kept, read = frozenset(calls), frozenset(numbers)
            if not calls or not suffices(kept, read):
                return None
            for number in numbers:
                read = read - {number} if suffices(kept, read - {number}) else read
            for index in sorted(calls):
                kept = kept - {index} if suffices(kept - {index}, read) else kept
            return Needs(times, kept, read)


def fields_of(model: Model, features: Features) -> tuple[str, ...]:
    """The fields of features that the head reads, found by trying."""
    with _quiet(model), torch.no_grad():
        truth = model.head(features)
        for names in FIELDS:
            with suppress(Exception):  # whatever a head does to values that are not there
                if torch.equal(truth, model.head(embodied(reduced(features, names)))):
                    return names
    return FIELDS[-1]


def reduced(features: Features, names: tuple[str, ...]) -> Features:
    """A copy that keeps these fields, masks and sizes."""
    mine = {
        name: (copied if name in names else ghosted)(getattr(features, name)) for name in ("pooled", "tokens", "maps")
    }
    return Features(**mine, mask=copied(features.mask), grid=features.grid, size=features.size)


def _last_of_each(prefix: Prefix, calls: Calls) -> frozenset[int]:
    """The last module of every branch that was called and says the same again."""
    found: dict[str, int] = {}
    index = 0
    for stage in prefix.stages:
        for _ in stage.modules:
            if index in calls:
                found[stage.branch] = index
            index += 1
    return frozenset(found.values())


def _tried(model: Model, modules: tuple[nn.Module, ...], calls: Calls, needs: Needs, inputs: Inputs) -> Features | None:
    """The features with only this much kept; None if nothing comes out."""
    with suppress(Exception):  # whatever a network does to another batch, or to values that are not there
        model.features(_other(inputs))
    less = {index: [(copied if index in needs.modules else ghosted)(o) for o in each] for index, each in calls.items()}
    try:
        with standing_in(modules, less):
            return model.features(embodied(needs.inputs_of(inputs)))
    except Exception:  # noqa: BLE001  (the same)
        return None


def _other(inputs: Inputs) -> Inputs:
    """The first row alone, of texts without the last position."""
    found: dict[Modality, dict[str, Tensor]] = {}
    for modality, tensors in inputs.items():
        mask = tensors.get("mask")
        length = mask.shape[1] if mask is not None and mask.ndim == 2 else None
        found[modality] = {
            key: value[:1, : max(length - 1, 1)]
            if length and value.ndim > 1 and value.shape[1] == length
            else value[:1]
            for key, value in tensors.items()
        }
    return found


def _same(truth: Features, found: Features | None) -> bool:
    if found is None or len(truth.maps) != len(found.maps) or truth.grid != found.grid:
        return False
    if (truth.mask is None) != (found.mask is None):
        return False
    pairs = [(truth.pooled, found.pooled), (truth.tokens, found.tokens), *zip(truth.maps, found.maps, strict=True)]
    if truth.mask is not None and found.mask is not None:
        pairs.append((truth.mask, found.mask))
    return all(torch.equal(a, b) for a, b in pairs)


def _is_ghostly(tensor: Tensor) -> bool:
    return isinstance(ghosted(tensor), Ghost)


@contextmanager
def _quiet(model: Model) -> Iterator[None]:
    """In eval mode, with the random state of the caller kept."""
    devices = [p.device for p in model.parameters() if p.device.type == "cuda"][:1]
    modes: list[tuple[Callable[[bool], object], bool]] = [
        (model.train, model.training),
        (model.backbone.train, model.backbone.training),
        (model.head.train, model.head.training),
    ]
    with torch.random.fork_rng(devices=devices):
        model.eval()
        try:
            yield
        finally:
            for train, mode in modes:
                train(mode)
