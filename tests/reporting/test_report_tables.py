"""Markdown and CSV: the same figures, and names that stay text."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from made_reports import FORMULA, HOSTILE, LINES, SCORES
from markdown_it import MarkdownIt

from zoo.comparison.result import Comparison
from zoo.reporting import words
from zoo.reporting.blocks import Report
from zoo.reporting.markdown import markdown, text
from zoo.reporting.tidy import write_tables

pytestmark = pytest.mark.xdist_group("reporting")
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_markdown_has_the_sentences_the_tables_and_the_command(built: Report, comparison: Comparison) -> None:
    found = markdown(built)
    assert all(text(sentence) in found for sentence in comparison.findings)
    assert re.search(r"^\| 3 resnet18 \+ MiniLM \| 1 = \| 0\.851 \[0\.821, 0\.881\] \|", found, re.MULTILINE)
    assert f"```sh\n{comparison.protocol.command}\n```" in found
    assert "<svg" not in found
    assert not re.search(r"\n\n\n", found)


@pytest.mark.parametrize(
    "name", [*HOSTILE, "# a", "1. a", "- a", "<b>", "&lt;", "`a", "a_b_c", "@someone", "---", "![x](y)", "~~a~~"]
)
def test_markdown_shows_a_name_and_does_nothing_else(name: str) -> None:
    shown = PARSER.render(text(name))
    inside = shown.removeprefix("<p>").removesuffix("</p>\n")
    assert not re.search(r"<[a-z/]", inside), inside
    assert unescape(inside) == words.one_line(name)


def test_tables_of_markdown_keep_their_columns_whatever_the_names(built_to_break: Report) -> None:
    found = PARSER.render(markdown(built_to_break))
    assert "<script" not in found
    assert "<a " not in found
    for table in re.findall(r"<table>.*?</table>", found, re.DOTALL):
        heads = table.count("</th>")
        assert {line.count("<td") for line in re.findall(r"<tr>\n<td.*?</tr>", table, re.DOTALL)} <= {heads}
    assert found.count("<table>") == found.count("</table>") > 10


def test_the_csv_files_hold_every_value(comparison: Comparison, tmp_path: Path) -> None:
    standings, differences, curves = map(rows, write_tables(comparison, tmp_path / "new" / "tables"))
    assert len(curves) == sum(len(each.values) for each in comparison.standings)
    assert len(differences) == len(comparison.differences)
    main = [row for row in standings if row["main"] == "yes"]
    assert len(main) == len(comparison.standings)
    assert [float(row["value"]) for row in main] == [each.value for each in comparison.standings]
    assert {row["metric"] for row in standings} == {"accuracy", "macro_f1", "log_loss", "ece"}
    assert {row["contender"] for row in main if row["floor_of"]} == {name for name in SCORES if "random" in name}
    assert {row["rank"] for row in main if row["floor_of"]} == {""}


def test_no_cell_is_a_formula_and_no_name_breaks_a_row(breaking: Comparison, tmp_path: Path) -> None:
    standings, differences, curves = map(rows, write_tables(breaking, tmp_path))
    for row in (*standings, *differences, *curves):
        assert None not in row
        given = {
            name: value
            for name, value in row.items()
            if name in ("data", "contender", "backbone", "of", "since", "test")
        }
        assert not [value for value in given.values() if value[:1] in ("=", "+", "-", "@", "\t", "\r")]
    names = {row["contender"] for row in curves}
    assert f"'{FORMULA}" in names
    assert LINES in names
    assert {float(row["value"]) < 0 for row in differences} == {True, False}, "numbers stay numbers"


def test_a_name_with_a_broken_letter_is_written_all_the_same(comparison: Comparison, tmp_path: Path) -> None:
    broken = replace(comparison, differences=(replace(comparison.differences[0], test="a\udcff\0b"),))
    write_tables(broken, tmp_path)
    assert rows(tmp_path / "differences.csv")[0]["test"] == "a\\udcffb"
