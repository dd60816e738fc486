"""The table of systems says what the catalogue says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import zoo

PAGE = Path(__file__).resolve().parents[2] / "docs" / "systems.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if re.match(r"\| [^|]+ \| `", line)
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].replace(" ", "-"))
def test_width_and_stages_are_those_of_the_catalogue(row: list[str]) -> None:
    found = zoo.default_catalog().select(row[1].strip("`"), offline=True)[0]
    assert found.spec.dim == int(row[2])
    assert found.spec.stages is not None
    own = [stage for stage in found.spec.stages if found.spec.space is None or stage.startswith(f"{found.towers[0]}.")]
    assert len(own) == int(row[4])


def test_every_system_of_the_test_is_in_the_table() -> None:
    text = (PAGE.parents[1] / "tests" / "cli" / "test_every_system.py").read_text(encoding="utf-8")
    tested = set(re.findall(r'^    "([\w -]+)": ', text, flags=re.MULTILINE))
    named = {row[0].partition(",")[0].removesuffix(" 2") for row in ROWS}
    assert {name.removesuffix(" v3") for name in tested} == named


def test_every_row_names_a_test_that_exists() -> None:
    for row in ROWS:
        path = re.search(r"\((.+)\)", row[6])
        assert path is not None
        assert (PAGE.parent / path[1]).is_file()
