"""Data that a new user might have, and one finished run of each kind."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
from program import Zoo, zoo

WORDS = "amber basil cedar delta ember fjord grove haven inlet jetty knoll larch maple north ocean pearl".split()


@pytest.fixture(name="zoo")
def zoo_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """The program, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return zoo


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 short texts of two classes."""
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for number in range(60):
            label = ("good", "dull")[number % 2]
            rows.writerow([f"a {label} {' '.join(rng.sample(WORDS, 3))} film {number}", label])
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and blue pictures, twelve of each."""
    from PIL import Image

    root = tmp_path_factory.mktemp("photos")
    for label, colour in (("red", (200, 20, 20)), ("blue", (20, 20, 200))):
        (root / label).mkdir()
        for number in range(12):
            Image.new("RGB", (24, 24), tuple(part + number for part in colour)).save(root / label / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, reviews: Path, photos: Path) -> Path:
    """A folder with a run on texts, one on pictures, and one that predicts numbers."""
    root = tmp_path_factory.mktemp("runs")
    numbers = root.parent / "prices.jsonl"
    numbers.write_text("".join(f'{{"text": "a house of {n} rooms", "price": {n * 1.5}}}\n' for n in range(40)))
    common = ("--out", root, "--baseline", "none", "--device", "cpu")
    for name, backbone, data in (
        ("texts", "starter/bag-of-words", reviews),
        ("pictures", "starter/glyph-cnn", photos),
        ("numbers", "starter/bag-of-words", numbers),
    ):
        done = zoo("finetune", backbone, data, "--strategy", "linear-probe", "--name", name, *common)
        assert done.code == 0, done.err
    return root
