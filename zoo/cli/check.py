"""`zoo check`: look at data before training."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from zoo.cli import console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check", help="Look for bad rows, leaks and label typos before training: zoo check photos/")(check)


def check(
    data: Annotated[str, typer.Argument(help="A folder, a table, or a name such as sklearn:digits.")],
    image_col: Annotated[str | None, typer.Option(help="Column of images.")] = None,
    text_col: Annotated[str | None, typer.Option(help="Column of texts; a,b for pairs.")] = None,
    label_col: Annotated[str | None, typer.Option(help="Column of labels.")] = None,
    task: Annotated[str | None, typer.Option(help="binary, multiclass, multilabel or regression.")] = None,
    encoding: Annotated[str, typer.Option(help="Of text files.")] = "utf-8",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Unreadable rows are a warning.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Parse, call the verb, render."""
    from zoo.data.types import ReadOptions
    from zoo.verbs.check import check as look

    given: dict[str, Any] = {"image": image_col, "task": task, "encoding": encoding, "skip_bad": skip_bad}
    read = ReadOptions(**given, text=_names(text_col), label=_names(label_col))
    with console.counting("checking") as progress:
        report = look(data, read=read, progress=progress)
    if json:
        console.print_json(report.to_json())
    else:
        rows = " / ".join(f"{count:,} {split}" for split, count in report.rows.items())
        console.print_text(f"data      {report.data}  {rows}  {report.task or ''}, {len(report.classes)} classes")
        for note in report.notes:
            console.print_text(f"note      {note}")
        for problem in report.problems:
            console.print_text(f"{problem.level:<9} {problem.message}")
            for row in problem.rows[:10]:
                console.print_text(f"            {row}")
            if len(problem.rows) > 10:
                console.print_text(f"            ... and {len(problem.rows) - 10} more")
            if problem.help:
                console.print_text(f"            help: {problem.help}")
        console.print_text("ok        nothing stands in the way of training" if report.ok else "errors    see above")
    if not report.ok:
        raise typer.Exit(3)


def _names(value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(part.strip() for part in value.split(","))
