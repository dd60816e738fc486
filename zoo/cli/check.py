"""`zoo check`: look at data before training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import console, options
from zoo.cli.parsing import Grouped

if TYPE_CHECKING:
    from zoo.verbs.check import CheckReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "check",
        help="Look for bad rows, leaks and label typos.\n\nFor example  zoo check photos/",
        cls=Grouped,
    )(check)


def check(
    data: options.Data[str],
    image_col: options.ImageCol = None,
    text_col: options.TextCols = None,
    audio_col: options.AudioCol = None,
    label_col: options.LabelCols = None,
    task: Annotated[
        str | None, options.of_data("binary, multiclass, multilabel, regression, segmentation or tokens.")
    ] = None,
    encoding: options.Encoding[str] = "utf-8",
    skip_bad: Annotated[bool, options.of_data("Unreadable files are a warning.", "--skip-bad")] = False,
    bad_limit: options.BadLimit[float] = 0.01,
    drop_empty: Annotated[bool, options.of_data("Empty rows are a warning.", "--drop-empty")] = False,
    allow_leak: Annotated[bool, options.of_data("Rows in two splits are a warning.", "--allow-leak")] = False,
    max_pixels: options.MaxPixels[int] = 100_000_000,
    max_seconds: options.MaxSeconds[float] = 3600,
    json: options.Json = False,
) -> None:
    """Parse, call the verb, render."""
    from zoo.data.types import ReadOptions
    from zoo.verbs.check import check as look

    given: dict[str, Any] = {
        "image": image_col, "task": task, "encoding": encoding, "skip_bad": skip_bad, "bad_limit": bad_limit,
        "drop_empty": drop_empty, "allow_leak": allow_leak, "max_pixels": max_pixels,
        "audio": audio_col, "max_seconds": max_seconds,
    }  # fmt: skip
    read = ReadOptions(**given, text=_names(text_col), label=_names(label_col))
    with console.counting("checking") as progress:
        report = look(data, read=read, progress=progress)
    if json:
        console.print_json(report.to_json())
    else:
        console.print_text(f"data      {_said(report)}")
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


def _said(report: CheckReport) -> str:
    if report.task is None:
        return f"{report.data}  cannot be read"
    rows = " / ".join(f"{count:,} {split}" for split, count in report.rows.items())
    classes = f", {len(report.classes)} classes" if report.classes else ""
    return f"{report.data}  {rows}, {report.task}{classes}"


def _names(value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(part.strip() for part in value.split(","))
