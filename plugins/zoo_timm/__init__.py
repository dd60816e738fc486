"""Every architecture and weight tag of timm, listed from a data file, built by timm itself."""

from __future__ import annotations

from collections.abc import Iterable

from zoo import BackboneSpec, hookimpl
from zoo_timm.listing import listed
from zoo_timm.resolve import resolve

zoo_api = 1


@hookimpl
def zoo_backbones() -> Iterable[BackboneSpec]:
    """What `python -m zoo_timm.generate` found in timm."""
    return listed()


@hookimpl
def zoo_resolve(name: str) -> BackboneSpec | None:
    """A local folder in timm's format, or an architecture that the installed timm has and the data file lacks."""
    return resolve(name)
