"""Dual encoders of open_clip carried to new data: images, texts and both; and the run after the folder is gone."""

from __future__ import annotations

import csv
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_open_clip import write_folder

import zoo
from zoo.verbs.config import Output

COLOURS = {"cat": (200, 40, 40), "dog": (40, 40, 200)}
WORDS = "sat ran quickly garden mat found another kind winter green very here before some that all".split()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Eighty rows of a picture, a sentence and a label; both tell cats from dogs, with some noise in the pictures."""
    rng, noise = random.Random(0), np.random.default_rng(0)
    rows = []
    for index, animal in enumerate(["cat", "dog"] * 40):
        pixels = np.clip(np.array(COLOURS[animal]) + noise.normal(0, 30, (40, 48, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        # Said more than once: a random tower hears a single word badly.
        rows.append([f"{index}.png", " ".join([*rng.sample(WORDS, 3), *[animal] * 3]), animal])
    with (tmp_path / "animals.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "text", "label"], *rows])
    return tmp_path / "animals.csv"


def finetune(name: str, table: Path, tmp_path: Path, **options: Any) -> Any:
    out = Output(dir=str(tmp_path / "runs"), name="animals")
    return zoo.finetune(name, table, device="cpu", baseline="none", out=out, **options)


@pytest.mark.parametrize("kind", ["clip", "siglip", "roberta"])
@pytest.mark.parametrize("tower", [":image", ":text", ""])
def test_a_probe_learns_from_images_texts_and_both(kind: str, tower: str, table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    write_folder(folder, kind)
    run = finetune(f"open_clip/local-dir:{folder}{tower}", table, tmp_path, strategy="linear-probe")
    assert run.metrics["accuracy"] >= 0.9
    shutil.rmtree(folder)
    assert zoo.evaluate(run.path, device="cpu").metrics["accuracy"] == run.metrics["accuracy"]


@pytest.mark.parametrize("kind", ["clip with quick gelu", "clip with a resnet", "coca", "bert"])
def test_a_finished_run_needs_its_folder_no_more(kind: str, table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    own = {"mean": [0.5, 0.5, 0.5], "interpolation": "bilinear", "resize_mode": "squash"}
    write_folder(folder, kind, preprocess=own)
    name = f"open_clip/local-dir:{folder}"
    backbone = zoo.load(name)
    run = finetune(name, table, tmp_path, strategy="linear-probe")
    shutil.rmtree(folder)
    rebuilt = run.load().backbone
    batch: Any = {}
    for modality, value in {"image": Image.new("RGB", (50, 40), "red"), "text": "the cat sat"}.items():
        old, new = backbone.processor(modality), rebuilt.processor(modality)
        assert old.key == new.key
        batch[modality] = new.finish(new.collate([new(value)]))
    with torch.inference_mode():
        torch.testing.assert_close(rebuilt(batch).pooled, backbone(batch).pooled)


def test_with_one_column_one_tower_serves(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    write_folder(folder, "clip")
    lines = [line.split(",") for line in table.read_text().splitlines()]
    (tmp_path / "texts.csv").write_text("\n".join(f"{text},{label}" for _, text, label in lines))
    run = finetune(f"open_clip/local-dir:{folder}", tmp_path / "texts.csv", tmp_path, strategy="linear-probe")
    assert run.load().backbone.modalities == ("text",)
    assert not any("visual" in each for each, _ in run.load().backbone.named_parameters())


def test_full_fine_tuning_moves_both_towers(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    write_folder(folder, "clip")
    name = f"open_clip/local-dir:{folder}"
    before = zoo.load(name).state_dict()
    run = finetune(name, table, tmp_path, strategy="full", epochs=4, lr=0.01, batch_size=8)
    after = run.load().backbone.state_dict()
    assert run.metrics["accuracy"] >= 0.9
    moved = {key.partition(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert moved == {"visual", "text"}
    assert torch.equal(before["logit_scale"], after["logit_scale"])


def test_a_run_is_a_backbone_for_the_next_task(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    write_folder(folder, "clip")
    run = finetune(f"open_clip/local-dir:{folder}:text", table, tmp_path, strategy="full", epochs=1)
    shutil.rmtree(folder)
    again = finetune(str(run.path), table, tmp_path / "next", strategy="linear-probe")
    assert again.metrics["accuracy"] >= 0.9
