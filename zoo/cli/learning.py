"""What `quick` answers from: rows, cards and the page of help, worked out of the catalogue and of Typer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from zoo.catalog import index
from zoo.catalog.discovery import discovered
from zoo.cli import rows
from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.catalog.discovery import Discovery
    from zoo.verbs.listing import Row


def help_of(program: str) -> str:
    """The page that shows all commands."""
    import typer

    from zoo.cli.app import make_app

    command = typer.main.get_command(make_app())
    with command.make_context(program, [], resilient_parsing=True) as context:
        return command.get_help(context)


def keep_rows() -> None:
    """Keep the list of backbones, and those of heads, strategies and the like."""
    from zoo.verbs.listing import rows_in

    found = discovered()
    basis = index.basis_of(found) if index.can_keep(found) else None
    if basis is None:
        return
    listed = rows_in(found.catalog)
    index.write("rows", [_text(values(row)) for row in listed], basis)
    index.write("rows-json", [_text(rows.json_of(row)) for row in listed], basis)
    for noun in rows.NOUNS[1:]:
        specs = getattr(found.catalog, noun).values()
        index.write(noun, [_text([spec.name, spec.summary]) for spec in specs], basis)
        index.write(f"{noun}-json", [_text(rows.noun_json(spec)) for spec in specs], basis)


def keep_cards() -> None:
    """Keep the card of every backbone under every name that means it."""
    found = discovered()
    basis = index.basis_of(found) if index.can_keep(found) else None
    if basis is not None:
        index.write("cards", cards_of(found), basis)


def values(row: Row) -> tuple[Any, ...]:
    """What `quick` makes a row of."""
    metric = row.metric
    return (
        row.name, row.source, row.family, row.modalities, row.params, row.dim, row.licence, metric, rows.cells_of(row)
    )  # fmt: skip


def cards_of(found: Discovery) -> list[str]:
    """The place of its card and what is noted of the choice, for each name in one line; then each card in one.

    Only names that mean the same in every folder: those in full, and those without a source that are no path either.
    """
    from zoo.cli.cards import card
    from zoo.verbs.listing import rows_in

    catalog = found.catalog
    full = {name for row in rows_in(catalog) for name in (row.name, row.spec.name)}
    short = {rest for name in full if "/" not in (rest := name.partition("/")[2])}
    names: dict[str, tuple[int, tuple[str, ...]]] = {}
    places: dict[str, int] = {}
    cards: list[str] = []
    for name in sorted(full | short):
        if not name or any(letter in name for letter in "+@:["):
            continue
        try:
            (selection,) = catalog.select(name)
        except (ZooError, ValueError):
            continue
        if selection.name not in places:
            cards.append(_text(card(selection, found)))
            places[selection.name] = len(cards)
        names[name] = (places[selection.name], selection.notes)
    return [_text(names), *cards]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
