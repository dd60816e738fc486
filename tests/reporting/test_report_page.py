"""The page: every part that a comparison has, none that it has not, and nothing from outside that acts."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from made_reports import LONG, QUOTES, RTL, SCRIPT, TEX

from zoo.comparison.result import Comparison
from zoo.reporting.blocks import Gallery, Grid, Report, Section
from zoo.reporting.build import build
from zoo.reporting.page import page

pytestmark = pytest.mark.xdist_group("reporting")

PARTS = (
    "overall", "results", "cost", "curves", "modalities", "shared-space", "likeness", "confusions", "map", "errors",
    "failures", "protocol",
)  # fmt: skip


class Reader(HTMLParser):
    """Tags, attributes and words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "img", "circle", "line", "rect", "polygon", "path", "use"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data


def section(report: Report, anchor: str) -> Section:
    return next(each for each in report.sections if each.anchor == anchor)


def cells(section: Section, caption: str) -> list[list[str]]:
    grid = next(each for each in section.blocks if isinstance(each, Grid) and caption in each.caption)
    return [[f"{cell.text} {cell.beside}".strip() for cell in row.cells] for row in grid.rows]


def test_the_sentences_come_first_and_every_part_has_its_section(html: str, comparison: Comparison) -> None:
    assert html.index("What was found") < html.index(comparison.findings[0]) < html.index('id="overall"')
    order = [html.index(f'<section id="{part}"') for part in PARTS]
    assert order == sorted(order)
    assert all(f'href="#{part}"' in html for part in PARTS)


def test_a_part_that_the_comparison_has_not_is_absent(comparison: Comparison) -> None:
    data = comparison.data[:1]
    standings = tuple(each for each in comparison.standings if each.data == "emoji" and each.shots == "all")[:1]
    bare = Comparison("one", comparison.protocol, data, comparison.contenders[:1], standings, ())
    report = build(bare)
    assert [each.anchor for each in report.sections] == ["results", "protocol"]
    assert "Nothing that the figures bear out" in page(report)


def test_the_main_table_has_floors_and_the_trivial_answer_where_their_values_belong(built: Report) -> None:
    rows = cells(section(built, "results"), "Accuracy on 1,000 held-out rows")
    assert [row[0] for row in rows] == [
        "resnet18 + MiniLM", "CLIP ViT-B-32", "MiniLM", "resnet18", "MiniLM, random", "glyph-cnn", "resnet18, random",
        "Always the most frequent answer",
    ]  # fmt: skip
    assert [row[1] for row in rows] == ["1 =", "1 =", "3", "4", "–", "5", "–", "–"]
    assert rows[2][4] == "reference"


def test_differences_are_to_the_reference_whichever_way_they_were_taken(built: Report, comparison: Comparison) -> None:
    rows = {row[0]: row for row in cells(section(built, "results"), "Accuracy on 1,000 held-out rows")}
    apart = {(each.of, each.since): each for each in comparison.differences if each.data == "emoji"}
    below, above = apart["resnet18", "MiniLM"].value, apart["MiniLM", "resnet18 + MiniLM"].value
    assert rows["resnet18"][4].startswith(f"{below:+.3f}".replace("-", "−"))
    assert rows["resnet18 + MiniLM"][4].startswith(f"{-above:+.3f}")


def test_a_metric_that_should_be_low_puts_the_lowest_first(comparison: Comparison) -> None:
    data = replace(comparison.data[0], metric="rmse", task="regression", trivial=0.9, classes=())
    few = replace(comparison, data=(data,), pictures=(), confusions=(), errors=())
    rows = cells(section(build(few), "results"), "RMSE")
    values = [float(row[2].split()[0]) for row in rows]
    assert values == sorted(values)
    assert rows[-1][0] == "Always the mean"


def test_the_page_asks_for_nothing_and_runs_nothing(html: str, hostile_html: str) -> None:
    for text in (html, hostile_html):
        found = Reader(text)
        tags = Counter(tag for tag, _ in found.tags)
        assert not tags.keys() & {"script", "link", "iframe", "object", "embed", "base", "form"}
        assert not any(name.startswith("on") for _, given in found.tags for name in given)
        sources = [
            given[name] or "" for _, given in found.tags for name in ("src", "href", "xlink:href") if name in given
        ]
        assert all(each.startswith(("#", "data:image/")) for each in sources)
        assert "@import" not in text
        assert not re.search(r"url\((?!#)", text)
        assert "default-src 'none'" in text


def test_hostile_names_are_shown_as_they_are(hostile_html: str) -> None:
    words = Reader(hostile_html).words
    assert SCRIPT in words
    assert QUOTES in words
    assert TEX in words
    assert LONG[:100] in words
    assert "safe⟨U+202E⟩gpj.exe" in words
    assert not set("\u202e\u2066\u2069\x00") & set(hostile_html)
    assert RTL[-4:] in words, "letters that are written from right to left stay"


def pictures(report: Report) -> list[str | None]:
    galleries = [block for block in section(report, "errors").blocks if isinstance(block, Gallery)]
    return [case.image for gallery in galleries for case in gallery.cases]


def test_a_picture_from_elsewhere_is_left_out(built_to_break: Report, built: Report) -> None:
    assert set(pictures(built_to_break)) == {None}
    assert sum(each is not None for each in pictures(built)) == 7


def test_the_same_comparison_gives_the_same_bytes(comparison: Comparison) -> None:
    small = replace(comparison, data=comparison.data[:1], standings=comparison.standings[:4], pictures=())
    assert page(build(small)) == page(build(small))


def test_every_identifier_stands_once_and_every_reference_has_one(html: str) -> None:
    found = Reader(html)
    names = Counter(given["id"] for _, given in found.tags if "id" in given)
    assert max(names.values()) == 1
    wanted = {
        given[name]
        for _, given in found.tags
        for name in ("href", "xlink:href", "for", "aria-labelledby")
        if name in given
    }
    assert {(each or "").removeprefix("#") for each in wanted} <= names.keys()
    assert set(re.findall(r"url\(#([^)\"]+)", html)) <= names.keys()


def test_a_screen_reader_finds_headings_and_heads_of_tables(html: str) -> None:
    found = Reader(html)
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(given.get("scope") in ("col", "row") for tag, given in found.tags if tag == "th")
    assert Counter(tag for tag, _ in found.tags)["caption"] == Counter(tag for tag, _ in found.tags)["table"]
    assert all(given.get("alt") for tag, given in found.tags if tag == "img")
    drawings = [given for _, given in found.tags if given.get("class") == "drawing"]
    assert drawings
    assert all(given["role"] == "img" and given["aria-label"] for given in drawings)


def test_figures_take_their_colours_from_the_page(html: str) -> None:
    drawn = re.findall(r'<div class="drawing".*?</div>', html, re.DOTALL)
    assert len(drawn) == 5 * 2 + 2 + 2
    assert not [colour for each in drawn for colour in re.findall(r"#[0-9a-f]{6}\b", each)]
    assert all("var(--ink)" in each and "<text" in each for each in drawn)


def test_a_large_matrix_is_told_by_its_mistakes(comparison: Comparison) -> None:
    classes = tuple(f"class {number}" for number in range(40))
    matrix = tuple(tuple(9 if a == b else 3 * (a == 7 and b == 8) for b in range(40)) for a in range(40))
    confusion = replace(comparison.confusions[0], matrix=matrix)
    large = replace(
        comparison, data=(replace(comparison.data[0], classes=classes),), confusions=(confusion,), standings=()
    )
    text = page(build(large))
    assert 'class="heat"' not in text.partition('id="confusions"')[2].partition("</section>")[0]
    assert re.search(r"class 7</bdi>.*?class 8</bdi>.*?>3</bdi>.*?25%", text, re.DOTALL)
