"""`zoo plugins`: what is installed, and how each plugin fared."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from zoo.cli import console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plugins", help="Show installed plugins and how each fared.")(plugins)


def plugins(json: Annotated[bool, typer.Option("--json", help="Print the reports as JSON.")] = False) -> None:
    """Parse, look up, render."""
    from zoo.catalog.discovery import discovered

    reports = discovered().reports
    if json:
        return console.print_json([asdict(report) for report in reports])
    header = ["plugin", "distribution", "api", "backbones", "import", "status"]
    rows = [
        [
            r.name,
            f"{r.distribution} {r.version}",
            str(r.api_version or "-"),
            f"{r.backbones:,}",
            f"{r.seconds * 1000:.0f} ms",
            r.status if r.error is None else f"{r.status}: {r.error}",
        ]
        for r in reports
    ]
    console.print_table(header, rows)
    console.note("A plugin is code that runs with your rights. ZOO_DISABLE=name switches one off.")
    return None
