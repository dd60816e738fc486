"""Who works on what, among processes and machines that share a folder and nothing else.

A claim is a file that only one process can create. Its owner touches it while it lives; one that nobody has touched
for a while belongs to the dead, and the next generation of it may be created, by one process only again. Nothing
relies on claims but that work is not done twice: what is written has to be whole at every moment by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

EXPIRY_SECONDS = 180.0
"""Without a touch for so long an owner is taken for dead; well above the minute for which NFS may remember the age of
a file."""
BEATS = 9
"""Touches within that time."""


@dataclass(frozen=True)
class Claim:
    """The right to do one piece of work, until `Claims.release`."""

    name: str
    path: Path
    generation: int
    """0, and one more each time that it was taken from the dead."""


class Claims:
    """The claims of this process in a folder; a context, at whose end they are given back.

    Args:
        folder: that all who work share; made if absent.
        expiry: seconds; the same for all.
    """

    def __init__(self, folder: Path, *, expiry: float = EXPIRY_SECONDS) -> None:
        self.folder = folder
        self.expiry = expiry
        self._held: dict[Path, Claim] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._clock = folder / f".clock-{uuid.uuid4().hex[:8]}"
        self._owner = json.dumps(_myself()).encode()
        self._beating = threading.Thread(target=self._beat, name="zoo-claims", daemon=True)

    def __enter__(self) -> Claims:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._beating.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._beating.join()
        for claim in list(self._held.values()):
            self.release(claim)
        self._clock.unlink(missing_ok=True)

    def take(self, name: str) -> Claim | None:
        """The claim on this piece of work; None where another that lives has it.

        Who has taken it must look once more whether the work is done: its last owner may just have finished.
        """
        stem = quote(name, safe="")
        there = self._generations(stem)
        if there and not self._abandoned(self._path(stem, there[-1])):
            return None
        claim = Claim(name, self._path(stem, there[-1] + 1 if there else 0), there[-1] + 1 if there else 0)
        try:
            handle = os.open(claim.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:  # another was quicker
            return None
        with os.fdopen(handle, "wb") as file:
            file.write(self._owner)
        with self._lock:
            self._held[claim.path] = claim
        return claim

    def holds(self, claim: Claim) -> bool:
        """Whether nobody has taken it over, as happens to a process that was stopped for long and then woke up."""
        return claim.path.exists() and self._generations(quote(claim.name, safe=""))[-1:] == [claim.generation]

    def release(self, claim: Claim) -> None:
        """Give it back, with what its dead owners left."""
        with self._lock:
            self._held.pop(claim.path, None)
        stem = quote(claim.name, safe="")
        for generation in range(claim.generation, -1, -1):
            self._path(stem, generation).unlink(missing_ok=True)

    def _path(self, stem: str, generation: int) -> Path:
        return self.folder / f"{stem}.{generation}.claim"

    def _generations(self, stem: str) -> list[int]:
        names = (path.name for path in self.folder.iterdir())
        endings = (name[len(stem) + 1 :] for name in names if name.startswith(f"{stem}."))
        return sorted(int(number) for number, _, kind in (each.partition(".") for each in endings) if kind == "claim")

    def _abandoned(self, path: Path) -> bool:
        try:
            owner = json.loads(path.read_bytes() or b"{}")
            touched = path.stat().st_mtime
        except FileNotFoundError:  # given back this moment; there is a next time
            return False
        except ValueError:
            owner, touched = {}, path.stat().st_mtime
        return _is_dead(owner) or self._now() - touched > self.expiry

    def _now(self) -> float:
        """By the clock of the file system, which is that of all who touch files there, whatever machines show."""
        self._clock.touch()
        return self._clock.stat().st_mtime

    def _beat(self) -> None:
        while not self._ended.wait(self.expiry / BEATS):
            with self._lock:
                held = list(self._held)
            for path in held:
                with contextlib.suppress(OSError):  # taken over and finished by another
                    os.utime(path)


def _myself() -> dict[str, Any]:
    import psutil

    return {
        "host": platform.node(),
        "machine": _machine(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
    }


def _machine() -> str | None:
    """This start of this machine, and in it the space in which process numbers mean something; None if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _is_dead(owner: Mapping[str, Any]) -> bool:
    """Whether the owner ran here and is gone; of other machines only time can tell."""
    import psutil

    if owner.get("machine") is None or owner["machine"] != _machine():
        return False
    try:
        process = psutil.Process(int(owner["pid"]))
        # Seconds apart: numbers of processes are given anew.
        gone: bool = process.status() == psutil.STATUS_ZOMBIE
        return gone or abs(float(process.create_time()) - float(owner["started"])) > 2
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, KeyError, ValueError):
        return False
