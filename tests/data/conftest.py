"""The program itself, run within the test's process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no fault of the code.
settings.register_profile("zoo", deadline=None)
settings.load_profile("zoo")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def zoo_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """`zoo WORDS...` in a temporary folder."""
    from zoo.cli.main import run

    def command(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["zoo", *map(str, words)])
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        code = 0
        try:
            run()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return command
