"""Lines and tables on the streams, with nothing imported that an answer from the index need not wait for."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing `typing` would take a third of the time
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def is_interactive() -> bool:
    """Whether bars and colours may be drawn on standard error."""
    plain = any(os.environ.get(name) for name in ("NO_COLOR", "CI")) or os.environ.get("TERM") == "dumb"
    return sys.stderr.isatty() and not plain


def note(text: str) -> None:
    """One line on standard error; a reader that went away never stops the work."""
    try:
        print(text, file=sys.stderr, flush=True)  # noqa: T201
    except BrokenPipeError:
        _point_at_nothing(sys.stderr)


def print_text(text: str) -> None:
    """Part of the answer, on standard output."""
    try:
        print(text.rstrip("\n"), flush=True)  # noqa: T201
    except BrokenPipeError:
        # The reader has had enough, as in `zoo list | head`; nothing is wrong.
        _point_at_nothing(sys.stdout)
        raise SystemExit(0) from None


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


def human_count(value: int | None) -> str:
    """56 k, 25.6 M, 1.2 G."""
    if value is None:
        return "?"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            scaled = value / limit
            return f"{scaled:.1f} {unit}" if scaled < 100 else f"{scaled:.0f} {unit}"
    return str(value)


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
