"""Rows without labels: from folders, tables, text files and splits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from zoo.data.reading import read_dataset
from zoo.data.types import Dataset, ReadOptions
from zoo.data.unlabelled import Unlabelled, read_unlabelled
from zoo.errors import DataError, UnknownNameError


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), value).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Dataset:
    """Ten pictures of two classes in train and four in test."""
    for number in range(14):
        split = "train" if number < 10 else "test"
        picture(tmp_path / "photos" / split / "ab"[number % 2] / f"{number}.png", number)
    return read_dataset(tmp_path / "photos")


@pytest.fixture
def texts(tmp_path: Path) -> Dataset:
    """Eight labelled texts in a column of no usual name, six of them training rows."""
    rows = [f"words of row {n},{'xy'[n % 2]},{'train' if n < 6 else 'test'}" for n in range(8)]
    path = tmp_path / "texts.csv"
    path.write_text("\n".join(["headline,label,split", *rows]) + "\n", encoding="utf-8")
    return read_dataset(path)


def read(source: Path | str, data: Dataset, options: ReadOptions | None = None) -> Unlabelled:
    return read_unlabelled(str(source), data, data.modalities, options or ReadOptions())


def test_a_folder_is_read_however_deep_and_whatever_its_folders_are_called(tmp_path: Path, photos: Dataset) -> None:
    for number, where in enumerate(("one.png", "deep/er/two.png", "a/three.JPG")):
        picture(tmp_path / "new" / where, 100 + number)
    (tmp_path / "new" / "notes.txt").write_text("x", encoding="utf-8")
    found = read(tmp_path / "new", photos)
    assert set(found.examples.names) == {"one.png", "deep/er/two.png", "a/three.JPG"}
    assert found.examples.targets is None
    assert "1 file not called like images, not read, such as notes.txt" in found.notes


def test_a_folder_whose_files_have_no_suffix_is_read_whole(tmp_path: Path, photos: Dataset) -> None:
    picture(tmp_path / "new" / "one.png", 50)
    (tmp_path / "new" / "one.png").rename(tmp_path / "new" / "0001")
    assert read(tmp_path / "new", photos).examples.names == ("0001",)


def test_rows_of_a_split_are_those_of_the_data_and_the_note_says_transductive(photos: Dataset) -> None:
    found = read(f"{photos.name}:test", photos)
    assert found.examples.ids == photos.splits["test"].ids
    assert "transductive: 4 of the unlabelled rows are the rows that are measured, without their labels" in found.notes


def test_the_whole_of_train_is_meant_where_few_rows_are_kept(tmp_path: Path, photos: Dataset) -> None:
    options = ReadOptions(shots=1)
    few = read_dataset(tmp_path / "photos", options)
    found = read(f"{tmp_path / 'photos'}:train", few, options)
    assert (len(few.splits["train"]), len(found.examples)) == (2, 10)
    assert any("2 of the unlabelled rows are training rows" in note for note in found.notes)


def test_a_split_of_other_data_is_read_by_its_own_names(tmp_path: Path, photos: Dataset) -> None:
    for split, count in (("train", 3), ("valid", 2)):
        for number in range(count):
            picture(tmp_path / "other" / split / "z" / f"{number}.png", 100 + 10 * count + number)
    assert len(read(f"{tmp_path / 'other'}:val", photos).examples) == 2
    with pytest.raises(UnknownNameError, match="No split is named 'test'"):
        read(f"{tmp_path / 'other'}:test", photos)
    with pytest.raises(UnknownNameError, match=r"No split is named 'tset'. Did you mean test\?"):
        read(f"{photos.name}:tset", photos)


def test_a_table_without_labels_is_read_by_the_column_of_the_data(tmp_path: Path, texts: Dataset) -> None:
    (tmp_path / "new.csv").write_text("text,headline\nnot this,a headline\nnor this,another one\n", encoding="utf-8")
    assert list(read(tmp_path / "new.csv", texts).examples.inputs["text"]) == ["a headline", "another one"]


def test_a_table_with_other_columns_is_read_as_it_would_be_alone(tmp_path: Path, texts: Dataset) -> None:
    (tmp_path / "new.jsonl").write_text('{"text": "first one"}\n{"text": "and another"}\n', encoding="utf-8")
    assert list(read(tmp_path / "new.jsonl", texts).examples.inputs["text"]) == ["first one", "and another"]


def test_a_text_file_has_a_text_a_line(tmp_path: Path, texts: Dataset) -> None:
    (tmp_path / "new.txt").write_bytes("one\u2028still one\r\n\r\nwords of row 7\n".encode())
    found = read(tmp_path / "new.txt", texts)
    assert list(found.examples.inputs["text"]) == ["one\u2028still one", "words of row 7"]
    assert found.examples.names == ("new.txt:1", "new.txt:3")
    assert any(note.startswith("transductive: 1 ") for note in found.notes)


def test_empty_texts_are_an_error_that_names_them_or_are_dropped(tmp_path: Path, texts: Dataset) -> None:
    (tmp_path / "new.csv").write_text('headline\nwords here\n" "\n', encoding="utf-8")
    with pytest.raises(DataError, match="1 unlabelled row with an empty text"):
        read(tmp_path / "new.csv", texts)
    assert len(read(tmp_path / "new.csv", texts, ReadOptions(drop_empty=True)).examples) == 1


def test_a_named_data_set_serves(photos: Dataset) -> None:
    assert len(read("sklearn:digits", photos).examples) == 1797


@pytest.mark.parametrize(
    ("write", "said"),
    [
        ("new.txt", "is a file of texts, and the backbone takes image"),
        ("new.pdf", "no folder and no table of unlabelled rows"),
        ("new.csv", "no column that looks like image"),
    ],
)
def test_what_has_no_images_is_refused(tmp_path: Path, photos: Dataset, write: str, said: str) -> None:
    (tmp_path / write).write_text("words\nand more words\n", encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read(tmp_path / write, photos)


def test_a_folder_of_images_is_refused_where_texts_are_needed(tmp_path: Path, texts: Dataset) -> None:
    picture(tmp_path / "new" / "one.png", 1)
    with pytest.raises(DataError, match="a folder of files, and the backbone takes text"):
        read(tmp_path / "new", texts)


def test_pairs_of_texts_need_pairs(tmp_path: Path, texts: Dataset) -> None:
    (tmp_path / "new.csv").write_text("sentence1,sentence2\na b,c d\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds pairs of texts, and the data have single texts"):
        read(tmp_path / "new.csv", replace(texts, columns={}))


def test_an_empty_folder_and_an_unknown_name_are_said(tmp_path: Path, photos: Dataset) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no files"):
        read(tmp_path / "none", photos)
    with pytest.raises(UnknownNameError, match="No data set is named 'nowhere'"):
        read("nowhere", photos)
