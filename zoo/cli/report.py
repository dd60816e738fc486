"""`zoo report`: what a comparison found, for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli import console, options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "report",
        help="Write what a comparison found as a page, Markdown or tables.\n\n"
        "For example  zoo report last --html report.html --csv tables/",
    )(report)


def report(
    comparison: Annotated[str, typer.Argument(help="A comparison's folder, its name, or last.")],
    html: Annotated[
        Path | None,
        typer.Option(help="One page that needs nothing else; report.html in the folder if no file is named."),
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="The same sentences and tables.")] = None,
    csv: Annotated[Path | None, typer.Option(help="A folder for standings, differences and curves.")] = None,
    json: options.Json = False,
) -> None:
    """Parse, call the verb, render."""
    from zoo.comparison.result import read_comparison
    from zoo.reporting.writing import find_comparison
    from zoo.reporting.writing import report as verb

    if json:
        console.print_json(read_comparison(find_comparison(comparison)).to_json())
    if not json or html or markdown or csv:
        for path in verb(comparison, html=html, markdown=markdown, csv=csv):
            console.note(f"wrote {path}") if json else console.print_text(f"wrote {path}")
