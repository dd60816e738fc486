"""Standard output is the answer, standard error everything else; plain where nobody watches."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

    from zoo.errors import ZooError


def is_interactive() -> bool:
    """Whether bars and colours may be drawn on standard error."""
    plain = any(os.environ.get(name) for name in ("NO_COLOR", "CI")) or os.environ.get("TERM") == "dumb"
    return sys.stderr.isatty() and not plain


def stderr() -> Console:
    """A Rich console on standard error."""
    from rich.console import Console

    return Console(stderr=True, no_color=not is_interactive())


def note(text: str) -> None:
    """One line on standard error."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


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


def print_text(text: str) -> None:
    """Part of the answer, on standard output."""
    print(text.rstrip("\n"), flush=True)  # noqa: T201


def print_json(value: Any) -> None:
    """The answer as one JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str), flush=True)  # noqa: T201


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns on standard output; the last column is cut to the width of a terminal."""
    widths = [max(len(str(cell)) for cell in column) for column in zip(header, *rows, strict=True)]
    limit = _width()
    for index, row in enumerate([header, *rows]):
        line = "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if limit is not None and len(line) > limit:
            line = line[: limit - 1] + "…"
        if index == 0 and sys.stdout.isatty() and is_interactive():
            line = f"\033[1m{line}\033[0m"
        print_text(line)


def print_error(error: ZooError) -> None:
    """`error[kind]: what`, its details, and the mend."""
    note(f"error[{error.kind}]: {error.what}")
    for line in error.details[:20]:
        note(f"  {line}")
    if len(error.details) > 20:
        note(f"  ... and {len(error.details) - 20} more")
    if error.help:
        note(f"help: {error.help}")


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


def human_count(value: int | None) -> str:
    """56 k, 25.6 M, 1.2 G."""
    if value is None:
        return "?"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            scaled = value / limit
            return f"{scaled:.1f} {unit}" if scaled < 100 else f"{scaled:.0f} {unit}"
    return str(value)


def human_bytes(value: int) -> str:
    """3.2 GB, 120 MB."""
    return f"{human_count(value)}B" if value >= 1000 else f"{value} B"


def _width() -> int | None:
    if not sys.stdout.isatty():
        return None
    return os.get_terminal_size(sys.stdout.fileno()).columns
