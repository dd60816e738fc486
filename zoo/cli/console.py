"""Standard output is the answer, standard error everything else; bars and warnings, and what `plain` prints."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from zoo.cli.plain import fact as fact
from zoo.cli.plain import human_count as human_count
from zoo.cli.plain import is_interactive as is_interactive
from zoo.cli.plain import note as note
from zoo.cli.plain import print_table as print_table
from zoo.cli.plain import print_text as print_text
from zoo.cli.plain import width_of as width_of

if TYPE_CHECKING:
    from rich.console import Console

    from zoo.errors import ZooError


def stderr() -> Console:
    """A Rich console on standard error."""
    from rich.console import Console

    return Console(stderr=True, no_color=not is_interactive())


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """For `warnings.showwarning`: what is meant for a user comes without the place in the code."""
    if issubclass(category, UserWarning):
        note(f"warning: {message}")
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), file=file or sys.stderr, end="")


def print_json(value: Any) -> None:
    """The answer as one JSON document; a list has one element a line, which thousands need to be written fast."""
    if isinstance(value, list) and value:
        rows = [json.dumps(each, ensure_ascii=False, allow_nan=False, default=str) for each in value]
        return print_text("[\n" + ",\n".join(rows) + "\n]")
    return print_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str))


def print_error(error: ZooError) -> int:
    """`error[kind]: what`, its details, and the mend; the exit code."""
    note(f"error[{error.kind}]: {error.what}")
    for line in error.details[:20]:
        note(f"  {line}")
    if len(error.details) > 20:
        note(f"  ... and {len(error.details) - 20} more")
    if error.help:
        note(f"help: {error.help}")
    return error.exit_code


@contextlib.contextmanager
def counting(doing: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, a plain line now and then otherwise; call what it gives with the rows done."""
    done, last = 0, time.monotonic()
    if is_interactive():
        from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

        with Progress(
            SpinnerColumn(), TextColumn(doing), MofNCompleteColumn(), console=stderr(), transient=True
        ) as progress:
            task = progress.add_task(doing, total=total)
            yield lambda count: progress.advance(task, count)
        return

    def plain(count: int) -> None:
        nonlocal done, last
        done += count
        if time.monotonic() - last > 30:
            note(f"{doing} {done:,}" + (f"/{total:,}" if total else ""))
            last = time.monotonic()

    yield plain


def human_bytes(value: int) -> str:
    """3.2 GB, 120 MB."""
    return f"{human_count(value)}B" if value >= 1000 else f"{value} B"


def between(interval: tuple[float, float] | None) -> str:
    """What follows a metric that has an interval."""
    return "" if interval is None else f"  [{interval[0]:.3f}, {interval[1]:.3f}]"
