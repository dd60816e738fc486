"""A whole plugin held against the contract, in a process of its own that cannot take this one with it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from zoo.catalog.entry_points import distribution_of, installed
from zoo.errors import PluginError, UsageError
from zoo.testing.report import Conformance, Result

IMPORT_SECONDS = 20.0
CHECK_FACTOR = 10
"""What one thing may take to be checked, in the time of an import: a large backbone is built several times."""
LAST_SECONDS = 3.0
"""That a process may take to end when all is done."""


@dataclass(frozen=True)
class PluginConformance:
    """What all checks of a plugin found: of the plugin as a whole, and of each thing that it offers."""

    name: str
    """As it was asked for."""
    distribution: str
    version: str
    subjects: tuple[Conformance, ...]
    notes: tuple[str, ...] = ()
    """What was left out."""
    seconds: float = 0.0

    @property
    def checks(self) -> int:
        """Checks that ran; those that had nothing to say do not count."""
        return sum(subject.checks for subject in self.subjects)

    @property
    def failed(self) -> tuple[Result, ...]:
        """The laws that do not hold."""
        return tuple(result for subject in self.subjects for result in subject.failed)

    @property
    def passed(self) -> bool:
        """Whether every check that ran holds, and at least one ran on everything."""
        return bool(self.subjects) and all(subject.passed for subject in self.subjects)

    def raise_failures(self) -> None:
        """Nothing if it passed.

        Raises:
            PluginError: a law that does not hold, or no check that ran.
        """
        if not self.passed:
            raise PluginError(str(self))

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `zoo plugins check --json` prints."""
        return {
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
            "passed": self.passed,
            "checks": self.checks,
            "failed": len(self.failed),
            "skipped": sum(len(subject.results) - subject.checks for subject in self.subjects),
            "notes": list(self.notes),
            "seconds": self.seconds,
            "subjects": [subject.to_json() for subject in self.subjects],
        }

    def __str__(self) -> str:
        return "\n".join(map(str, self.subjects)) or f"{self.name}: no check ran, so nothing is known"


def check_plugin(name: str, *, timeout: float = IMPORT_SECONDS, only: Sequence[str] | None = None) -> PluginConformance:
    """Hold a plugin and everything that it offers against the contract: in a new process, offline, random weights.

    Args:
        name: of a plugin, of a distribution with plugins, or of one backbone.
        timeout: seconds that a plugin may take to be imported; each thing that it offers may take ten times as long
            to be checked. The process that takes longer is killed with all its children, and that is a failure.
        only: names of the checks to run; all of them if None.

    Raises:
        UnknownNameError: no plugin, distribution, backbone or check has that name.
    """
    if timeout <= 0:
        raise UsageError(f"--timeout {timeout:g} leaves no time", help=f"give seconds, such as {IMPORT_SECONDS:g}")
    started = time.monotonic()
    jobs = [{"plugin": plugin, "distribution": distribution} for plugin, distribution in _plugins(name)]
    found = [_checked(job, timeout, only) for job in jobs or [{"backbone": name}]]
    identities = list(dict.fromkeys((each.distribution, each.version) for each in found))
    return PluginConformance(
        name,
        ", ".join(distribution for distribution, _ in identities),
        ", ".join(version for _, version in identities),
        tuple(subject for each in found for subject in each.subjects()),
        tuple(note for each in found for note in each.notes),
        round(time.monotonic() - started, 3),
    )


def _plugins(name: str) -> list[tuple[str, str]]:
    """The plugins that a name means, with their distributions; read from metadata, nothing is imported."""
    found = [(entry.name, distribution_of(entry)[0]) for entry in installed()]
    named = [each for each in found if each[0] == name]
    return named or [each for each in found if _normal(each[1]) == _normal(name)]


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


@dataclass
class _Findings:
    """What the processes of one job told."""

    what: str
    distribution: str = ""
    version: str = ""
    names: list[str] = field(default_factory=list)
    results: dict[int, list[Result]] = field(default_factory=dict)
    current: int | None = None
    imported: bool = False
    done: bool = False
    connections: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    own: list[Result] = field(default_factory=list)
    """Of the processes themselves."""

    def subjects(self) -> list[Conformance]:
        """In the order in which they were checked."""
        found = [Conformance(self.names[index], tuple(results)) for index, results in sorted(self.results.items())]
        return [*found, Conformance(f"process of {self.what}", tuple(self.own))] if self.own else found

    def take(self, event: Mapping[str, Any]) -> None:
        """One event of a process."""
        kind = event["event"]
        if kind == "error":
            raise UsageError(event["what"], help=event["help"])
        if kind == "plugin":
            self.distribution, self.version = event["distribution"], event["version"]
        elif kind == "notes":
            self.notes = event["notes"]
        elif kind == "subjects":
            self.names = event["names"]
        elif kind == "begin":
            self.current = event["index"]
        elif kind == "checked":
            self.results[event["index"]] = [Result(**each) for each in event["results"]]
            self.current = None
        elif kind == "imported":
            self.imported = True
        elif kind == "done":
            self.done = True
            self.connections += event["connections"]

    def died(self, how: str) -> int | None:
        """Put down how a process ended; the subject to go on from, None if there is none."""
        if self.current is None:
            when = "" if self.done else " while it was listed" if self.imported else " while it was imported"
            self.own.append(_process(how + when))
            return None
        self.results[self.current] = [_process(how)]
        following, self.current = self.current + 1, None
        return following if following < len(self.names) else None


def _process(how: str) -> Result:
    return Result(
        "process",
        "Its code comes back.",
        "fail",
        how,
        "the command that uses it hangs or dies, and what it did is lost",
    )


def _checked(job: dict[str, Any], timeout: float, only: Sequence[str] | None) -> _Findings:
    """Every subject of one job; a process that dies costs the subject that it was at, the others go on in a new one."""
    found = _Findings(job.get("plugin") or job["backbone"], distribution=job.get("distribution", ""))
    given = {"plugin": None, "distribution": None, "backbone": None, **job, "only": only, "seconds": timeout}
    first: int | None = 0
    while first is not None:
        found.imported = False
        with _Process({**given, "first": first}) as process:
            how = process.listen(found, timeout)
        first = None if how is None else found.died(how)
    if found.done:
        _judge_the_network(found)
    return found


def _judge_the_network(found: _Findings) -> None:
    if found.connections:
        hosts = ", ".join(sorted(set(found.connections)))
        consequence = "it fails, or hangs, on a machine without a network, where random weights need none"
        law = "Nothing is looked up or fetched from another machine."
        found.own.append(Result("offline", law, "fail", f"it wants to reach {hosts}", consequence))


class _Process:
    """One child, and the lines that it tells; killed with its group when it is left."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed in __exit__)
        environ = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", **_paths()}
        self.child = subprocess.Popen(
            [sys.executable, "-m", "zoo.testing.child", json.dumps(job)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.printed,
            env=environ,
            start_new_session=True,
        )
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(self.child.pid, signal.SIGKILL)
            else:
                self.child.kill()
        self.child.wait()
        self.reader.join()
        assert self.child.stdout is not None
        self.child.stdout.close()
        self.printed.close()

    def _read(self) -> None:
        assert self.child.stdout is not None
        with contextlib.suppress(ValueError, OSError):
            for line in self.child.stdout:
                self.lines.put(line)
        self.lines.put(None)

    def listen(self, found: _Findings, timeout: float) -> str | None:
        """Take what it tells until it is done; None, or how it ended before that."""
        for event in self._events(found, timeout):
            if isinstance(event, str):
                return event
            found.take(event)
            if found.done:
                return self._end()
        return self._ending()

    def _events(self, found: _Findings, timeout: float) -> Iterator[dict[str, Any] | str]:
        while True:
            limit = timeout * (CHECK_FACTOR if found.imported else 1)
            try:
                line = self.lines.get(timeout=limit)
            except queue.Empty:
                yield f"the process was still running after {limit:g} s and was killed"
                return
            if line is None or not line.endswith(b"\n"):  # it died, maybe in the middle of a line
                return
            yield json.loads(line)

    def _end(self) -> str | None:
        """Nothing is left to do: a process that goes on would keep every command from ending."""
        try:
            self.child.wait(LAST_SECONDS)
        except subprocess.TimeoutExpired:
            return f"the process was still running {LAST_SECONDS:g} s after its work was done and was killed"
        return None

    def _ending(self) -> str:
        code = self.child.wait()
        how = f"exit code {code}" if code >= 0 else f"signal {-code} ({signal.Signals(-code).name})"
        self.printed.seek(0)
        lines = self.printed.read()[-2000:].decode(errors="replace").strip().splitlines()
        last = f" and the words {lines[-1][:200]!r}" if lines else ""
        return f"the process ended with {how}{last}"


def _paths() -> dict[str, str]:
    """The child finds modules where this process finds them, and not in the folder where somebody works."""
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONSAFEPATH": "1"}
