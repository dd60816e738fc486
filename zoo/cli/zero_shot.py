"""`zoo zero-shot`: how far the names of classes go."""

from __future__ import annotations

from pathlib import Path

import typer

from zoo.cli import console, options
from zoo.cli.parsing import Grouped


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "zero-shot",
        help="Tell classes apart by their names, with nothing trained.\n\n"
        "For example  zoo zero-shot open_clip/ViT-B-32 photos/",
        cls=Grouped,
    )(zero_shot)


def zero_shot(
    backbone: options.DualEncoder,
    data: options.Data[str],
    templates: options.Templates = None,
    classes: options.Classes[Path | None] = None,
    split: options.Split = None,
    weights: options.Weights = None,
    device: options.Device[str] = "auto",
    image_col: options.ImageCol = None,
    text_col: options.TextCol = None,
    label_col: options.LabelCol = None,
    offline: options.Offline = False,
    json: options.Json = False,
) -> None:
    """Parse, call the verb, render."""
    from zoo.cli.evaluate import show
    from zoo.data.types import ReadOptions
    from zoo.verbs.zero_shot import zero_shot as verb

    read = ReadOptions(
        image=image_col,
        text=None if text_col is None else (text_col,),
        label=None if label_col is None else (label_col,),
    )
    with console.counting("embedding") as progress:
        result = verb(
            backbone,
            data,
            templates=templates or (),
            names=classes,
            split=split,
            device=device,
            weights=weights,
            read=read,
            offline=offline,
            progress=progress,
            say=console.note,
        )
    if json:
        return console.print_json(result.to_json())
    wrote = "; ".join(f"'{each}'" for each in result.prompts[0][:2])
    more = f"; and {len(result.prompts[0]) - 2} more" if len(result.prompts[0]) > 2 else ""
    console.note(f"note: {result.task.classes[0]} is {wrote}{more}")
    return show(result)
