"""From a specification of a changed backbone to the backbone: its first stages, other channels, another size."""

from __future__ import annotations

from dataclasses import replace

from zoo.catalog.factories import import_factory
from zoo.catalog.spec import LoadRequest
from zoo.catalog.structure import FACTORY, Structure, inner_of, options_of
from zoo.errors import PluginError, UsageError, WeightsError
from zoo.models.backbone import Backbone
from zoo.models.fusion import Fused
from zoo.models.truncate import Truncated


def build(request: LoadRequest) -> Backbone:
    """The backbone that a changed specification names.

    Raises:
        UsageError: a change that this backbone does not take.
    """
    structure = Structure.of(request.spec)
    spec = inner_of(replace(request.spec, preprocess=request.preprocess))
    if spec.factory == "zoo.models.wrap:wrap":
        raise WeightsError(
            "the backbone was wrapped from a module in Python, which a run cannot rebuild",
            help="pass backbone=zoo.wrap(...) again, or offer it as local:file.py:function",
        )
    weights = None if request.weights is None else replace(request.weights, preprocess={})
    inner = import_factory(spec.factory, spec.name)(
        replace(request, spec=spec, weights=weights, image_size=structure.image_size)
    )
    if not isinstance(inner, Backbone):
        raise PluginError(f"the factory of {spec.name} ({spec.factory}) gave a {type(inner).__name__}, no Backbone")
    inner.name = inner.name or spec.name
    return restructured(inner, structure)


def restructured(inner: Backbone, structure: Structure) -> Backbone:
    """A loaded backbone with these changes; its specification rebuilds it so.

    Raises:
        UsageError: a change that this backbone does not take.
    """
    if isinstance(inner, Fused):
        raise UsageError(
            f"{inner.name} is made of several backbones, which cannot be changed as one",
            help="start from one that was not fused, or name its parts one by one, as in a[:3]+b",
        )
    base = replace(inner.spec, preprocess=inner.spec.preprocess_for(inner.weights))
    backbone = inner
    if structure.keep is not None:
        backbone = Truncated(inner, structure.keep)
        structure = replace(structure, keep=str(backbone.kept))
    cut = f"[:{structure.keep}]" if structure.keep is not None else ""
    backbone.spec = replace(
        base,
        architecture=base.architecture + cut,
        factory=FACTORY,
        dim=backbone.dim,
        params=sum(parameter.numel() for parameter in backbone.parameters()),
        stages=tuple(stage.name for stage in backbone.stages()),
        space=base.space if structure.keep is None else None,
        options=options_of(base, structure),
    )
    if backbone.weights is not None:
        backbone.weights = replace(backbone.weights, preprocess={})
    return backbone
