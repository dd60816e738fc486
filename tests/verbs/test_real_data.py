"""Pretrained weights on real data: what transfer is worth, against the same architecture with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import zoo
from zoo.data.types import ReadOptions
from zoo.verbs.config import Output
from zoo.verbs.run import Run

RESNET = Path(__file__).parent.parent / "user" / "cifar_resnet.py"


def probed(tmp_path: Path, backbone: str, data: Path | str, name: str = "run", **options: Any) -> Run:
    """A linear probe on all rows, or on `limit` of them."""
    read = ReadOptions(limit=options.pop("limit", None))
    out = Output(dir=str(tmp_path), name=name)
    options.setdefault("training", zoo.Training(strategy="linear-probe", device="cpu"))
    return zoo.finetune(backbone, data, baseline="none", read=read, out=out, **options)


def few(data: Path, folder: Path, train: int, test: int) -> Path:
    """The first rows of a set of tables, which lie in no order."""
    folder = folder / data.name
    folder.mkdir()
    for split, rows in (("train", train), ("test", test)):
        if (data / f"{split}.parquet").exists():
            pq.write_table(pq.read_table(data / f"{split}.parquet").slice(0, rows), folder / f"{split}.parquet")
        else:
            lines = (data / f"{split}.csv").read_text(encoding="utf-8").splitlines(keepends=True)
            (folder / f"{split}.csv").write_text("".join(lines[: rows + 1]), encoding="utf-8")
    return folder


def few_photos(data: Path, folder: Path, train: int, val: int) -> Path:
    """The first photos of each class."""
    for split, count in (("train", train), ("val", val)):
        for kind in sorted((data / split).iterdir()):
            (folder / data.name / split / kind.name).mkdir(parents=True)
            for photo in sorted(kind.iterdir())[:count]:
                (folder / data.name / split / kind.name / photo.name).symlink_to(photo)
    return folder / data.name


def squeezenet(shared: Path) -> str:
    return f"torchvision/squeezenet1_1@{shared / 'weights' / 'squeezenet1_1-imagenet' / 'model.safetensors'}"


def test_squeezenet_knows_ants_from_bees_and_random_weights_do_not(shared: Path, tmp_path: Path) -> None:
    data = few_photos(shared / "data" / "hymenoptera", tmp_path, 60, 40)
    small = zoo.Training(strategy="linear-probe", device="cpu", image_size=160)
    known = probed(tmp_path, squeezenet(shared), data, "known", training=small).metrics["accuracy"]
    random = probed(tmp_path, "torchvision/squeezenet1_1@random", data, "random", training=small).metrics["accuracy"]
    assert known >= 0.85
    assert random <= known - 0.10


def test_minilm_tells_questions_apart(shared: Path, minilm: Path, tmp_path: Path) -> None:
    run = probed(tmp_path, f"transformers/{minilm}", few(shared / "data" / "trec", tmp_path, 400, 150))
    assert run.split == "test"
    assert run.metrics["accuracy"] >= 0.80


def test_image_and_text_together_beat_either_alone_on_emoji(shared: Path, minilm: Path, tmp_path: Path) -> None:
    data, text = few(shared / "data" / "emoji", tmp_path, 400, 300), f"transformers/{minilm}"
    small = zoo.Training(strategy="linear-probe", device="cpu", image_size=96)
    seen = probed(tmp_path, squeezenet(shared), data, "image", training=small).metrics["accuracy"]
    read = probed(tmp_path, text, data, "text").metrics["accuracy"]
    both = probed(tmp_path, f"{squeezenet(shared)}+{text}", data, "both", training=small).metrics["accuracy"]
    assert seen >= 0.58
    assert read >= 0.68
    assert both > max(seen, read) + 0.03


def test_prices_of_houses_are_told_better_from_pretrained_features(shared: Path, tmp_path: Path) -> None:
    data = few(shared / "data" / "houses", tmp_path, 150, 118)
    small = zoo.Training(strategy="linear-probe", device="cpu", image_size=128)
    known = probed(tmp_path, squeezenet(shared), data, "known", training=small).metrics
    random = probed(tmp_path, "torchvision/squeezenet1_1@random", data, "random", training=small).metrics
    assert known["r2"] > random["r2"]
    assert known["spearman"] > random["spearman"] + 0.15


def test_likeness_of_sentences_is_told_better_from_pretrained_features(
    shared: Path, minilm: Path, tmp_path: Path
) -> None:
    data = few(shared / "data" / "stsb", tmp_path, 100, 100)
    known = probed(tmp_path, f"transformers/{minilm}", data, "known").metrics
    random = probed(tmp_path, f"transformers/{minilm}@random", data, "random").metrics
    assert known["spearman"] > random["spearman"] + 0.15


def test_a_users_resnet_with_its_own_checkpoint_is_a_source_and_its_run_the_next(shared: Path, tmp_path: Path) -> None:
    weights = shared / "weights" / "resnet20-cifar10" / "model.safetensors"
    data = few(shared / "data" / "cifar10", tmp_path, 600, 600)
    run = probed(tmp_path, f"local:{RESNET}:resnet20", data, "cifar", weights=str(weights))
    assert run.metrics["accuracy"] >= 0.80
    carried = probed(tmp_path, str(run.path), "sklearn:digits", "digits", limit=400)
    assert carried.metrics["accuracy"] >= 0.85
