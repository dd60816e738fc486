"""The model card of a run, as a model hub would read it."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import zoo
from zoo.transfer import baseline
from zoo.verbs.config import Output


def card_of(run: zoo.Run) -> ModelCard:
    return ModelCard.load(run.path / "model" / "README.md")


def test_the_card_says_what_was_trained_on_what_and_how_good_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baseline, "DRAWS", 1)
    read = zoo.ReadOptions(limit=100)
    run = zoo.finetune(
        "starter/glyph-cnn", "sklearn:digits", read=read, strategy="full", epochs=1, out=Output(str(tmp_path))
    )
    card = card_of(run)
    assert card.data.library_name == "zoo"
    assert card.data.license == "apache-2.0"
    assert card.data.pipeline_tag == "image-classification"
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found == {name: run.metrics[name] for name in ("accuracy", "macro_f1")}
    assert "# glyph-cnn, fine-tuned on sklearn:digits\n" in card.text
    assert "| weights | package:zoo_starter/glyph-cnn.safetensors (84c84c3b" in card.text
    assert "| licence of the weights | Apache-2.0 |" in card.text
    assert "| classes | 10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 |" in card.text
    assert f"| accuracy | {run.metrics['accuracy']:.4f} | " in card.text
    assert f"{run.baseline['probe']['random']:.4f} with random ones" in card.text
    assert " steps: strategy full, " in card.text


def test_random_weights_and_numbers_have_a_card_too(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,price\n" + "".join(f"{'word ' * n},{n}.5\n" for n in range(1, 40)))
    out = Output(str(tmp_path))
    run = zoo.finetune("starter/bag-of-words", tmp_path / "t.csv", read=zoo.ReadOptions(label=("price",)), out=out)
    card = card_of(run)
    assert card.data.license is None
    assert "| backbone | starter/bag-of-words, from random weights |" in card.text
    assert "| targets | price |" in card.text
    assert "A linear head, solved on frozen features." in card.text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a|b", "---"])
def test_no_class_can_break_the_card(name: str, tmp_path: Path) -> None:
    rows = "".join(f"word {n},{(name, 'other')[n % 2]}\n" for n in range(40))
    (tmp_path / "train.csv").write_text("text,label\n" + rows)
    (tmp_path / "test.csv").write_text("text,label\na new word,other\n")  # a note says which class it lacks
    run = zoo.finetune("starter/bag-of-words", tmp_path, out=Output(str(tmp_path / "runs")))
    assert any(name in note for note in run.plan.notes)
    text = (run.path / "model" / "README.md").read_text()
    assert "<script>" not in text
    row = next(line for line in text.splitlines() if line.startswith("| classes |"))
    assert row.replace("\\|", "").count("|") == 3
    assert card_of(run).data.eval_results
