"""`zoo info`: everything known of one backbone, without loading it."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo.cli import console
from zoo.cli.cards import card, show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("info", help="Show one backbone's card.\n\nFor example  zoo info torchvision/resnet50")(info)


def info(
    name: Annotated[str, typer.Argument(help="Such as timm/resnet18.a1_in1k.")],
    json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Parse, look up, render."""
    from zoo.catalog.discovery import discovered

    found = discovered()
    selections = found.catalog.select(name)
    cards = [card(selection, found) for selection in selections]
    if json:
        return console.print_json(cards[0] if len(cards) == 1 else cards)
    for each, selection in zip(cards, selections, strict=True):
        for note in selection.notes:
            console.note(f"note: {note}")
        show(each)
    return None
