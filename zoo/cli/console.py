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
    """One line on standard error; a reader that went away never stops the work."""
    try:
        print(text, file=sys.stderr, flush=True)  # noqa: T201
    except BrokenPipeError:
        _point_at_nothing(sys.stderr)


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
    try:
        print(text.rstrip("\n"), flush=True)  # noqa: T201
    except BrokenPipeError:
        # The reader has had enough, as in `zoo list | head`; nothing is wrong.
        _point_at_nothing(sys.stdout)
        raise SystemExit(0) from None


def print_json(value: Any) -> None:
    """The answer as one JSON document; a list has one element a line, which thousands need to be written fast."""
    if isinstance(value, list) and value:
        rows = [json.dumps(each, ensure_ascii=False, allow_nan=False, default=str) for each in value]
        return print_text("[\n" + ",\n".join(rows) + "\n]")
    return print_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str))


def fact(label: str, text: str, *, indent: int = 10, stream: Any = None) -> str:
    """`label     text`; on a terminal wrapped to its width, elsewhere one line that can be searched for."""
    head = f"{label:<{indent - 1}} "
    limit = width_of(stream or sys.stdout)
    if limit is None or len(head) + len(text) <= limit or limit < 40:
        return (head + text).rstrip()
    import textwrap

    return textwrap.fill(
        text,
        limit,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns on standard output; on a terminal a line never wraps.

    There the first column takes what the next three leave; a longer cell moves its own row alone.
    """
    table = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    limit = width_of(sys.stdout)
    if limit is not None:
        widths[0] = min(widths[0], max(limit - sum(2 + width for width in widths[1:4]), 24))
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    if limit is not None:
        lines = [line if len(line) <= limit else line[: limit - 1] + "…" for line in lines]
        if is_interactive():
            lines[0] = f"\033[1m{lines[0]}\033[0m"
    print_text("\n".join(lines))


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


def between(interval: tuple[float, float] | None) -> str:
    """What follows a metric that has an interval."""
    return "" if interval is None else f"  [{interval[0]:.3f}, {interval[1]:.3f}]"


def width_of(stream: Any) -> int | None:
    """Columns of the terminal behind a stream; None where it is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None if stream.isatty() else None
    except (OSError, ValueError, AttributeError):
        return None


def _point_at_nothing(stream: Any) -> None:
    """Let what is still buffered go nowhere, so that Python does not complain at exit."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)
