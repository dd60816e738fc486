"""`zoo doctor`: what this machine has, and what will not work."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from zoo.cli import console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", help="Check versions, device, caches and plugins.")(doctor)


def doctor(json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Parse, call the verb, render; exit code 1 if anything fails."""
    from zoo.verbs.doctor import doctor as look

    found = look()
    if json:
        console.print_json([asdict(finding) for finding in found])
    else:
        for finding in found:
            console.print_text(f"{finding.level:<5} {finding.what}")
            if finding.help:
                console.print_text(f"      help: {finding.help}")
    if any(finding.level == "fail" for finding in found):
        raise typer.Exit(1)
