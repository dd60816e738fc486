"""The hooks a plugin may implement. Every one returns frozen specs; none imports what it describes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from zoo.catalog.spec import BackboneSpec, DatasetSpec, ExporterSpec, HeadSpec, ScorerSpec, StrategySpec

if TYPE_CHECKING:
    import typer

GROUP = "zoo"
"""Entry-point group and pluggy project name."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def zoo_backbones() -> Iterable[BackboneSpec]:  # type: ignore[empty-body]
    """What this plugin can build."""


@hookspec
def zoo_resolve(name: str) -> BackboneSpec | None:
    """A specification for an open-ended name (a hub id, a folder, a file), or None if it is not ours.

    `name` comes as typed, with the plugin's own `source/` prefix taken off where it was given, and without
    `@weights` or `:tower`. Called only when no listed backbone has that name.
    """


@hookspec
def zoo_heads() -> Iterable[HeadSpec]:  # type: ignore[empty-body]
    """Heads this plugin adds."""


@hookspec
def zoo_strategies() -> Iterable[StrategySpec]:  # type: ignore[empty-body]
    """Strategies this plugin adds."""


@hookspec
def zoo_scorers() -> Iterable[ScorerSpec]:  # type: ignore[empty-body]
    """Transferability scores this plugin adds."""


@hookspec
def zoo_datasets() -> Iterable[DatasetSpec]:  # type: ignore[empty-body]
    """Data sets this plugin adds."""


@hookspec
def zoo_exporters() -> Iterable[ExporterSpec]:  # type: ignore[empty-body]
    """Export formats this plugin adds."""


@hookspec
def zoo_commands(app: typer.Typer) -> None:
    """Add sub-commands to the `zoo` program."""
