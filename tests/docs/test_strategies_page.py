"""docs/strategies.md shows what `zoo plan` prints, and leaves no strategy out."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

import zoo

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "cli"))

from program import zoo as program  # noqa: E402

PAGE = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
PLANS = re.findall(r"^```sh\nzoo (plan [^\n]*)\n```\n\n```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("command", "shown"), PLANS, ids=[command for command, _ in PLANS])
def test_the_table_on_the_page_is_what_the_command_prints(command: str, shown: str) -> None:
    printed = program(*shlex.split(command)).out
    assert [line.rstrip() for line in printed.splitlines()] == shown.splitlines()


def test_every_strategy_is_on_the_page() -> None:
    assert len(PLANS) >= 15
    missing = [
        name for name in zoo.default_catalog().strategies if f"`{name}`" not in PAGE and f" {name}\n" not in PAGE
    ]
    assert not missing
