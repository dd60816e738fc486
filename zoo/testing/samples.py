"""Made inputs of each modality: pictures, texts and sounds of many sizes, the same at every call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from zoo.catalog.spec import Modality
from zoo.data.audio import Audio

ROWS = 8

_WORDS = "the quick brown fox jumps over a lazy dog while seven bright stars shine on cold still water".split()


def samples(modality: Modality, rows: int = ROWS) -> list[Any]:
    """Ordinary inputs that all differ, of several sizes."""
    return [_KINDS[modality](row) for row in range(rows)]


def odd(modality: Modality) -> list[tuple[str, Any]]:
    """Inputs at the edge, each with its name."""
    if modality == "image":
        sizes = {"1 x 1 pixel": (1, 1), "a strip 3 x 400": (3, 400), "a strip 400 x 3": (400, 3), "37 x 61": (37, 61)}
        return [(name, _noise(size, seed=9)) for name, size in sizes.items()]
    if modality == "audio":
        return [
            ("a twentieth of a second", Audio(_tone(440.0, 0.05), 16_000)),
            ("silence", Audio(np.zeros(16_000, dtype=np.float32), 16_000)),
            ("48 kHz", Audio(_tone(440.0, 0.5, 48_000), 48_000)),
        ]
    return [
        ("an empty text", ""),
        ("one letter", "a"),
        ("20,000 letters", "zebra " * 3_333),
        ("signs of many scripts", "naïve 日本語 🦓 \u202e x\x00y"),
        ("a line feed alone", "\n"),
    ]


def _picture(row: int) -> Image.Image:
    """A smooth gradient with a block, of its own size."""
    width, height = 48 + 9 * (row % 4), 40 + 7 * (row % 3)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin((row + 1) * (x * a + y * b) / 40.0) for a, b in ((1, 0.3), (0.2, 1), (0.7, 0.7))]
    pixels = (np.stack(waves, axis=-1) * 90 + 128).astype(np.uint8)
    pixels[row : row + 12, row * 2 : row * 2 + 12] = (255, 30 * row % 255, 0)
    return Image.fromarray(pixels)


def _text(row: int) -> str:
    """Between 2 and 16 words."""
    start = 5 * row % len(_WORDS)
    return " ".join((_WORDS[start:] + _WORDS)[: 2 + 2 * row])


def _sound(row: int) -> Audio:
    """A tone with an overtone, between 0.3 and 0.7 seconds."""
    seconds = 0.3 + 0.05 * row
    return Audio(_tone(220.0 * 2 ** (row / 5), seconds) + 0.3 * _tone(500.0 + 90 * row, seconds), 16_000)


def _tone(hertz: float, seconds: float, rate: int = 16_000) -> np.ndarray[Any, np.dtype[np.float32]]:
    time = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * math.pi * hertz * time)).astype(np.float32)


def _noise(size: tuple[int, int], seed: int) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def grey(side: int = 64) -> Image.Image:
    """A picture of one colour."""
    return Image.new("RGB", (side, side), (128, 128, 128))


def lit(quarter: tuple[int, int], seed: int, side: int = 64) -> Image.Image:
    """A grey picture with noise in one quarter: (0, 1) is above, on the right."""
    image, block = grey(side), side // 4
    # Well inside its quarter, so that a centre crop leaves all of it.
    down, right = (place * side // 2 + side // 8 for place in quarter)
    image.paste(_noise((block, block), seed), (right, down))
    return image


_KINDS: dict[Modality, Any] = {"image": _picture, "text": _text, "audio": _sound}


def differing(values: Sequence[Any]) -> list[Any]:
    """The same values moved on by one row, so that every row holds another value."""
    return [*values[1:], values[0]]
