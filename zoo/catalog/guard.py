"""Foreign code run so that whatever it does costs a line, never the program."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from zoo.errors import PluginError, ZooError

T = TypeVar("T")


class TooSlowError(PluginError):
    """Foreign code that did not come back in time."""


def within(seconds: float, call: Callable[[], T], name: str, *, short: float = 0.0, hangs: Callable[[], bool]) -> T:
    """What `call` returns, run in a thread of its own.

    Args:
        seconds: that it may take.
        call: foreign code.
        name: of the thread.
        short: seconds after which `hangs` is asked.
        hangs: whether waiting longer than that is known to be in vain.

    Raises:
        TooSlowError: it did not come back in time; it is then ended where it next runs a line of Python.
        PluginError: whatever it raised, sys.exit included.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001  (a plugin may even call sys.exit)
            errors.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(min(short, seconds))
    given_up = thread.is_alive() and hangs()
    if not given_up:
        thread.join(max(seconds - short, 0.0))
    if results:
        return results[0]
    if not errors:
        import ctypes

        # Left alone it would go on to import, print and change things behind the program's back.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        raise TooSlowError(f"it did not load within {min(short, seconds) if given_up else seconds:g} s")
    raise as_plugin_error(errors[0])


def as_plugin_error(error: BaseException) -> PluginError:
    """Whatever foreign code raised, in one line."""
    if isinstance(error, PluginError):
        return error
    if isinstance(error, ZooError):
        return PluginError(error.what)
    text = " ".join(str(error).split())
    return PluginError(f"{type(error).__name__}: {text}" if text else f"it raised {type(error).__name__}")


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """What foreign code prints must not end up in `--json` output, even if a library or a child prints it."""
    sys.stdout.flush()
    kept: int | None = None
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # a closed stream
        kept = None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


class Surroundings:
    """What the whole process shares, as it is now; an import must leave it alone."""

    def __init__(self) -> None:
        self.environ = dict(os.environ)
        self.filters = list(warnings.filters)
        self.silencing = _silencing()
        self.values = _values()

    def changed(self) -> tuple[str, ...]:
        """What is not as it was, in words."""
        names = sorted({name for name, _ in self.environ.items() ^ os.environ.items()})
        now = _values()
        return (*names, *(name for name, value in self.values.items() if now[name] != value))

    def restore_warnings(self) -> None:
        """Hear warnings again where they were silenced."""
        if _silencing() != self.silencing:
            warnings.filters[:] = self.filters  # type: ignore[index]


def _values() -> dict[str, Any]:
    """By name; only of what is imported already, since a library that a plugin brings has nothing to change."""
    values: dict[str, Any] = {"the working folder": _working_folder()}
    if random := sys.modules.get("random"):
        values["the random state"] = random.getstate()
    if logging := sys.modules.get("logging"):
        values["the root logger"] = (logging.root.level, len(logging.root.handlers), logging.root.manager.disable)
    values["the warning filters"] = _silencing()
    if (torch := sys.modules.get("torch")) and hasattr(torch, "get_default_dtype"):
        values["torch's default dtype"] = torch.get_default_dtype()
        values["torch's random state"] = torch.initial_seed()
    return values


def _silencing() -> list[Any]:
    """Filters of one module or message are a library's own affair; those for everything are not."""
    return [each for each in warnings.filters if not each[1] and each[2] is Warning and not each[3]]


def _working_folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  (Path.cwd() is the same and slower to import)
    except OSError:  # removed under our feet
        return None
