"""Letters and digits drawn with the font that comes inside Pillow: no file, no download."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LETTERS = string.ascii_letters
SIZE = 48
"""Side of a drawn glyph in pixels; the ink fills three quarters of it."""
STROKES = (0, 1, 2)
"""Pixels added around the font's own stroke."""


def draw(text: str, *, stroke: int = 0, size: int = SIZE) -> NDArray[np.uint8]:
    """(size, size) white ink on black, the text scaled to three quarters of the side and centred."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=34)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text, stroke_width=stroke))
    ink = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(ink).text((1 - left, 1 - top), text, font=font, fill=255, stroke_width=stroke)
    ink = ink.crop(ink.getbbox())
    scale = 0.75 * size / max(ink.size)
    ink = ink.resize((max(1, round(ink.width * scale)), max(1, round(ink.height * scale))), Image.Resampling.BILINEAR)
    canvas = Image.new("L", (size, size))
    canvas.paste(ink, ((size - ink.width) // 2, (size - ink.height) // 2))
    return np.array(canvas, dtype=np.uint8)


def disturb(glyph: NDArray[np.uint8], rng: np.random.Generator, *, size: int, noise: float) -> NDArray[np.uint8]:
    """(size, size) of a glyph turned, slanted, shifted and made small, with noise added.

    Args:
        glyph: (H, W) uint8.
        rng: all chance comes from it.
        size: side of the result in pixels.
        noise: standard deviation, as a share of white.
    """
    from PIL import Image

    image: Any = Image.fromarray(glyph)
    H, W = glyph.shape
    turn, slant = rng.uniform(-0.3, 0.3), rng.uniform(-0.25, 0.25)
    wide, tall = rng.uniform(0.8, 1.3, size=2)
    dx, dy = rng.uniform(-0.1, 0.1, size=2) * (W, H)
    cos, sin = np.cos(turn), np.sin(turn)
    a, b, d, e = cos * wide, (slant - sin) * tall, sin * wide, cos * tall
    # From a place in the result to the place in the glyph that is shown there, about the centre.
    c, f = W / 2 - a * W / 2 - b * H / 2 + dx, H / 2 - d * W / 2 - e * H / 2 + dy
    image = image.transform((W, H), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)
    small = np.asarray(image.resize((size, size), Image.Resampling.BOX), dtype=np.float64) / 255
    small = small * rng.uniform(0.7, 1.0) + rng.normal(0, noise, small.shape)
    return (small.clip(0, 1) * 255).round().astype(np.uint8)


def sheet(letters: Sequence[str] = LETTERS) -> NDArray[np.uint8]:
    """(letters, strokes, SIZE, SIZE): every letter in every stroke width."""
    return np.stack([np.stack([draw(letter, stroke=stroke) for stroke in STROKES]) for letter in letters])
