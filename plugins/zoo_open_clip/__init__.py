"""CLIP and its kin: every architecture and pretrained tag of open_clip; image tower, text tower, or both."""

from __future__ import annotations

from collections.abc import Iterable

from zoo import BackboneSpec, hookimpl
from zoo_open_clip.listing import listed
from zoo_open_clip.resolve import resolve

zoo_api = 1


@hookimpl
def zoo_backbones() -> Iterable[BackboneSpec]:
    """What `python -m zoo_open_clip.generate` found in open_clip."""
    return listed()


@hookimpl
def zoo_resolve(name: str) -> BackboneSpec | None:
    """`local-dir:FOLDER`, a folder with `open_clip_config.json`, `hf-hub:OWNER/NAME`, or a newer architecture."""
    return resolve(name)
