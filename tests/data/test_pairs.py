"""Images with texts and no labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo.data.pairs import pair_targets
from zoo.data.reading import read_dataset
from zoo.data.types import ReadOptions
from zoo.errors import DataError, UsageError


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """Six pictures, the first of them with two captions."""
    for number in range(6):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(tmp_path / f"{number}.png")
    rows = ["image,caption", "0.png,none", "0.png,black", *(f"{n}.png,red times {n}" for n in range(1, 6))]
    (tmp_path / "captions.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "captions.csv"


def read(path: Path, **options: object) -> object:
    return read_dataset(path, ReadOptions(task="pairs", **options))  # type: ignore[arg-type]


def test_equal_images_and_equal_texts_have_one_number() -> None:
    assert pair_targets(["a", "b", "a"], ["x", "x", "y"]).tolist() == [[0, 0], [1, 0], [0, 1]]


def test_pairs_need_no_labels(captions: Path) -> None:
    data = read_dataset(captions, ReadOptions(task="pairs"))
    assert data.task.kind == "pairs"
    assert data.task.classes == ()
    assert dict(data.columns) == {"image": "image", "text": "caption", "label": ""}
    targets = np.concatenate([each.targets for each in data.splits.values() if each.targets is not None])
    assert len(np.unique(targets[:, 0])) == 6
    assert len(np.unique(targets[:, 1])) == 7


def test_labels_are_not_looked_at(captions: Path) -> None:
    lines = captions.read_text().splitlines()
    captions.write_text("\n".join([lines[0] + ",label", *(line + ",same" for line in lines[1:])]))
    assert read_dataset(captions, ReadOptions(task="pairs")).task.kind == "pairs"


def test_pairs_need_an_image_and_a_text(tmp_path: Path, captions: Path) -> None:
    (tmp_path / "texts.csv").write_text("text\nhello\nworld\n")
    with pytest.raises(DataError, match="no column of images"):
        read(tmp_path / "texts.csv")
    lines = [line.partition(",")[0] for line in captions.read_text().splitlines()]
    (tmp_path / "images.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="no column of texts"):
        read(tmp_path / "images.csv")


def test_an_empty_text_is_named(captions: Path) -> None:
    captions.write_text(captions.read_text().replace("black", " "))
    with pytest.raises(DataError, match="1 row with an empty text"):
        read(captions)


def test_pairs_have_no_shots(captions: Path) -> None:
    with pytest.raises(UsageError, match="pairs have no classes"):
        read(captions, shots=2)
