"""`zoo plugins`: what is installed and how each fared; a new one; whether one keeps its word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, cast

import typer

from zoo.cli import console
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.catalog.discovery import PluginReport
    from zoo.testing.plugin import PluginConformance
    from zoo.testing.report import Conformance
    from zoo.verbs.new_plugin import Kind


def register(app: typer.Typer) -> None:
    """Add the command and what stands below it."""
    group = typer.Typer(
        help="Show installed plugins and how each fared; write a new one, check one.\n\n"
        "For example  zoo plugins new mine",
        short_help="Show installed plugins; write a new one, check one.",
        invoke_without_command=True,
        rich_markup_mode=None,
    )
    group.callback()(plugins)
    group.command("new", help="Write a package with a plugin to start from.\n\nFor example  zoo plugins new mine")(new)
    group.command(
        "check",
        help="Hold a plugin and all that it offers against the contract, in a process of its own.\n\n"
        "For example  zoo plugins check starter",
    )(check)
    app.add_typer(group, name="plugins")


def plugins(
    context: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print the reports as JSON.")] = False
) -> None:
    """Parse, look up, render."""
    if context.invoked_subcommand is not None:
        if json:
            word = context.invoked_subcommand
            raise UsageError(f"--json stands before '{word}'", help=f"`zoo plugins {word} --help` shows what it takes")
        return None
    from zoo.catalog import index
    from zoo.catalog.discovery import discovered
    from zoo.catalog.looked_at import WATCH

    WATCH.wanted = True
    index.forget()  # whoever doubts a listing looks here
    found = discovered(patient=True)
    reports = found.reports
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
    for name, seen in found.looked_at.items():
        if seen.reason:
            console.note(f"'{name}' {seen.reason}, so `zoo list` asks all plugins each time, which takes longer")
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

    made = new_plugin(name, out=out, kind=cast("Kind", kind))  # it says so if it is none
    if json:
        return console.print_json(asdict(made))
    console.print_text(f"wrote {made.path}")
    for file in made.files:
        console.print_text(f"  {file}")
    console.print_text("next")
    for command in made.commands:
        console.print_text(f"  {command}")
    return None


def check(
    name: Annotated[str, typer.Argument(help="A plugin, a distribution, or one backbone.")],
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds for the import; each thing it offers gets ten times as long.")
    ] = 20.0,
    only: Annotated[list[str] | None, typer.Option("--only", help="One check by name; may stand many times.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Parse, call the kit, render; exit code 1 unless something was checked and all of it holds."""
    from zoo.testing import check_plugin

    found = check_plugin(name, timeout=timeout, only=only or None)
    if json:
        console.print_json(found.to_json())
    else:
        _show(found)
    if not found.passed:
        raise typer.Exit(1)


def _show(found: PluginConformance) -> None:
    for subject in found.subjects:
        console.print_text(f"{subject.subject}: {_counts([subject])}")
        rows = [
            [f"  {r.check}", r.status.upper() if r.status == "fail" else r.status, r.measured] for r in subject.results
        ]
        console.print_table(["  check", "result", "measured"], rows)
        for result in subject.failed:
            console.print_text(f"FAIL {result.check} of {subject.subject}")
            for label, text in (("measured", result.measured), ("law", result.law), ("meaning", result.consequence)):
                console.print_text("  " + console.fact(label, text))
        console.print_text("")
    for note in found.notes:
        console.note(f"note: {note}")
    console.print_text(f"{found.name}: {_counts(found.subjects)}, {found.seconds:.1f} s")


def _counts(subjects: Sequence[Conformance]) -> str:
    checks, failed = sum(each.checks for each in subjects), sum(len(each.failed) for each in subjects)
    if not checks:
        return "no check ran, so nothing is known"
    skipped = sum(len(each.results) for each in subjects) - checks
    return f"{checks} check{'s' if checks > 1 else ''}, {failed} failed, {skipped} not applicable"
