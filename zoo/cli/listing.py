"""`zoo list`: what exists, at once."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo.cli import console
from zoo.cli.rows import NOUNS, cells_of, count, json_of, noun_json, show, show_nouns
from zoo.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "list", help="List backbones, or heads, strategies, data sets.\n\nFor example  zoo list resnet --max-params 30M"
    )(list_command)


def list_command(
    pattern: Annotated[str | None, typer.Argument(help="Part of a name, a glob, or a noun such as heads.")] = None,
    modality: Annotated[str | None, typer.Option(help="image, text, audio, or image+text for both.")] = None,
    family: Annotated[str | None, typer.Option(help="Such as resnet, vit, bert.")] = None,
    source: Annotated[str | None, typer.Option(help="Such as timm.")] = None,
    min_params: Annotated[str | None, typer.Option(help="At least so many parameters, as in 5M.")] = None,
    max_params: Annotated[str | None, typer.Option(help="At most so many parameters, as in 50M.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", "--license", help="Part of it, as in apache.")] = None,
    cached: Annotated[bool, typer.Option("--cached", help="Only weights on this machine.")] = False,
    sort: Annotated[str, typer.Option(help="name, params, dim or metric.")] = "name",
    limit: Annotated[int | None, typer.Option(help="Show at most N rows.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Parse, call the verb, render."""
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit} is not above 0", help="give a positive number")
    if pattern in NOUNS and pattern != "backbones":
        return _nouns(str(pattern), json)
    from zoo.verbs.listing import list_backbones

    rows = list_backbones(
        None if pattern == "backbones" else pattern,
        modality=modality,
        family=family,
        source=source,
        min_params=count(min_params),
        max_params=count(max_params),
        licence=licence,
        cached=cached,
        sort=sort,
    )
    if json:
        return console.print_json([json_of(row) for row in rows[:limit]])
    return show(rows, [cells_of(row) for row in rows[:limit]], limit)


def _nouns(noun: str, json: bool) -> None:
    from zoo.catalog.discovery import default_catalog

    specs = list(getattr(default_catalog(), noun).values())
    if json:
        return console.print_json([noun_json(spec) for spec in specs])
    return show_nouns(noun, [[spec.name, spec.summary] for spec in specs])
