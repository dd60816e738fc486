"""What is inferred of nine real data sets with no option, and what `zoo check` says of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zoo.data.reading import read_dataset
from zoo.verbs.check import check

TREC = ("abbreviation", "description", "entity", "human", "location", "number")
EXPECTED: dict[str, dict[str, Any]] = {
    "hymenoptera": {"task": "binary", "classes": 2, "columns": {"image": "image"}, "rows": {"train": 244, "val": 153}},
    "cifar10": {
        "task": "multiclass", "classes": 10, "columns": {"image": "image"}, "rows": {"train": 10_000, "test": 2_000},
    },
    "trec": {"task": "multiclass", "classes": 6, "columns": {"text": "text"}, "rows": {"train": 5_442, "test": 500}},
    "ag_news": {
        "task": "multiclass", "classes": 4, "columns": {"text": "text"}, "rows": {"train": 9_939, "test": 2_000},
    },
    "goemotions": {
        "task": "multilabel", "classes": 28, "columns": {"text": "text", "label": "labels"},
        "rows": {"train": 8_000, "test": 2_000},
    },
    "stsb": {
        "task": "regression", "classes": 0, "columns": {"text": "sentence1,sentence2", "label": "score"},
        "rows": {"train": 5_734, "val": 1_498, "test": 1_379},
    },
    "emoji": {
        "task": "multiclass", "classes": 8, "columns": {"image": "image", "text": "text"},
        "rows": {"train": 1_074, "test": 360},
    },
    "fashion": {
        "task": "multiclass", "classes": 20, "columns": {"image": "image", "text": "text"},
        "rows": {"train": 2_130, "test": 555},
    },
    "houses": {
        "task": "regression", "classes": 0, "columns": {"image": "image", "label": "target"},
        "rows": {"train": 413, "test": 118},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_columns_task_classes_and_splits_are_inferred_with_no_option_and_said(shared: Path, name: str) -> None:
    data = read_dataset(shared / "data" / name)
    expected = EXPECTED[name]
    assert data.task.kind == expected["task"]
    assert len(data.task.classes) == expected["classes"]
    assert data.columns == {"label": "label", **expected["columns"]}
    assert {split: len(examples) for split, examples in data.splits.items()} == expected["rows"]
    assert data.modalities == tuple(m for m in ("image", "text") if m in expected["columns"])
    assert data.notes[0].startswith("reading ")
    assert any(note.startswith(f"{expected['task']}: ") for note in data.notes)


def test_classes_have_their_names_and_not_their_numbers(shared: Path) -> None:
    assert read_dataset(shared / "data" / "trec").task.classes == TREC
    assert "airplane" in read_dataset(shared / "data" / "cifar10").task.classes
    assert read_dataset(shared / "data" / "hymenoptera").task.classes == ("ants", "bees")


def test_numbers_are_the_numbers_of_the_file(shared: Path) -> None:
    data = read_dataset(shared / "data" / "stsb")
    scores = data.splits["test"].targets
    assert scores is not None
    assert (scores.min(), scores.max(), data.task.targets) == (0.0, 5.0, ("score",))
    assert data.splits["test"].inputs["text"][0] == ("A girl is styling her hair.", "A girl is brushing her hair.")


def test_several_labels_a_row_are_marked_each(shared: Path) -> None:
    data = read_dataset(shared / "data" / "goemotions")
    targets = data.splits["train"].targets
    assert targets is not None
    assert targets.shape == (8_000, 28)
    assert set(targets.sum(1)) >= {1.0, 2.0, 3.0}


@pytest.mark.parametrize("name", EXPECTED)
def test_check_finds_nothing_in_the_way_of_training_on_real_data(shared: Path, name: str) -> None:
    report = check(shared / "data" / name)
    assert report.ok
    assert report.rows == EXPECTED[name]["rows"]


def test_check_prints_a_real_data_set_as_json_with_stable_keys(shared: Path, zoo_command: Callable[..., Any]) -> None:
    done = zoo_command("check", shared / "data" / "trec", "--json")
    assert done.code == 0
    report = json.loads(done.out)
    assert set(report) == {"data", "task", "classes", "rows", "columns", "notes", "problems", "ok"}
    assert report["classes"] == list(TREC)
    assert {problem["kind"] for problem in report["problems"]} == {"leak", "imbalance"}
    assert set(report["problems"][0]) == {"level", "kind", "message", "rows", "help"}


def test_check_says_in_words_what_it_found(shared: Path, zoo_command: Callable[..., Any]) -> None:
    done = zoo_command("check", shared / "data" / "trec")
    assert done.code == 0
    assert "5,442 train / 500 test, multiclass, 6 classes" in done.out
    assert "10 rows of test were also training rows; they are dropped from train" in done.out
    assert "ok        nothing stands in the way of training" in done.out


def test_another_label_column_makes_another_task(shared: Path, zoo_command: Callable[..., Any]) -> None:
    done = zoo_command("check", shared / "data" / "fashion", "--label-col", "season", "--drop-empty", "--json")
    report = json.loads(done.out)
    assert report["classes"] == ["Fall", "Spring", "Summer", "Winter"]
    assert report["columns"]["label"] == "season"


def test_data_that_are_not_there_are_a_usage_error(zoo_command: Callable[..., Any]) -> None:
    done = zoo_command("check", "no-such-folder")
    assert done.code == 2
    assert "No data set is named 'no-such-folder'" in done.err
    assert "help: give the path of a folder or table" in done.err
