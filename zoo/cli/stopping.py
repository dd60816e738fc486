"""Ctrl-C and SIGTERM as requests to stop after a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from zoo.cli import console
from zoo.errors import ZooError


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C or SIGTERM asks for a checkpoint; the second ends at once."""
    asked = threading.Event()
    signals: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, _: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        signals.append(number)
        console.note("stopping after this step; once more to leave at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    except ZooError as error:
        if signals == [signal.SIGTERM] and error.kind == "interrupted":
            console.print_error(error)
            raise typer.Exit(128 + signal.SIGTERM) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
