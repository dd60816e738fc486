"""`zoo` in a process of its own that need not import torch again: a fork of one that has done nothing but import.

It is killed, interrupted and judged like any process. What depends on how a process starts is tested with a new one.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORTS = ("torch._dynamo", "sklearn.linear_model", "timm", "transformers", "zoo.verbs.finetune", "zoo.cli.app")
SERVER = f"""
import contextlib, importlib, json, os, sys

for name in {IMPORTS}:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)

for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        continue
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(job["out"], os.O_WRONLY), 1)
    os.dup2(os.open(job["err"], os.O_WRONLY), 2)
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    sys.argv = ["zoo", *job["words"]]
    from zoo.cli.main import run

    run()
"""


class Forked:
    """A command that runs, with what is used of `subprocess.Popen`; one at a time."""

    def __init__(self, words: list[str], *, cwd: Path, env: dict[str, str]) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.files = [Path(self.folder.name) / name for name in ("out", "err")]
        for file in self.files:
            file.touch()
        self.server = _server()
        out, err = map(str, self.files)
        self._tell({"words": words, "cwd": str(cwd), "env": env, "out": out, "err": err})
        self.pid = int(self._line())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code once it has ended; that of a signal is negative."""
        assert self.server.stdout is not None
        if self.returncode is None and select.select([self.server.stdout], [], [], 0)[0]:
            self.returncode = int(self._line())
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """What it printed, when it has ended."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < end, f"it goes on after {timeout} s"
            time.sleep(0.01)
        out, err = (file.read_text() for file in self.files)
        self.folder.cleanup()
        return out, err

    def said(self) -> str:
        """Standard error so far."""
        return self.files[1].read_text()

    def _tell(self, job: dict[str, object]) -> None:
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps(job).encode() + b"\n")
        self.server.stdin.flush()

    def _line(self) -> bytes:
        assert self.server.stdout is not None
        return self.server.stdout.readline()


@functools.cache
def _server() -> subprocess.Popen[bytes]:
    """The process that has imported; it ends with this one, whose end of the pipe it reads."""
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=pipe, stdout=pipe, env=environ, bufsize=0)
    atexit.register(server.kill)
    return server
