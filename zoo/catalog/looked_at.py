"""What a plugin looks at while it lists: files, folders and settings of the environment.

What it lists can be kept for as long as all of that stays as it was, and no longer. Watching costs every opened file a
call, so only the short-lived commands that keep an index do it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

MOST = 2000
"""Files and folders above which asking for each of them would take longer than listing anew."""
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork")
_CONNECTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "sqlite3.connect")
_READS = ("open", "os.listdir", "os.scandir")
_ASKED = ("stat", "lstat", "access", "readlink")
"""Of `os`, which tell Python's audit nothing."""


@dataclass
class LookedAt:
    """What one plugin looked at."""

    paths: set[str] = field(default_factory=set)
    """Files that it opened and folders that it listed, there or not."""
    asked: set[str] = field(default_factory=set)
    """Paths of which it asked whether they are there, or what they are."""
    settings: dict[str, str | None] = field(default_factory=dict)
    """Variables of the environment as they were; None: not set."""
    packages: set[str] = field(default_factory=set)
    """Top-level names that it imported, or tried to, and Python did not bring."""
    reason: str | None = None
    """Why what it lists cannot be kept, in words that follow its name."""

    def refuse(self, reason: str) -> None:
        """The first reason counts."""
        self.reason = self.reason or reason


class Watch:
    """Whether plugins are watched in this process, and the one that is at the moment."""

    def __init__(self) -> None:
        self.wanted = False
        self._now: LookedAt | None = None
        self._hooked = False

    @contextmanager
    def plugin(self, name: str, into: dict[str, LookedAt]) -> Iterator[None]:
        """Note under this name what is looked at while this lasts, where somebody wants to know."""
        if not self.wanted:
            yield
            return
        if not self._hooked:
            sys.addaudithook(self._heard)  # can never be taken back
            self._hooked = True
        found = self._now = into[name] = LookedAt()
        modules = set(sys.modules)
        try:
            with self._asking(), self._reading():
                yield
        finally:
            self._now = None
            _note_modules(found, set(sys.modules) - modules)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python's audit: https://docs.python.org/3/library/audit_events.html."""
        found = self._now
        if found is None:
            return
        if event == "import":
            name = arguments[0].partition(".")[0]
            if name not in sys.stdlib_module_names:
                found.packages.add(name)
        elif event in _READS:
            # What Python reads to import is known by the modules that come of it.
            if not (sys._getframe(1).f_code.co_filename.startswith("<frozen importlib") or _writes(event, arguments)):
                self._note("." if arguments[0] is None else arguments[0], found.paths)
        elif event.startswith(_STARTS):
            found.refuse("starts another program while it lists")
        elif event in _CONNECTS:
            found.refuse("asks a network or a database while it lists")
        elif event == "ctypes.dlopen":
            found.refuse("loads a library of C while it lists")

    def _note(self, path: Any, among: set[str]) -> None:
        found = self._now
        if found is None or isinstance(path, int):  # a file that is open already
            return
        name = os.fsdecode(path)
        if not os.path.isabs(name):  # noqa: PTH117
            found.refuse("lists what depends on the folder that zoo is run in")
        elif "__pycache__" not in name:
            among.add(name)
            if len(among) > MOST:
                found.refuse(f"looks at more than {MOST:,} files while it lists")

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """`os.stat` and the like, and `os.getcwd`, note what they are asked."""
        kept = {name: getattr(os, name) for name in (*_ASKED, "getcwd")}

        def noting(ask: Callable[..., Any]) -> Callable[..., Any]:
            def asked(path: Any, *more: Any, **options: Any) -> Any:
                if self._now is not None:
                    self._note(path, self._now.asked)
                return ask(path, *more, **options)

            return asked

        def getcwd() -> str:
            if self._now is not None:
                self._now.refuse("lists what depends on the folder that zoo is run in")
            return str(kept["getcwd"]())

        try:
            for name in _ASKED:
                setattr(os, name, noting(kept[name]))
            setattr(os, "getcwd", getcwd)  # noqa: B010
            yield
        finally:
            for name, value in kept.items():
                setattr(os, name, value)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """`os.environ` notes which of its variables are read."""
        watch, plain = self, type(os.environ)

        class Noted(plain):  # type: ignore[misc, valid-type]
            def __getitem__(self, key: str) -> str:
                if watch._now is not None:
                    watch._now.settings.setdefault(key, self._plain(key))
                value: str = super().__getitem__(key)
                return value

            def __iter__(self) -> Iterator[str]:
                if watch._now is not None:
                    watch._now.refuse("reads the whole environment while it lists")
                return iter(super().__iter__())

            def _plain(self, key: str) -> str | None:
                try:
                    value: str = super().__getitem__(key)
                except KeyError:
                    return None
                return value

        os.environ.__class__ = Noted
        try:
            yield
        finally:
            os.environ.__class__ = plain


WATCH = Watch()
"""Of this process."""


def _writes(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a file is opened to be written, as compiled modules are, and not read."""
    if event != "open":
        return False
    _, mode, flags = arguments
    if isinstance(mode, str):
        return not ("r" in mode or "+" in mode)
    return isinstance(flags, int) and flags & os.O_ACCMODE == os.O_WRONLY


def _note_modules(found: LookedAt, names: set[str]) -> None:
    """The files of what was imported; those that Python brings change with it alone."""
    for name in names:
        module = sys.modules.get(name)
        if name.partition(".")[0] in sys.stdlib_module_names or module is None:
            continue
        found.packages.add(name.partition(".")[0])
        file = getattr(module, "__file__", None)
        if isinstance(file, str):
            found.paths.add(file)
            if not file.endswith((".py", ".pyc")):
                found.refuse(f"imports {name}, whose compiled code may read anything, while it lists")
