"""Text, vision and audio backbones of transformers: well-known hub ids by name, any other id or folder on request."""

from __future__ import annotations

from collections.abc import Iterable

from zoo import BackboneSpec, hookimpl

zoo_api = 1


@hookimpl
def zoo_backbones() -> Iterable[BackboneSpec]:
    """The hub ids that are known without asking the hub."""
    from zoo_transformers.listed import listed

    return listed()


@hookimpl
def zoo_resolve(name: str) -> BackboneSpec | None:
    """A local folder with a config.json, a well-known id without its owner, or any `owner/name` of the hub."""
    from zoo_transformers.resolve import resolve

    return resolve(name)
