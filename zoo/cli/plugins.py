"""`zoo plugins`: what is installed and how each fared; a new one; whether one keeps its word."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import console
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.catalog.discovery import PluginReport


def register(app: typer.Typer) -> None:
    """Add the command and what stands below it."""
    group = typer.Typer(
        name="plugins",
        help="Show installed plugins and how each fared; write a new one, check one.\n\n"
        "For example  zoo plugins new mine",
        short_help="Show installed plugins; write a new one, check one.",
        invoke_without_command=True,
        rich_markup_mode=None,
    )
    group.callback()(plugins)
    group.command("new", help="Write a package with a plugin to start from.\n\nFor example  zoo plugins new mine")(new)
    app.add_typer(group)


def plugins(
    context: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print the reports as JSON.")] = False
) -> None:
    """Parse, look up, render."""
    if context.invoked_subcommand is not None:
        if json:
            word = context.invoked_subcommand
            raise UsageError(f"--json stands before '{word}'", help=f"`zoo plugins {word} --help` shows what it takes")
        return None
    from zoo.catalog.discovery import discovered

    reports = discovered().reports
    if json:
        return console.print_json([asdict(report) for report in reports])
    header = ["plugin", "distribution", "api", "import", "status", "hooks"]
    rows = [
        [
            report.name,
            f"{report.distribution} {report.version}",
            "-" if report.api_version is None else str(report.api_version),
            f"{report.seconds * 1000:.0f} ms",
            report.status,
            report.error or _hooks(report),
        ]
        for report in reports
    ]
    console.print_table(header, rows)
    console.note("A plugin is code that runs with your rights. ZOO_DISABLE=name switches one off.")
    return None


def _hooks(report: PluginReport) -> str:
    """`backbones 6, datasets 4, resolve`."""
    counts = report.offers
    names = [hook.removeprefix("zoo_") for hook in report.hooks]
    return ", ".join(f"{name} {counts[name]:,}" if name in counts else name for name in names)


def new(
    name: Annotated[str, typer.Argument(help="Of the plugin; the package becomes zoo-NAME.")],
    out: Annotated[str, typer.Option("--out", "-o", help="The folder to write the package into.")] = ".",
    kind: Annotated[str, typer.Option("--kind", help="What its backbone takes: image or text.")] = "image",
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Parse, call the verb, render."""
    from zoo.verbs.new_plugin import new_plugin

    made = new_plugin(name, out=out, kind=kind)
    if json:
        return console.print_json(asdict(made))
    console.print_text(f"wrote {made.path}")
    for file in made.files:
        console.print_text(f"  {file}")
    console.print_text("next")
    for command in made.commands:
        console.print_text(f"  {command}")
    return None
