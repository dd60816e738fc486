"""From a specification of a changed backbone to the backbone: its first stages, other channels, another size."""

from __future__ import annotations

from dataclasses import replace

import torch

from zoo.catalog.factories import import_factory
from zoo.catalog.spec import LoadRequest
from zoo.catalog.structure import FACTORY, Structure, inner_of, options_of
from zoo.errors import PluginError, UsageError, WeightsError
from zoo.models.backbone import Backbone
from zoo.models.channels import Channelled
from zoo.models.fusion import Fused
from zoo.models.taps import blank_inputs
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
    asked = replace(request, spec=spec, weights=weights, image_size=structure.image_size)
    inner = _made(asked)
    inner.name = inner.name or spec.name
    return restructured(inner, structure)


def _made(request: LoadRequest) -> Backbone:
    spec = request.spec
    factory = import_factory(spec.factory, spec.name)
    try:
        inner = factory(request)
    except (AssertionError, RuntimeError, ValueError, WeightsError) as error:
        if request.image_size is None:
            raise
        raise _unfit(spec.name, request.image_size, error) from error
    if not isinstance(inner, Backbone):
        raise PluginError(f"the factory of {spec.name} ({spec.factory}) gave a {type(inner).__name__}, no Backbone")
    return inner


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
    if structure.image_size is not None:
        _check_size(inner, structure.image_size)
    backbone, preprocess = inner, base.preprocess
    if structure.channels is not None:
        backbone = Channelled(inner, structure.channels)
        preprocess = backbone.spec.preprocess
    if structure.keep is not None:
        backbone = Truncated(backbone, structure.keep)
        structure = replace(structure, keep=str(backbone.kept))
    cut = f"[:{structure.keep}]" if structure.keep is not None else ""
    backbone.spec = replace(
        base,
        architecture=base.architecture + cut,
        factory=FACTORY,
        dim=backbone.dim,
        params=sum(parameter.numel() for parameter in backbone.parameters()),
        stages=tuple(stage.name for stage in backbone.stages()),
        image_size=structure.image_size or base.image_size,
        preprocess=preprocess,
        space=base.space if structure.keep is None and structure.channels is None else None,
        options=options_of(base, structure),
    )
    if backbone.weights is not None:
        backbone.weights = replace(backbone.weights, preprocess={})
    return backbone


def _check_size(inner: Backbone, side: int) -> None:
    """That images reach the network in this size, and that it runs on them."""
    name = inner.name or inner.spec.name
    if "image" not in inner.modalities:
        raise UsageError(f"{name} takes no images, and --image-size {side} is of images", help="leave it out")
    inputs = blank_inputs(inner)
    pixels = inputs["image"].get("pixels")
    if pixels is None or pixels.shape[-2:] != (side, side):
        raise UsageError(
            f"{name} does not take images of another size than its own",
            help="leave --image-size out: images are brought to the size that the weights want",
        )
    try:
        with torch.no_grad():
            inner.eval()(inputs)
    except (AssertionError, RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
        raise _unfit(name, side, error) from error


def _unfit(name: str, side: int, error: Exception) -> UsageError:
    why = error.what if isinstance(error, WeightsError) else (str(error).splitlines() or [type(error).__name__])[0]
    return UsageError(
        f"{name} cannot take images of {side} x {side}: {why}",
        help="a transformer wants a whole multiple of its patch, often 14, 16 or 32 pixels; some take one size alone",
    )
