"""Faults of data sets that make no sound, and the checks that catch them."""

from __future__ import annotations

import numpy as np
import pytest
from faults import failed

import zoo
from zoo import DatasetSpec, Table
from zoo.testing import check_dataset

_LETTERS = {"text": ["good", "fine", "dull", "poor"] * 5, "label": ["pos", "pos", "neg", "neg"] * 5}


def sound_words() -> Table:
    texts = [f"{word} {row}" for row, word in enumerate(_LETTERS["text"])]
    return Table("words", {"text": texts, "label": _LETTERS["label"]})


def uneven() -> Table:
    return Table("words", {"text": _LETTERS["text"], "label": _LETTERS["label"][:-1]})


def changing() -> Table:
    table = sound_words()
    texts = [f"{text} {np.random.default_rng().integers(10**9)}" for text in table.columns["text"]]
    return Table("words", {**table.columns, "text": texts})


def leaking() -> Table:
    table = sound_words()
    split = ["train", "train", "test", "test"] * 5
    texts = [table.columns["text"][0] if row in (0, 2) else text for row, text in enumerate(table.columns["text"])]
    return Table("words", {"text": texts, "label": table.columns["label"]}, split=split)


@pytest.mark.parametrize(
    ("function", "rows", "task", "check"),
    [
        ("uneven", 20, "binary", "columns"),
        ("changing", 20, "binary", "repeats"),
        ("leaking", 20, "binary", "sound"),
        ("sound_words", 21, "binary", "as-promised"),
        ("sound_words", 20, "multiclass", "as-promised"),
    ],
)
def test_a_fault_of_a_data_set_is_caught(function: str, rows: int, task: str, check: str) -> None:
    spec = DatasetSpec("broken", f"{__name__}:{function}", ("text",), task, rows, "words")
    assert check in failed(check_dataset(spec))


def test_a_sound_data_set_passes() -> None:
    found = check_dataset(DatasetSpec("words", f"{__name__}:sound_words", ("text",), "binary", 20, "words"))
    assert found.passed, str(found)


@pytest.mark.parametrize("name", zoo.default_catalog().datasets)
def test_every_data_set_of_zoo_passes(name: str) -> None:
    assert check_dataset(name).passed, str(check_dataset(name))
