"""`zoo zero-shot`: how far the names of classes go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli import console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "zero-shot",
        help="Tell classes apart by their names, with nothing trained.\n\n"
        "For example  zoo zero-shot open_clip/ViT-B-32 photos/",
    )(zero_shot)


def zero_shot(
    backbone: Annotated[str, typer.Argument(help="A dual encoder such as open_clip/ViT-B-32, or a run with both.")],
    data: Annotated[str, typer.Argument(help="A folder, a table, or the name of a data set.")],
    templates: Annotated[
        list[str] | None,
        typer.Option("--templates", "-t", help="As 'a photo of a {}.', again for more; or photo, or name."),
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="How classes are called: JSON from label to name, or a name a line.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="test if there is one, else val.")] = None,
    weights: Annotated[str | None, typer.Option(help="A tag, random, or the path of a file.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    image_col: Annotated[str | None, typer.Option(help="Column of images.")] = None,
    text_col: Annotated[str | None, typer.Option(help="Column of texts.")] = None,
    label_col: Annotated[str | None, typer.Option(help="Column of labels.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
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
