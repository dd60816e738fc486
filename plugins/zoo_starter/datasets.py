"""Data sets that every machine has: nothing is downloaded, the same rows every time."""

from __future__ import annotations

import ast
import importlib.util
import string
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from zoo import DataError, ImageRef, Table
from zoo_starter.glyphs import disturb, draw

PACKAGES = ("asyncio", "email", "http", "importlib", "logging", "multiprocessing", "unittest", "xml")
"""Of the standard library: in every build of Python, and of many docstrings each."""

NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NUMERAL_ROWS = 1_500
GLYPH_ROWS = 2_600

_BEFORE = (
    "there are",
    "she counted",
    "about",
    "we need",
    "he paid for",
    "send me",
    "only",
    "they saw",
    "keep",
    "it took",
)
_THINGS = ("boats", "apples", "letters", "houses", "minutes", "birds", "coins", "chairs", "books", "trains", "stones")
_AFTER = (
    "in the harbour",
    "on the table",
    "by noon",
    "for the trip",
    "since monday",
    "near the gate",
    "in all",
    "again",
)


def digits() -> Table:
    """Handwritten digits of the UCI repository, 8 x 8 pixels, as scikit-learn bundles them."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Ink is 0 to 16 there.
    pixels = (bunch.images * (255 / 16)).round().astype(np.uint8)
    images = [ImageRef(name=f"digit {row}", array=each) for row, each in enumerate(pixels)]
    return Table("sklearn:digits", {"image": images, "label": [str(label) for label in bunch.target]})


def glyphs() -> Table:
    """Capital letters drawn with Pillow's font, turned, slanted, 16 x 16 pixels, with noise."""
    letters = string.ascii_uppercase
    drawn = {(letter, stroke): draw(letter, stroke=stroke) for letter in letters for stroke in (0, 1)}
    rng = np.random.default_rng(20)
    labels = [letters[row % len(letters)] for row in range(GLYPH_ROWS)]
    images = [
        ImageRef(
            name=f"glyph {row}",
            array=disturb(drawn[label, int(rng.integers(2))], rng, size=16, noise=0.15),
        )
        for row, label in enumerate(labels)
    ]
    return Table("builtin:glyphs", {"image": images, "label": labels})


def numerals() -> Table:
    """One number twice: spelled in a short sentence with typing errors, and drawn as a noisy digit.

    Neither says all: some words lose their letters, some digits drown in noise, so both together know most.
    """
    drawn = {(label, stroke): draw(str(label), stroke=stroke) for label in range(10) for stroke in (0, 1)}
    rng = np.random.default_rng(21)
    texts: dict[str, None] = {}
    while len(texts) < NUMERAL_ROWS:
        # Row k is about number k % 10: a repeated sentence is drawn again.
        texts.setdefault(_sentence(NUMERALS[len(texts) % 10], rng))
    labels = [row % 10 for row in range(NUMERAL_ROWS)]
    images = [
        ImageRef(
            name=f"numeral {row}",
            array=disturb(drawn[label, int(rng.integers(2))], rng, size=12, noise=float(rng.uniform(0.05, 0.45))),
        )
        for row, label in enumerate(labels)
    ]
    return Table(
        "builtin:numerals",
        {"image": images, "text": list(texts), "label": [NUMERALS[label] for label in labels]},
    )


def _sentence(word: str, rng: np.random.Generator) -> str:
    before, thing, after = (str(rng.choice(words)) for words in (_BEFORE, _THINGS, _AFTER))
    return f"{before} {_misspelled(word, rng)} {thing} {after}"


def _misspelled(word: str, rng: np.random.Generator) -> str:
    """The word with up to three letters struck out, doubled or replaced by a neighbour's."""
    letters = list(word)
    for _ in range(int(rng.choice(4, p=(0.4, 0.25, 0.2, 0.15)))):
        at = int(rng.integers(len(letters)))
        match int(rng.integers(3)):
            case 0 if len(letters) > 1:
                del letters[at]
            case 1:
                letters.insert(at, letters[at])
            case _:
                letters[at] = str(rng.choice(list(string.ascii_lowercase)))
    return "".join(letters)


def docstrings() -> Table:
    """Docstrings of the standard library labelled by their package; rows follow the version of Python.

    Raises:
        DataError: a Python whose standard library has no source files.
    """
    labels: dict[str, str] = {}
    names: dict[str, str] = {}
    for package in PACKAGES:
        for path in sources(package):
            for line, text in docstrings_of(path):
                # A text that stands in two packages says nothing of either; the first keeps it.
                labels.setdefault(text, package)
                names.setdefault(text, f"{_within(package, path)}:{line}")
    if not labels:
        raise DataError(
            "this Python has no sources of its standard library, so there are no docstrings to read",
            help="take another data set; `zoo list datasets` shows them",
        )
    return Table(
        "builtin:docstrings",
        {"text": list(labels), "label": list(labels.values())},
        names=list(names.values()),
    )


def _within(package: str, path: Path) -> str:
    """The path from the package on, the same on every machine."""
    parts = path.parts
    return "/".join(parts[len(parts) - 1 - parts[::-1].index(package) :])


def sources(package: str) -> list[Path]:
    """The source files of a package of the standard library, its tests left out."""
    spec = importlib.util.find_spec(package)
    roots = [Path(each) for each in (spec.submodule_search_locations if spec is not None else None) or ()]
    found = (path for root in roots for path in root.rglob("*.py") if not {"test", "tests"} & set(path.parts))
    return sorted(found)


def docstrings_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring in a source file; nothing is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and text.strip():
                yield getattr(node, "lineno", 1), text
