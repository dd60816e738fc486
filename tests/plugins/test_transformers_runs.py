"""A folder of transformers carried to new data, and the run after the folder is gone."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo_transformers
from safetensors.torch import load_file
from tiny_transformers import write_folder, write_pooling

import zoo
from zoo import Catalog

CATALOG = Catalog.of({"transformers": zoo_transformers})


WORDS = "sat ran quickly garden mat found another kind winter green very here before some that all".split()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Sixty texts about a cat or a dog, all different."""
    rng = random.Random(0)
    animals = ["cat", "dog"] * 30
    rows = [{"text": f"the {each} {' '.join(rng.sample(WORDS, 4))}", "label": each} for each in animals]
    return written(tmp_path / "animals.jsonl", rows)


def written(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def finetune(folder: Path, table: Path, tmp_path: Path, **options: Any) -> Any:
    from zoo.verbs.config import Output

    out = Output(dir=str(tmp_path / "runs"), name="animals")
    return zoo.finetune(f"transformers/{folder}", table, device="cpu", baseline="none", out=out, **options)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_finished_run_needs_its_folder_no_more(family: str, table: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "source", family)
    run = finetune(folder, table, tmp_path, strategy="linear-probe")
    texts = ["the cat sat on the mat", "a dog ran into the garden"]
    before = run.predict(texts)
    shutil.rmtree(folder)
    again = list(zoo.predict(run.path, texts, device="cpu"))
    assert [each.label for each in again] == [each.label for each in before]
    assert zoo.evaluate(run.path, device="cpu").metrics["accuracy"] == run.metrics["accuracy"]


def test_a_sentence_encoder_pools_in_a_run_as_in_its_folder(table: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "source", "bert")
    write_pooling(folder, "mean_tokens", normalise=True, max_length=12)
    backbone: Any = zoo.load(f"transformers/{folder}", catalog=CATALOG)
    run = finetune(folder, table, tmp_path, strategy="linear-probe")
    shutil.rmtree(folder)
    rebuilt = run.load().backbone
    assert rebuilt.summary == backbone.summary
    assert rebuilt.processor("text").preprocess.max_length == 12
    processor = backbone.processor("text")
    batch = {"text": processor.collate([processor("the cat sat")])}
    with torch.inference_mode():
        torch.testing.assert_close(rebuilt(batch).pooled, backbone(batch).pooled)


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_full_fine_tuning_learns_what_the_words_say(family: str, table: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "source", family)
    before = zoo.load(f"transformers/{folder}", catalog=CATALOG).state_dict()
    run = finetune(folder, table, tmp_path, strategy="full", epochs=12, lr=0.03, batch_size=8)
    after = run.load().backbone.state_dict()
    blocks = [name for name in before if ".weight" in name and before[name].ndim == 2]
    assert all(not torch.equal(before[name], after[name]) for name in blocks)
    assert run.metrics["accuracy"] >= 0.9


def test_a_run_is_a_backbone_for_the_next_task(table: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "source", "bert")
    run = finetune(folder, table, tmp_path, strategy="full", epochs=1)
    shutil.rmtree(folder)
    backbone = zoo.load(str(run.path))
    saved = load_file(run.path / "model" / "model.safetensors")
    for name, tensor in backbone.state_dict().items():
        assert any(key.endswith(name) and torch.equal(saved[key], tensor) for key in saved), name


def test_pairs_of_texts_can_be_learned(tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = []
    for animal in ["cat", "dog"] * 40:
        first, second = (" ".join(rng.sample(WORDS, 3)) for _ in range(2))
        rows.append({"first": first, "second": f"{second} {animal}", "label": animal})
    folder = write_folder(tmp_path / "source", "bert")
    read = zoo.ReadOptions(text=("first", "second"))
    table = written(tmp_path / "pairs.jsonl", rows)
    run = finetune(folder, table, tmp_path, strategy="full", epochs=12, lr=0.03, batch_size=8, read=read)
    assert run.metrics["accuracy"] >= 0.9
    shutil.rmtree(folder)
    found = run.predict([("the green garden", "some winter dog"), ("the green garden", "some winter cat")])
    assert [each.label for each in found] == ["dog", "cat"]
