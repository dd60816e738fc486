"""Texts as pictures: black letters on white, as large as fits, the same picture for the same text every time."""

from __future__ import annotations

import importlib.util
import io
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.errors import UsageError

DEFAULT_SIZE = 224
"""Pixels on a side, as most image backbones take them."""
DEFAULT_SMALLEST = 9
"""Pixels from one baseline to the next, nearly: letters any smaller have no room for their strokes."""
LARGEST_SHARE = 7
"""Letters are at most this part of the side, so that a short text stays a text and does not become a sign."""
DEJAVU = "dejavu"
MARGIN_SHARE = 28
"""The border is this part of the side: 8 of 224 pixels."""


@dataclass(frozen=True)
class Picture:
    """A text that was drawn."""

    png: bytes = field(repr=False)
    letters: int
    """Size of the font in pixels; 0 where there is no text."""
    cut: bool
    """Whether some of the text did not fit even in the smallest letters."""
    missing: tuple[str, ...]
    """Characters that the font does not have, each once; a box stands for each."""


class Page:
    """A square sheet on which texts are written.

    Args:
        size: pixels on a side.
        font: a TrueType or OpenType file, or "dejavu", which matplotlib brings and which has most alphabets; None: the
            scalable font that Pillow brings, which has English.
        smallest: size of the smallest letters in pixels; what does not fit in these is cut.

    Raises:
        UsageError: no font can be read there, or such letters have no room.
    """

    def __init__(
        self, *, size: int = DEFAULT_SIZE, font: str | Path | None = None, smallest: int = DEFAULT_SMALLEST
    ) -> None:
        if not 32 <= size <= 4096:
            raise UsageError(f"--size {size} is outside [32, 4096]", help="give the pixels on a side, such as 224")
        self.size = size
        self.margin = size // MARGIN_SHARE
        self.largest = max(size // LARGEST_SHARE, smallest)
        if not 4 <= smallest <= size // 4:
            raise UsageError(
                f"--smallest {smallest} is outside [4, {size // 4}]", help="give the pixels of a letter, such as 9"
            )
        self.smallest = smallest
        self.font = dejavu() if font == DEJAVU else None if font is None else Path(font)
        self._fonts: dict[int, Any] = {}
        self._widths: dict[int, dict[str, float]] = {}
        self._known: dict[str, bool] = {}
        self.name = " ".join(self._font(smallest).getname())
        # No font may have a glyph for this code point, which will never be a character.
        self._box = self._drawn("\uffff")

    def draw(self, text: str) -> Picture:
        """The text from the top left, broken between words, in the largest letters in which all of it fits."""
        from PIL import Image, ImageDraw

        text = plain(text)
        letters, lines, cut = self._laid_out(text)
        image = Image.new("L", (self.size, self.size), 255)
        pen = ImageDraw.Draw(image)
        for number, line in enumerate(lines):
            place = (self.margin, self.margin + number * self._line_height(letters))
            pen.text(place, line, fill=0, font=self._font(letters))
        file = io.BytesIO()
        image.save(file, format="PNG")
        missing = tuple(sorted(each for each in set(text) if not self._has(each)))
        return Picture(file.getvalue(), letters if lines else 0, cut, missing)

    def _laid_out(self, text: str) -> tuple[int, list[str], bool]:
        """Size of the letters, the lines, and whether some are left out."""
        if not text.strip():
            return self.smallest, [], False
        best = list(self._lines(text, self.smallest))
        room = self._room(self.smallest)
        if len(best) > room:
            return self.smallest, best[:room], True
        fits, too_large = self.smallest, self.largest + 1
        while too_large - fits > 1:
            letters = (fits + too_large) // 2
            lines = self._lines_that_fit(text, letters)
            if lines is None:
                too_large = letters
            else:
                fits, best = letters, lines
        return fits, best, False

    def _lines_that_fit(self, text: str, letters: int) -> list[str] | None:
        room = self._room(letters)
        found: list[str] = []
        for line in self._lines(text, letters):
            if len(found) == room:
                return None
            found.append(line)
        return found

    def _lines(self, text: str, letters: int) -> Iterator[str]:
        """Broken between words; within one only where it is wider than the sheet."""
        width = self.size - 2 * self.margin
        space = self._width(" ", letters)
        for paragraph in text.split("\n"):
            line, used = "", 0.0
            for word in paragraph.split():
                for piece, long in self._pieces(word, letters, width):
                    if line and used + space + long > width:
                        yield line
                        line, used = "", 0.0
                    used += long + (space if line else 0)
                    line = f"{line} {piece}" if line else piece
            yield line

    def _pieces(self, word: str, letters: int, width: float) -> Iterator[tuple[str, float]]:
        long = self._width(word, letters)
        if long <= width:
            yield word, long
            return
        piece, used = "", 0.0
        for character in word:
            one = self._width(character, letters)
            if piece and used + one > width:
                yield piece, used
                piece, used = "", 0.0
            piece, used = piece + character, used + one
        yield piece, used

    def _width(self, word: str, letters: int) -> float:
        widths = self._widths.setdefault(letters, {})
        found = widths.get(word)
        if found is None:
            found = widths[word] = float(self._font(letters).getlength(word))
        return found

    def _room(self, letters: int) -> int:
        """Lines on the sheet."""
        return max((self.size - 2 * self.margin) // self._line_height(letters), 1)

    def _line_height(self, letters: int) -> int:
        ascent, descent = self._font(letters).getmetrics()
        return max(int(ascent + descent), 1)

    def _has(self, character: str) -> bool:
        """Whether the font has it; what is not to be seen needs no glyph."""
        if character.isspace() or unicodedata.category(character) == "Cf":
            return True
        if character not in self._known:
            self._known[character] = self._drawn(character) != self._box
        return self._known[character]

    def _drawn(self, character: str) -> tuple[Any, bytes]:
        mask = self._font(self.smallest).getmask(character)
        return mask.size, bytes(mask)

    def _font(self, letters: int) -> Any:
        if letters not in self._fonts:
            self._fonts[letters] = load_font(self.font, letters)
        return self._fonts[letters]


def dejavu() -> Path:
    """DejaVu Sans, which has Latin, Greek, Cyrillic, Arabic and more."""
    package = importlib.util.find_spec("matplotlib")
    if package is None or package.origin is None:
        raise UsageError(f"--font {DEJAVU} needs matplotlib, which brings it", help="pip install matplotlib")
    return Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"


def load_font(path: Path | None, letters: int) -> Any:
    """A font of Pillow's in letters of so many pixels.

    Raises:
        UsageError: the file is no font, or this Pillow cannot draw scalable fonts.
    """
    from PIL import ImageFont

    if path is None:
        font = ImageFont.load_default(letters)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise UsageError("this Pillow was built without FreeType", help="install Pillow from a wheel")
        return font
    try:
        return ImageFont.truetype(str(path), letters)
    except OSError as error:
        why = "there is no such file" if not path.is_file() else f"Pillow cannot read it ({error})"
        raise UsageError(f"--font {path}: {why}", help=f"give a .ttf or .otf file, or {DEJAVU}") from error


def plain(text: str) -> str:
    """Lines end as in Unix, tabs are spaces, other control characters are gone."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    return "".join(each for each in text if each == "\n" or unicodedata.category(each) not in ("Cc", "Cs"))
