"""`zoo list`: what exists, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import console
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.verbs.listing import Row

NOUNS = ("backbones", "heads", "strategies", "scorers", "datasets", "exporters")


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
    from zoo.verbs.listing import list_backbones, sources

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
    shown = rows[:limit] if limit is not None else rows
    if json:
        return console.print_json([row_json(row) for row in shown])
    if not rows:
        console.note("no backbone fits; `zoo list` without filters shows all of them")
        return None
    header = ["backbone", "modality", "params", "dim", "licence", "published"]
    console.print_table(header, [_cells(row) for row in shown])
    by_source = ", ".join(f"{number:,} {name}" for name, number in sources(rows).items())
    console.note(f"{len(shown):,} of {len(rows):,} rows: {by_source}" if limit else f"{len(rows):,} rows: {by_source}")
    return None


def row_json(row: Row) -> dict[str, Any]:
    """The stable keys of one row of `--json`."""
    spec, weights = row.spec, row.weights
    return {
        "name": row.name,
        "source": spec.source,
        "architecture": spec.architecture,
        "tag": weights.tag if weights else None,
        "modalities": list(spec.modalities),
        "family": spec.family,
        "params": spec.params,
        "dim": spec.dim,
        "image_size": spec.image_size,
        "context_length": spec.context_length,
        "licence": weights.licence if weights else None,
        "trained_on": weights.trained_on if weights else None,
        "metrics": dict(weights.metrics) if weights else {},
    }


def count(text: str | None) -> int | None:
    """50M, 1.5G, 300k or a plain number.

    Raises:
        UsageError: none of these.
    """
    if text is None:
        return None
    units = {"k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}
    body, scale = (text[:-1], units[text[-1].lower()]) if text[-1:].lower() in units else (text, 1)
    try:
        return int(float(body) * scale)
    except ValueError as error:
        raise UsageError(f"'{text}' is no number of parameters", help="write 50M, 1.5G or 300k") from error


def _cells(row: Row) -> list[str]:
    metrics = row.weights.metrics if row.weights else {}
    published = next((f"{name} {value:.3g}" for name, value in metrics.items()), "")
    return [
        row.name,
        "+".join(row.spec.modalities),
        console.human_count(row.spec.params),
        str(row.spec.dim or "?"),
        (row.weights.licence if row.weights else None) or "-",
        published,
    ]


def _noun_json(spec: Any) -> dict[str, Any]:
    """The stable keys of heads, strategies and the like; data sets have more."""
    more = {name: getattr(spec, name) for name in ("modalities", "task", "rows", "licence") if hasattr(spec, name)}
    return {"name": spec.name, "summary": spec.summary, **more}


def _nouns(noun: str, json: bool) -> None:
    from zoo.catalog.discovery import default_catalog

    specs = list(getattr(default_catalog(), noun).values())
    if json:
        return console.print_json([_noun_json(spec) for spec in specs])
    if not specs:
        return console.note(f"no plugin offers {noun}")
    return console.print_table(["name", "what"], [[s.name, s.summary] for s in specs])
