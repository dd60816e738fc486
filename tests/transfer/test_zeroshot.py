"""Class names as a classifier: prompts, names of classes, and the arithmetic of their embeddings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.data.types import Task
from zoo.errors import DataError, UsageError
from zoo.transfer.zeroshot import class_prompts, class_texts, read_names, spoken_name, templates_of, unit

TASK = Task("multiclass", ("golden_retriever", "tabby-cat", "bee"))


def test_labels_are_spoken_without_underscores() -> None:
    assert [spoken_name(each) for each in (*TASK.classes, "_")] == ["golden retriever", "tabby cat", "bee", "_"]


def test_every_template_says_every_class() -> None:
    found = class_prompts(TASK, ["a photo of a {}.", "{}"], {"bee": "honey bee"})
    assert found[0] == ("a photo of a golden retriever.", "golden retriever")
    assert found[2] == ("a photo of a honey bee.", "honey bee")


def test_a_set_of_templates_goes_by_its_name() -> None:
    assert len(templates_of(None)) == 8
    assert templates_of(["name"]) == ("{}",)
    assert templates_of(["photo", "art of {}"]) == (*templates_of(None), "art of {}")


def test_a_template_without_a_place_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'a photo' has no \{\}"):
        class_prompts(TASK, ["a photo"])


@pytest.mark.parametrize("kind", ["regression", "multilabel", "segmentation"])
def test_a_task_without_one_class_a_row_is_refused(kind: Any) -> None:
    with pytest.raises(UsageError, match=f"this is a {kind} task"):
        class_prompts(Task(kind, ("a", "b")))


def test_a_class_is_the_mean_of_its_prompts_of_length_one() -> None:
    vectors = {"x": [2.0, 0.0], "y": [0.0, 7.0], "z": [0.0, -1.0], "w": [0.0, -3.0]}

    def embed(texts: Sequence[str]) -> Any:
        return np.array([vectors[text] for text in texts], dtype=np.float32)

    found = class_texts([("x", "y"), ("z", "w")], float(np.log(10)), embed)
    half = 0.5**0.5
    np.testing.assert_allclose(found.embeddings, [[half, half], [0, -1]], atol=1e-6)
    np.testing.assert_allclose(found.logits(np.array([[3.0, 0.0]], dtype=np.float32)), [[10 * half, 0]], atol=1e-5)
    assert found.probabilities(np.array([[3.0, 0.0]], dtype=np.float32)).sum() == pytest.approx(1)


def test_a_zero_vector_stays_a_zero_vector() -> None:
    np.testing.assert_array_equal(unit(np.zeros((1, 3))), np.zeros((1, 3)))


def test_names_come_a_line_in_the_order_of_the_classes(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("dog\n\ncat\nbee\n")
    assert read_names(tmp_path / "names.txt", TASK.classes) == {
        "golden_retriever": "dog", "tabby-cat": "cat", "bee": "bee",
    }  # fmt: skip


def test_names_come_by_label_from_json(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text(json.dumps({"bee": "honey bee"}))
    assert read_names(tmp_path / "names.json", TASK.classes) == {"bee": "honey bee"}


def test_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("dog\ncat\n")
    (tmp_path / "odd.json").write_text(json.dumps({"bees": "honey bee"}))
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(DataError, match="names 2 classes, and the data have 3"):
        read_names(tmp_path / "two.txt", TASK.classes)
    with pytest.raises(DataError, match="'bees', which is no class"):
        read_names(tmp_path / "odd.json", TASK.classes)
    with pytest.raises(DataError, match="no JSON object"):
        read_names(tmp_path / "list.json", TASK.classes)
    with pytest.raises(DataError, match="cannot be read"):
        read_names(tmp_path / "none.txt", TASK.classes)
