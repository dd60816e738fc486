"""Every classification network of torchvision, with all its weights."""

from __future__ import annotations

from collections.abc import Iterable

from zoo import BackboneSpec, hookimpl
from zoo_torchvision.listing import specs

zoo_api = 1


@hookimpl
def zoo_backbones() -> Iterable[BackboneSpec]:
    """One specification an architecture, read from a data file."""
    return specs()
