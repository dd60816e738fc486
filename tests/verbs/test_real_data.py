"""Pretrained weights on real data: what transfer is worth, against the same architecture with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zoo
from zoo.data.types import ReadOptions
from zoo.verbs.config import Output
from zoo.verbs.run import Run

RESNET = Path(__file__).parent.parent / "user" / "cifar_resnet.py"


def probed(tmp_path: Path, backbone: str, data: Path | str, name: str = "run", **options: Any) -> Run:
    """A linear probe on all rows, or on `limit` of them."""
    read = ReadOptions(limit=options.pop("limit", None))
    out = Output(dir=str(tmp_path), name=name)
    settings = {"strategy": "linear-probe", "baseline": "none", "device": "cpu", "read": read, "out": out}
    return zoo.finetune(backbone, data, **{**settings, **options})


def squeezenet(shared: Path) -> str:
    return f"torchvision/squeezenet1_1@{shared / 'weights' / 'squeezenet1_1-imagenet' / 'model.safetensors'}"


def test_squeezenet_knows_ants_from_bees_and_random_weights_do_not(shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "hymenoptera"
    assert probed(tmp_path, squeezenet(shared), data, "known").metrics["accuracy"] >= 0.92
    assert probed(tmp_path, "torchvision/squeezenet1_1@random", data, "random").metrics["accuracy"] <= 0.80


def test_minilm_tells_questions_apart(shared: Path, minilm: Path, tmp_path: Path) -> None:
    run = probed(tmp_path, f"transformers/{minilm}", shared / "data" / "trec", limit=1000)
    assert run.split == "test"
    assert run.metrics["accuracy"] >= 0.80


def test_image_and_text_together_beat_either_alone_on_emoji(shared: Path, minilm: Path, tmp_path: Path) -> None:
    data, text = shared / "data" / "emoji", f"transformers/{minilm}"
    seen = probed(tmp_path, squeezenet(shared), data, "image", limit=500).metrics["accuracy"]
    read = probed(tmp_path, text, data, "text", limit=500).metrics["accuracy"]
    both = probed(tmp_path, f"{squeezenet(shared)}+{text}", data, "both", limit=500).metrics["accuracy"]
    assert seen >= 0.60
    assert read >= 0.70
    assert both > max(seen, read) + 0.02


def test_prices_of_houses_are_told_better_from_pretrained_features(shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "houses"
    known = probed(tmp_path, squeezenet(shared), data, "known", limit=250).metrics
    random = probed(tmp_path, "torchvision/squeezenet1_1@random", data, "random", limit=250).metrics
    assert known["r2"] > random["r2"]
    assert known["spearman"] > random["spearman"] + 0.15


def test_likeness_of_sentences_is_told_better_from_pretrained_features(
    shared: Path, minilm: Path, tmp_path: Path
) -> None:
    data = tmp_path / "stsb"
    data.mkdir()
    for split in ("train", "test"):
        lines = (shared / "data" / "stsb" / f"{split}.csv").read_text(encoding="utf-8").splitlines(keepends=True)
        (data / f"{split}.csv").write_text("".join(lines[:401]), encoding="utf-8")
    known = probed(tmp_path, f"transformers/{minilm}", data, "known").metrics
    random = probed(tmp_path, f"transformers/{minilm}@random", data, "random").metrics
    assert known["spearman"] > random["spearman"] + 0.15


def test_a_users_resnet_with_its_own_checkpoint_is_a_source_and_its_run_the_next(shared: Path, tmp_path: Path) -> None:
    weights = shared / "weights" / "resnet20-cifar10" / "model.safetensors"
    data = shared / "data" / "cifar10"
    run = probed(tmp_path, f"local:{RESNET}:resnet20", data, "cifar", weights=str(weights), limit=1500)
    assert run.metrics["accuracy"] >= 0.80
    carried = probed(tmp_path, str(run.path), "sklearn:digits", "digits", limit=400)
    assert carried.metrics["accuracy"] >= 0.85
