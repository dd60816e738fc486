"""Texts as pictures: the same rows, labels and splits, with modality the only thing that differs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import zoo
from zoo.errors import DataError, UsageError

HEADER = ("text", "label", "topic")
TRAIN = [
    ("who wrote Hamlet ?", "human", "a|b"),
    ("where is Oslo ?", "place", "a"),
    ("how many eggs ?", "number", ""),
] * 4
TRAIN = [(f"{text} ({n})", label, topic) for n, (text, label, topic) in enumerate(TRAIN)]
IMAGE, TEXT = "starter/glyph-cnn", "starter/bag-of-words"
TEST = [("who was Ada ?", "human", "b"), ("where is naïve ?", "place", "b"), ("how much ?", "number", "b")]


def table(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> Path:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    table(tmp_path / "texts" / "train.csv", TRAIN)
    table(tmp_path / "texts" / "dev.csv", TEST[:2])
    return table(tmp_path / "texts" / "test.csv", TEST).parent


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_same_rows_come_back_with_pictures_beside_them(texts: Path, tmp_path: Path) -> None:
    read = zoo.ReadOptions(allow_leak=True)
    done = zoo.render(texts, tmp_path / "pictures")
    assert done.rows == {"train": 12, "val": 2, "test": 3}
    before, after = zoo.read_dataset(texts, read), zoo.read_dataset(done.output, read)
    assert after.modalities == ("image", "text")
    assert after.task == before.task
    for split, rows in before.splits.items():
        assert list(after.splits[split].inputs["text"]) == list(rows.inputs["text"])
        assert rows.targets is not None
        np.testing.assert_array_equal(after.splits[split].targets, rows.targets)
    assert pq.read_table(done.output / "test.parquet")["topic"].to_pylist() == ["b", "b", "b"]
    alone = zoo.read_dataset(done.output, zoo.ReadOptions(modalities=("text",), allow_leak=True))
    assert alone.fingerprint == before.fingerprint


def test_backbones_of_images_of_texts_and_of_both_read_the_same_rows(texts: Path, tmp_path: Path) -> None:
    done = zoo.render(texts, tmp_path / "pictures", size=64, smallest=6)
    data = zoo.read_dataset(done.output, zoo.ReadOptions(allow_leak=True))
    found = [zoo.extract(name, data, split="test", cache=False) for name in (IMAGE, TEXT, f"{IMAGE}+{TEXT}")]
    assert found[0].ids == found[1].ids == found[2].ids == data.splits["test"].ids
    assert [each.features.std(axis=0).max() > 0 for each in found] == [True] * 3


def test_the_datasets_library_is_told_what_the_columns_are(texts: Path, tmp_path: Path) -> None:
    done = zoo.render(texts, tmp_path / "pictures")
    schema = pq.read_schema(done.output / "train.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"names": ["human", "number", "place"], "_type": "ClassLabel"}
    assert features["text"] == {"dtype": "string", "_type": "Value"}
    row = pq.read_table(done.output / "train.parquet").to_pylist()[1]
    assert row["label"] == 2
    with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
        assert (image.format, image.size) == ("PNG", (224, 224))


def test_what_is_lost_is_said(texts: Path, tmp_path: Path) -> None:
    rows = [("word " * 500, "a"), ("", "b"), ("naïve", "a"), ("fine", "b")]
    done = zoo.render(table(tmp_path / "long.csv", rows, ("text", "label")), tmp_path / "pictures")
    assert (done.cut, done.empty, done.missing, done.missing_rows) == (1, 1, {"ï": 1}, 1)
    assert [note.partition(";")[0] for note in done.notes()] == [
        "1 of 4 texts are cut, as they do not fit in the smallest letters",
        "characters that Aileron Regular lacks are boxes in 1 of 4 pictures: ï",
        "1 of 4 texts are empty, and so are their pictures",
    ]
    assert done.rows == {"data": 4}


def test_twice_the_same_is_the_same_to_the_byte_and_replaces_only_its_own(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    zoo.render(texts, out)
    first = contents(out)
    with pytest.raises(UsageError, match="pictures exists"):
        zoo.render(texts, out)
    zoo.render(texts, out, overwrite=True)
    assert contents(out) == first
    (out / "thesis.docx").write_text("years of work")
    with pytest.raises(UsageError, match="pictures holds other things than rendered texts"):
        zoo.render(texts, out, overwrite=True)
    assert (out / "thesis.docx").is_file()


def test_both_texts_of_a_pair_are_drawn_one_below_the_other(tmp_path: Path) -> None:
    rows = [(f"a man {n}", f"a woman {n}", str(n / 2)) for n in range(8)]
    source = table(tmp_path / "pairs.csv", rows, ("sentence1", "sentence2", "score"))
    done = zoo.render(source, tmp_path / "pictures")
    assert done.text == ("sentence1", "sentence2")
    data = zoo.read_dataset(done.output)
    assert data.task.kind == "regression"
    assert data.splits["train"].inputs["text"][0][1].startswith("a woman")


def test_without_a_column_of_texts_there_is_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sklearn:digits has no column that looks like text") as caught:
        zoo.render("sklearn:digits", tmp_path / "pictures")
    assert caught.value.help == "name the column of texts with --text-col"
    named = table(tmp_path / "named.csv", [("a word", "x"), ("two words", "y")], ("image", "label"))
    with pytest.raises(UsageError, match="the texts stand in a column named 'image'"):
        zoo.render(named, tmp_path / "pictures", read=zoo.ReadOptions(text=("image",)))
    assert not (tmp_path / "pictures").exists()


def test_pictures_that_were_there_give_way_and_this_is_said(tmp_path: Path) -> None:
    done = zoo.render("builtin:numerals", tmp_path / "pictures", size=32, smallest=4)
    assert done.left_out == ("image",)
    assert done.rows == {"data": 1500}
    assert done.notes()[-1] == "left out, as it holds files or stands in the pictures' place: image"
