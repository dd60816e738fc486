"""A backbone under test: how it is built, and what it gives for made inputs."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.catalog.catalog import Catalog
from zoo.catalog.discovery import default_catalog
from zoo.catalog.names import Selection
from zoo.catalog.spec import BackboneSpec, ImagePreprocess, LoadRequest, Modality
from zoo.errors import UsageError
from zoo.models.backbone import Backbone, Inputs, Processor
from zoo.models.features import Features
from zoo.models.load import build, build_request
from zoo.testing.report import Broken, Inapplicable
from zoo.testing.samples import samples

CLOSE = 1e-4
"""Largest difference, relative to the largest value, between two ways to compute the same float32 features.

Rounding reached 4e-5 in a deep random network; the faults that are looked for measure 1e-2 and more.
"""


class BackboneSubject:
    """One backbone, built as a user would have it built.

    Args:
        given: a name, a specification, or a backbone that is built already.
        catalog: where a name is looked up; the installed plugins by default.
        weights: "random" needs nothing but the factory; a tag or file as in `zoo.load`; None the default weights.
        image_size: pixels of the shorter side, for a convolutional network that takes any: checks at 64 are quick.
    """

    def __init__(
        self,
        given: str | BackboneSpec | Backbone,
        *,
        catalog: Catalog | None = None,
        weights: str | None = "random",
        image_size: int | None = None,
    ) -> None:
        self.given: Backbone | None = None
        self.selection: Selection | None = None
        if isinstance(given, Backbone):
            self.given, self.spec, self.name = given, given.spec, given.name or type(given).__name__
            return
        self.selection = _selection(given, catalog, weights)
        if image_size is not None:
            self.selection = dataclasses.replace(self.selection, spec=_resized(self.selection.spec, image_size))
        self.spec, self.name = self.selection.spec, self.selection.name

    def build(self, seed: int = 0) -> Backbone:
        """As the factory makes it.

        Raises:
            Inapplicable: the backbone came built.
        """
        if self.selection is None:
            raise Inapplicable("it was given as an object, so its factory is not known")
        return build(self.selection, seed=seed)

    def rebuilt(self, assets: Path) -> Backbone:
        """The blank architecture, as a finished run has it built from what `save_assets` wrote there."""
        if self.selection is None:
            raise Inapplicable("it was given as an object, so its factory is not known")
        found = self.backbone
        spec = dataclasses.replace(self.spec, preprocess=self.spec.preprocess_for(found.weights), weights=())
        request = LoadRequest(spec, None, found.modalities, offline=True, assets=assets if assets.is_dir() else None)
        return build_request(request, seed=1)

    @functools.cached_property
    def original(self) -> Backbone:
        """As built; nobody changes it."""
        return (self.given if self.given is not None else self.build()).eval()

    @functools.cached_property
    def backbone(self) -> Backbone:
        """A copy in which no parameter is zero and running statistics are those of data.

        Fresh networks hide their faults: a gate or a last layer at zero makes all that comes before it invisible, and
        batch norm that has seen nothing lets the signal die out.
        """
        woken = self.fresh()
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in woken.parameters():
                if parameter.is_floating_point() and not parameter.any():
                    scale = 0.5 if parameter.numel() == 1 else 0.05
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
        norms = [m for m in woken.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
        if norms:
            self._calibrate(woken, norms)
        return woken

    def _calibrate(self, woken: Backbone, norms: list[nn.modules.batchnorm._BatchNorm]) -> None:
        momenta = [norm.momentum for norm in norms]
        batch = {m: _tensors(woken.processor(m), samples(m)) for m in woken.modalities}
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain average
            norm.train()
        with torch.no_grad():
            woken(batch)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            assert norm.running_var is not None
            # A channel that hardly varies would have rounding blown up into a signal.
            norm.running_var.clamp_(min=float(norm.running_var.median()) / 10 + 1e-4)
        woken.eval()

    def fresh(self, of: Backbone | None = None) -> Backbone:
        """A copy that may be changed."""
        found = copy.deepcopy(of if of is not None else self.original)
        found.requires_grad_(True)
        found._trainable = None
        return found.eval()

    @functools.cached_property
    def processors(self) -> dict[Modality, Processor]:
        """One for each modality."""
        return {modality: self.backbone.processor(modality) for modality in self.backbone.modalities}

    def finished(self, modality: Modality, values: Sequence[Any]) -> dict[str, Tensor]:
        """What the backbone takes."""
        return _tensors(self.processors[modality], values)

    def batch(self, rows: int = 8, values: Mapping[Modality, Sequence[Any]] | None = None) -> Inputs:
        """A batch of made inputs of every modality."""
        given = values or {}
        return {m: self.finished(m, given.get(m, samples(m, rows))) for m in self.backbone.modalities}

    def run(self, batch: Inputs, backbone: Backbone | None = None, *, grad: bool = False) -> Features:
        """Features of a batch.

        Raises:
            Broken: it returned something else.
        """
        context: AbstractContextManager[Any] = nullcontext() if grad else torch.no_grad()
        with context:
            found = (backbone if backbone is not None else self.backbone)(batch)
        if not isinstance(found, Features):
            raise Broken(f"forward returned a {type(found).__name__}, not Features")
        return found

    @functools.cached_property
    def plain(self) -> Features:
        """Features of the batch of eight, which several laws hold others against; nobody changes them."""
        return self.run(self.batch())

    def trained_stages(self) -> list[str]:
        """Names of the stages that hold parameters.

        Raises:
            Inapplicable: none does.
        """
        names = [s.name for s in self.backbone.stages() if any(p.numel() for p in s.parameters())]
        if not names:
            raise Inapplicable("it has no parameters")
        return names


def slice_rows(batch: Inputs, rows: Sequence[int]) -> Inputs:
    """These rows of a batch, in this order."""
    index = torch.tensor(list(rows))
    return {m: {key: value[index] for key, value in tensors.items()} for m, tensors in batch.items()}


def distance(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference relative to the largest absolute value; infinite where shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    if not a.numel():
        return 0.0
    a, b = a.detach().float(), b.detach().float()
    return float((a - b).abs().max() / max(float(b.abs().max()), 1e-12))


def real_tokens(features: Features) -> list[Tensor]:
    """The real tokens (T_i, D') of each row."""
    if features.mask is None:
        return list(features.tokens)
    return [tokens[mask] for tokens, mask in zip(features.tokens, features.mask, strict=True)]


def token_distance(a: Features, b: Features) -> float:
    """`distance` of the real tokens, row by row."""
    pairs = zip(real_tokens(a), real_tokens(b), strict=True)
    return max((distance(one, other) for one, other in pairs), default=0.0)


def _tensors(processor: Processor, values: Sequence[Any]) -> dict[str, Tensor]:
    return processor.finish(processor.collate([processor(value) for value in values]))


def _selection(given: str | BackboneSpec, catalog: Catalog | None, weights: str | None) -> Selection:
    if isinstance(given, BackboneSpec):
        if weights not in (None, "random"):
            raise UsageError(f"weights '{weights}' were asked for a specification", help="give its name instead")
        chosen = given.weights[0] if weights is None and given.weights else None
        return Selection(given.name, given, chosen, given.modalities)
    catalog = catalog or default_catalog()
    if weights == "random" and "@" in given.rpartition("/")[2]:
        weights = None  # the name says it itself
    found = catalog.select(given, weights=weights)
    if len(found) > 1:
        raise UsageError(f"'{given}' is a fusion of {len(found)} backbones", help="check each by itself")
    return found[0]


def _resized(spec: BackboneSpec, size: int) -> BackboneSpec:
    """The specification with smaller pictures."""

    def smaller(value: Any) -> Any:
        if not isinstance(value, ImagePreprocess):
            return value
        return dataclasses.replace(value, size=(size, size), resize=None)

    changed = {modality: smaller(value) for modality, value in spec.preprocess_for(None).items()}
    weights = tuple(
        dataclasses.replace(each, preprocess={m: smaller(value) for m, value in each.preprocess.items()})
        for each in spec.weights
    )
    return dataclasses.replace(spec, preprocess=changed, weights=weights, image_size=size)
