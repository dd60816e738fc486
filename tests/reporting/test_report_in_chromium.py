"""The page in a real browser: silent, still, readable at every width, in the dark and on paper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, find_chromium

pytestmark = pytest.mark.xdist_group("reporting")

CONTRAST = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = (colour, under) => {
    canvas.fillStyle = `rgb(${under.join()})`; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = parts => parts.map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = element => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
    return layers.reduce((under, colour) => rgb(colour, under), [255, 255, 255]);
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || !element.getClientRects().length || element.closest(".none")) continue;
    const style = getComputedStyle(element), under = behind(element);
    const ink = rgb(element.closest("svg") ? style.fill : style.color, under);
    const [high, low] = [light(ink), light(under)].sort((a, b) => b - a);
    found.push([(high + 0.05) / (low + 0.05), element.textContent.trim().slice(0, 40)]);
  }
  return found.filter(each => each[0] < 4.5).concat([[found.length, "texts"]]);
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("needs Chromium")
    with Browser(program, tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, html: str, hostile_html: str) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    found = {"plain": folder / "plain.html", "hostile": folder / "hostile.html"}
    found["plain"].write_text(html, encoding="utf-8")
    found["hostile"].write_text(hostile_html, encoding="utf-8")
    return found


@pytest.mark.parametrize("which", ["plain", "hostile"])
@pytest.mark.parametrize("width", [320, 390, 820, 1280])
def test_the_page_is_silent_asks_for_nothing_and_never_scrolls_sideways(
    browser: Browser, pages: dict[str, Path], which: str, width: int
) -> None:
    browser.open(pages[which], width=width)
    assert browser.complaints() == []
    assert browser.requests() == []
    assert browser.value("document.documentElement.scrollWidth") == width
    assert "broken" not in browser.value("document.title").replace("document.title='broken'", "")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(browser: Browser, pages: dict[str, Path], dark: bool) -> None:
    browser.open(pages["plain"], dark=dark)
    *faint, (count, _) = browser.value(CONTRAST)
    assert faint == []
    assert count > 500
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 120) is dark


def test_the_cost_is_chosen_with_the_keyboard_alone(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["plain"])
    shown = "[...document.querySelectorAll('#cost .choice')[0].querySelectorAll('.panel')].map(e => e.offsetHeight > 0)"
    assert browser.value(shown) == [True, False, False, False, False]
    browser.value("document.querySelector('#cost input').focus()")
    browser.press("ArrowRight", 39)
    browser.press("ArrowRight", 39)
    assert browser.value(shown) == [False, False, True, False, False]


def test_a_reader_with_a_keyboard_reaches_the_findings_first(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["plain"])
    browser.press("Tab", 9)
    assert browser.value("document.activeElement.getAttribute('href')") == "#findings"
    assert browser.value("document.activeElement.getBoundingClientRect().left >= 0")


def test_on_paper_every_view_and_fold_is_there(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    browser.open(pages["plain"], dark=True)
    browser.print(tmp_path / "report.pdf")
    printed = (tmp_path / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert 8 <= len(re.findall(rb"/Type /Page\b", printed)) <= 24
    browser.call("Emulation.setEmulatedMedia", media="print")
    hidden = "[...document.querySelectorAll('.panel, .panel table, figure')].filter(each => !each.offsetHeight).length"
    assert browser.value(hidden) == 0
    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.value("document.querySelector('nav').offsetHeight") == 0
