"""Texts that are drawn: all of it, as large as fits, within the sheet, the same every time."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from zoo.data.pictures import DEJAVU, Page, Picture, plain
from zoo.errors import UsageError

PAGE = Page()
WORDS = "the quick brown fox jumps over the lazy dog "


def pixels(picture: Picture) -> NDArray[np.uint8]:
    """(H, W) grey."""
    with Image.open(io.BytesIO(picture.png)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


@given(text=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=400))
def test_ink_stays_within_the_sheet_and_the_same_text_is_the_same_picture(text: str) -> None:
    picture = PAGE.draw(text)
    found = pixels(picture)
    assert found.shape == (224, 224)
    assert (found < 128).any() == bool(text.strip())
    assert (found[:4] == 255).all()
    assert (found[-4:] == 255).all()
    assert (found[:, :4] == 255).all()
    assert (found[:, -4:] == 255).all()
    assert picture == Page().draw(text)


@given(
    words=st.lists(st.text("abcdefgh ,.", min_size=1, max_size=30), min_size=1, max_size=60), size=st.integers(32, 300)
)
def test_every_word_is_in_the_lines_unless_the_text_is_cut(words: list[str], size: int) -> None:
    page, text = Page(size=size, smallest=8), " ".join(words)
    letters, lines, cut = page._laid_out(text)
    assert page.smallest <= letters <= page.largest
    whole = "".join(text.split())
    assert whole.startswith("".join("".join(lines).split()))
    assert cut == ("".join("".join(lines).split()) != whole)
    if cut:
        assert letters == page.smallest


def test_a_longer_text_has_smaller_letters_and_the_longest_is_cut() -> None:
    found = [PAGE.draw(WORDS * times) for times in (1, 4, 8, 40)]
    assert [each.letters for each in found] == sorted((each.letters for each in found), reverse=True)
    assert found[0].letters == PAGE.largest
    assert [each.cut for each in found] == [False, False, False, True]
    assert found[-1].letters == PAGE.smallest
    assert not Page(size=512).draw(WORDS * 40).cut


def test_lines_end_where_the_text_says_and_words_wider_than_the_sheet_are_broken() -> None:
    assert plain("one\r\n\ntwo\tthree\x07\ud800") == "one\n\ntwo three"
    _, lines, _ = PAGE._laid_out("one\n\ntwo three")
    assert lines == ["one", "", "two three"]
    _, lines, _ = PAGE._laid_out("x" * 60)
    assert len(lines) > 1
    assert "".join(lines) == "x" * 60


def test_characters_that_the_font_lacks_are_named_and_another_font_has_them() -> None:
    text = "naïve 日本 \N{ZERO WIDTH SPACE}\N{NO-BREAK SPACE}ok 日"
    assert PAGE.draw(text).missing == ("ï", "日", "本")
    assert Page(font=DEJAVU).draw("naïve Ωμέγα Привет — ok").missing == ()


def test_without_text_the_picture_is_blank() -> None:
    picture = PAGE.draw(" \n\t")
    assert picture.letters == 0
    assert (pixels(picture) == 255).all()


def test_a_font_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--font .*gone.ttf: there is no such file"):
        Page(font=tmp_path / "gone.ttf")
    (tmp_path / "text.ttf").write_text("no font")
    with pytest.raises(UsageError, match=r"--font .*text.ttf: Pillow cannot read it"):
        Page(font=tmp_path / "text.ttf")


@pytest.mark.parametrize(
    ("size", "smallest", "what"), [(8, 4, "--size 8"), (224, 60, "--smallest 60"), (224, 0, "--s")]
)
def test_sizes_that_make_no_sense_are_refused(size: int, smallest: int, what: str) -> None:
    with pytest.raises(UsageError, match=f"{what}.* is outside"):
        Page(size=size, smallest=smallest)
