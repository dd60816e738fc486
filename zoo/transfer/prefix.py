"""The frozen leading stages of a backbone, and how little of what they return the stages above them need."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.catalog.spec import Modality
from zoo.models.backbone import Inputs, Stage
from zoo.models.features import Features
from zoo.transfer.model import Model
from zoo.transfer.strategies import ADAPTERS, Phase, rows_of
from zoo.transfer.stubs import Calls, Ghost, copied, embodied, ghosted, recording, standing_in

Number = tuple[Modality, str]
"""A tensor of numbers among the inputs."""
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
        """For people: "everything up to layer3"."""
        return "the backbone" if self.whole else f"everything up to {' and '.join(self.tops)}"


def frozen_prefix(model: Model, phase: Phase) -> Prefix:
    """The leading stages of every branch in which a phase trains nothing, neither own parameters nor inserted ones."""
    stages = model.backbone.stages()
    trained = set(phase.trained(rows_of(stages)))
    inserted = {id(parameter) for parameter in model.adapters} if phase.lr.get(ADAPTERS, 0.0) > 0 else set()
    branches: dict[str, list[Stage]] = {}
    for stage in stages:
        branches.setdefault(stage.branch, []).append(stage)

    def moves(stage: Stage) -> bool:
        return stage.name in trained or any(id(parameter) in inserted for parameter in stage.parameters())

    found: list[Stage] = []
    whole, deep = True, False
    for each in branches.values():
        count = next((place for place, stage in enumerate(each) if moves(stage)), len(each))
        found += each[:count]
        whole = whole and count == len(each)
        deep = deep or count > 1 or count == len(each)
    return Prefix(tuple(found), whole, deep)


@dataclass(frozen=True)
class Needs:
    """What of a prefix must be kept so that the features come out bit for bit as they did."""

    called: frozenset[int]
    """Index of each of the prefix's modules that is called and can be answered for."""
    modules: frozenset[int]
    """Those whose outputs are read."""
    inputs: frozenset[Number]
    """Tensors of numbers among the inputs that are read; masks and ids are kept in any case."""

    def taken(self, calls: Calls) -> Calls | None:
        """What is kept of what was recorded; None: not the same modules were called as when they were tried."""
        mine = {index: each for index, each in calls.items() if index in self.called}
        return mine if mine.keys() == self.called else None

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
    modules, calls = prefix.modules, Calls()
    # With gradients, as in training: attention takes other kernels without.
    with quiet(model), torch.enable_grad():
        with recording(modules, None, calls):
            truth = copied(model.features(inputs))
        called = frozenset(calls)

        def suffices(kept: frozenset[int], read: frozenset[Number]) -> bool:
            return _same(truth, _tried(model, modules, calls, Needs(called, kept, read), inputs))

        last = last_of_each(prefix, calls)
        if suffices(last, frozenset()):
            return Needs(called, last, frozenset())
        kept = called
        read = frozenset(
            (m, key) for m, each in inputs.items() for key in each if isinstance(ghosted(each[key]), Ghost)
        )
        if not calls or not suffices(kept, read):
            return None
        for number in sorted(read):
            read = read - {number} if suffices(kept, read - {number}) else read
        for index in sorted(calls):
            kept = kept - {index} if suffices(kept - {index}, read) else kept
        return Needs(called, kept, read)


def fields_of(model: Model, features: Features) -> tuple[str, ...]:
    """The fields of features that the head reads, found by trying."""
    with quiet(model), torch.no_grad():
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


def last_of_each(prefix: Prefix, calls: Calls) -> frozenset[int]:
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
        with standing_in(modules, less), warnings.catch_warnings():
            # What is changed in place has to be there.
            warnings.filterwarnings("error", message=".*on expanded tensors")
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


@contextmanager
def quiet(model: Model) -> Iterator[None]:
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
