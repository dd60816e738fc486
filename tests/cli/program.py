"""The `zoo` program run inside the test's own process: as fast as a call, judged like a process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.cli import main

CLI_PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as one JSON document; a second one or any other word is an error."""
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Zoo = Callable[..., Done]


def zoo(*words: object, stdin: str = "") -> Done:
    """Run `zoo WORDS`, with the environment, arguments and streams put back afterwards."""
    out, err = io.StringIO(), io.StringIO()
    before, argv, source = dict(os.environ), sys.argv, sys.stdin
    sys.argv, sys.stdin = ["zoo", *map(str, words)], io.StringIO(stdin)
    code: object = None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            main.run()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.argv, sys.stdin = argv, source
        os.environ.clear()
        os.environ.update(before)
    assert isinstance(code, int)
    return Done(code, out.getvalue(), err.getvalue())


def documented(marker: str, page: Path = CLI_PAGE) -> set[str]:
    """The words in backquotes in the first column of the first table after the line that holds `marker`."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = next((i for i, line in enumerate(lines) if marker in line), None)
    assert start is not None, f"{page.name} does not mention {marker}"
    start += next(i for i, line in enumerate(lines[start:]) if line.startswith("| --- |"))
    table = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        table.append(line.split(" | ")[0])
    return {word for cell in table for word in re.findall(r"`([^`]+)`", cell)}
