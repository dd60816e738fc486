"""`zoo.report` and `zoo report`: what is written where, and what is said where that cannot be."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import zoo
from zoo.comparison.result import Comparison

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cli"))

from program import zoo as run


@pytest.fixture
def small(comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Comparison:
    """A comparison without figures, in the folder where a user works; `comparisons` has it and a later one."""
    monkeypatch.chdir(tmp_path)
    standings = tuple(each for each in comparison.standings if each.contender == "MiniLM" and each.shots == "all")
    few = replace(comparison, standings=standings, pictures=(), confusions=())
    for number, name in enumerate(("small", "later")):
        folder = tmp_path / "comparisons" / name
        folder.mkdir(parents=True)
        file = replace(few, name=name).write(folder)
        os.utime(file, (1e9 + number, 1e9 + number))
    return few


def test_a_report_of_a_name_lies_beside_the_comparison(small: Comparison) -> None:
    done = run("report", "small")
    assert (done.code, done.out, done.err) == (0, f"wrote {Path('comparisons/small/report.html')}\n", "")
    assert "<title>small</title>" in Path("comparisons/small/report.html").read_text(encoding="utf-8")


def test_every_file_is_written_where_it_was_wanted(small: Comparison) -> None:
    done = run("report", "last", "--html", "new/a.html", "--markdown", "a.md", "--csv", "tables")
    assert done.code == 0
    written = [Path(line.removeprefix("wrote ")) for line in done.out.splitlines()]
    assert [path.name for path in written] == ["a.html", "a.md", "standings.csv", "differences.csv", "curves.csv"]
    assert all(path.stat().st_size for path in written)
    assert written[1].read_text(encoding="utf-8").startswith("# later\n")
    assert not Path("comparisons/later/report.html").exists()


def test_json_is_the_comparison_itself(small: Comparison) -> None:
    done = run("report", "comparisons/small/comparison.json", "--json")
    assert done.json() == json.loads(Path("comparisons/small/comparison.json").read_text(encoding="utf-8"))
    assert not Path("comparisons/small/report.html").exists()
    both = run("report", "small", "--json", "--markdown", "a.md")
    assert both.json()["name"] == "small"
    assert both.err == "wrote a.md\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["smal"], "No comparison is named 'smal'.\nhelp: there are small, later"),
        (["elsewhere"], "elsewhere is no comparison"),
        (["small", "--html", "elsewhere"], "'elsewhere' is a folder"),
        (["small", "--csv", "file"], "'file' is a file"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_said(small: Comparison, words: list[str], said: str) -> None:
    Path("elsewhere").mkdir()
    Path("file").touch()
    done = run("report", *words)
    assert done.code == 2
    assert said in done.err


def test_from_python_a_value_is_written_too(small: Comparison, tmp_path: Path) -> None:
    assert zoo.report(small, html=tmp_path / "x.html") == (tmp_path / "x.html",)
    assert zoo.report("small") == (Path("comparisons/small/report.html"),)
    with pytest.raises(zoo.UsageError, match="needs a file to be written into"):
        zoo.report(small)
