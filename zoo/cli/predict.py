"""`zoo predict`: one JSON line an input."""

from __future__ import annotations

import json as text
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from zoo.cli import console, options
from zoo.cli.parsing import Grouped


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "predict",
        help="Predict files, folders, tables or lines of text.\n\nFor example  zoo predict runs/last photos/new/",
        cls=Grouped,
    )(predict)


def predict(
    run: options.Run,
    inputs: Annotated[
        list[str], typer.Argument(help="Files, folders, tables, texts; - reads lines from standard input.")
    ],
    top: Annotated[int, typer.Option(help="Probabilities shown for each input.")] = 3,
    batch_size: options.RowsAtOnce[int] = 32,
    device: options.Device[str] = "auto",
    out: options.RunsFolder[str] = "runs",
    image_col: options.ImageCol = None,
    text_col: options.TextCols = None,
    audio_col: options.AudioCol = None,
    masks: Annotated[str | None, options.of_output("New folder for the masks of a segmentation, as PNG.")] = None,
    boxes: Annotated[str | None, options.of_output("New folder for the images of a detection, drawn on.")] = None,
) -> None:
    """Parse, call the verb, print each prediction as it comes; exit code 3 if any input was bad."""
    from zoo.data.types import ReadOptions
    from zoo.verbs.predict import predict as verb

    text_cols = None if text_col is None else tuple(text_col.split(","))
    read = ReadOptions(image=image_col, text=text_cols, audio=audio_col)
    bad = 0
    with console.counting("predicting") as progress:
        for each in verb(
            run,
            _lines(inputs),
            root=out,
            device=device,
            batch_size=batch_size,
            top=top,
            read=read,
            progress=progress,
            masks=masks,
            boxes=boxes,
        ):
            bad += each.error is not None
            console.print_text(text.dumps(each.to_json(), ensure_ascii=False))
    if bad:
        many = "1 input" if bad == 1 else f"{bad:,} inputs"
        console.note(f"{many} could not be read: see the error in its place")
        raise typer.Exit(3)


def _lines(inputs: list[str]) -> Iterator[str]:
    for each in inputs:
        if each == "-":
            yield from (line.rstrip("\n") for line in sys.stdin)
        else:
            yield each
