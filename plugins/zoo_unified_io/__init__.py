"""Unified-IO 2: text, images, audio and what came before, as tokens of one encoder."""

from __future__ import annotations

from collections.abc import Iterable

from zoo import BackboneSpec, hookimpl
from zoo_unified_io.listing import listed
from zoo_unified_io.resolve import resolve

zoo_api = 1


@hookimpl
def zoo_backbones() -> Iterable[BackboneSpec]:
    """Large, XL and XXL, as published by the Allen Institute for AI."""
    return listed()


@hookimpl
def zoo_resolve(name: str) -> BackboneSpec | None:
    """A folder of the published layout."""
    return resolve(name)
