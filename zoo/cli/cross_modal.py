"""`zoo cross-modal`: learn from one modality, test on another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli import console, options
from zoo.cli.parsing import Grouped


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "cross-modal",
        help="Learn from texts and test on images, and the reverse.\n\n"
        "For example  zoo cross-modal open_clip/ViT-B-32 posts.csv --shots 4",
        cls=Grouped,
    )(cross_modal)


def cross_modal(
    backbone: options.DualEncoder,
    data: Annotated[str, typer.Argument(help="A table with images, texts and labels.")],
    train: Annotated[str, typer.Option(help="Of image, text, names, joined by +; several as a,b.")] = "",
    test: Annotated[str, typer.Option(help="image, text, or image,text.")] = "",
    shots: options.Shots = None,
    seed: options.Seed[int] = 0,
    centre: Annotated[str, typer.Option(help="nothing, or modality: each has its own mean taken off.")] = "nothing",
    templates: options.Templates = None,
    classes: options.Classes[Path | None] = None,
    weights: options.Weights = None,
    device: options.Device[str] = "auto",
    image_col: options.ImageCol = None,
    text_col: options.TextCol = None,
    label_col: options.LabelCol = None,
    offline: options.Offline = False,
    json: options.Json = False,
) -> None:
    """Parse, call the verb, render."""
    from zoo.data.types import ReadOptions
    from zoo.verbs.cross_modal import SOURCES
    from zoo.verbs.cross_modal import cross_modal as verb

    chosen: dict[str, Any] = {"test": _several(test)} if test else {}
    read = ReadOptions(
        image=image_col,
        text=None if text_col is None else (text_col,),
        label=None if label_col is None else (label_col,),
        shots=shots,
        seed=seed,
    )
    with console.counting("embedding") as progress:
        result = verb(
            backbone,
            data,
            train=_several(train) if train else SOURCES,
            templates=templates or (),
            names=classes,
            centre=centre,
            seed=seed,
            device=device,
            weights=weights,
            read=read,
            offline=offline,
            progress=progress,
            say=console.note,
            **chosen,
        )
    if json:
        return console.print_json(result.to_json())
    return _show(result)


def _show(result: Any) -> None:
    console.print_text(f"{result.data}, {result.split}: {result.rows[result.split]:,} rows, {result.metric}")
    tested = list(dict.fromkeys(each.test for each in result.results))
    rows = []
    for source in dict.fromkeys(each.train for each in result.results):
        of = {each.test: each for each in result.results if each.train == source}
        cells = []
        for modality in tested:
            value = of[modality].metrics[result.metric]
            cells.append("n/a" if value is None else f"{value:.3f}{console.between(of[modality].interval)}")
        rows.append([source, f"{of[tested[0]].rows:,}", *cells])
    console.print_table(["trained on", "rows", *(f"tested on {modality}s" for modality in tested)], rows)


def _several(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
