"""`zoo data`: other forms of the same data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import console, options
from zoo.cli.parsing import Grouped, names
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.verbs.render import Rendered


def register(app: typer.Typer) -> None:
    """Add the command and what stands below it."""
    group = typer.Typer(
        help="Make other forms of the same data.\n\nFor example  zoo data render texts.csv -o pictures",
        short_help="Make other forms of the same data: texts as pictures.",
        invoke_without_command=True,
        rich_markup_mode=None,
    )
    group.callback()(data)
    group.command(
        "render",
        help="Draw each text as a picture beside it.\n\nFor example  zoo data render texts.csv -o pictures",
        cls=Grouped,
    )(render)
    app.add_typer(group, name="data")


def data(context: typer.Context) -> None:
    """Say what stands below it."""
    if context.invoked_subcommand is None:
        raise UsageError("`zoo data` needs to be told what to make", help="zoo data render TABLE -o FOLDER")


def render(
    table: options.Data[str],
    output: Annotated[Path, options.of_output("The folder to make.", "--out", "-o")],
    size: Annotated[int, typer.Option(help="Pixels on a side.")] = 224,
    font: Annotated[str | None, typer.Option(help="A .ttf or .otf file, or dejavu.")] = None,
    smallest: Annotated[int, typer.Option(help="Pixels of the smallest letters.")] = 9,
    text_col: options.TextCols = None,
    label_col: options.LabelCols = None,
    encoding: options.Encoding[str] = "utf-8",
    overwrite: Annotated[bool, options.of_output("Replace what this made there.", "--overwrite")] = False,
    json: options.Json = False,
) -> None:
    """Parse, call the verb, render."""
    from zoo.data.types import ReadOptions
    from zoo.verbs.render import render as verb

    read = ReadOptions(text=names(text_col), label=names(label_col), encoding=encoding)
    with console.counting("drawing") as progress:
        done = verb(
            table, output, size=size, font=font, smallest=smallest, read=read, overwrite=overwrite, progress=progress
        )
    for note in done.notes():
        console.note(f"note      {note}")
    console.print_json(done.to_json()) if json else _show(done)


def _show(done: Rendered) -> None:
    rows = " / ".join(f"{count:,} {split}" for split, count in done.rows.items())
    console.print_text(console.fact("wrote", f"{done.output}  {rows}, columns {', '.join(done.columns)}"))
    small, middle, large = done.letters
    letters = f"letters of {small} to {large} pixels, half of the texts {middle} or more"
    console.print_text(console.fact("pictures", f"{done.size} x {done.size}, {done.font}, {letters}"))
