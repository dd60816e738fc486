"""A dual encoder from scratch on product photos with their titles, and what its text space is worth for their types.

    python benchmarks/text_space.py DATA

DATA holds the folder `fashion`: 2,130 photos with titles to learn from, 555 with other titles to be measured on, of 20
types. No published weights are used: a small ViT or ResNet of open_clip's learns from the training pairs alone, titles
and photos, without their types. Then four labelled photos of each type, three draws, teach it the types in every way
that begins with their names.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np

import zoo

TEXT = {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2}
IMAGE: dict[str, dict[str, Any]] = {
    "vit": {"image_size": 64, "layers": 4, "width": 128, "head_width": 32, "patch_size": 8},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16},
}
EPOCHS, SHOTS, SEEDS = 30, 4, (0, 1, 2)
WAYS: dict[str, dict[str, Any]] = {
    "linear-probe": {"strategy": "linear-probe"},
    "head text, frozen": {"strategy": "head", "head": "text", "epochs": 20, "lr": 1e-3},
    "tip-adapter": {"strategy": "linear-probe", "head": "tip-adapter"},
    "tip-adapter-f": {"strategy": "tip-adapter-f", "epochs": 20, "lr": 1e-3},
    "full": {"strategy": "full", "epochs": 10, "lr": 3e-3},
    "head text, full": {"strategy": "full", "head": "text", "epochs": 10, "lr": 3e-3},
    "flyp": {"strategy": "flyp", "epochs": 10, "lr": 3e-3},
    "clip-lora": {"strategy": "clip-lora", "epochs": 20, "lr": 3e-3},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--towers", choices=IMAGE, default="vit")
    parser.add_argument("--aligned", type=Path, help="a run of pairs to go on from")
    given = parser.parse_args()
    data = given.data / "fashion"
    with tempfile.TemporaryDirectory() as folder:
        source = given.aligned or align(given.towers, data, Path(folder))
        found = (retrieval(source), table(str(source), data, Path(folder)), crossed(str(source), data))
        for line in itertools.chain.from_iterable(found):
            print(line, flush=True)


def align(towers: str, data: Path, folder: Path) -> Path:
    """The run of a dual encoder that learned from the pairs."""
    config = {"embed_dim": 128, "vision_cfg": IMAGE[towers], "text_cfg": TEXT}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return zoo.finetune(
        f"open_clip/local-dir:{folder}",
        data,
        epochs=EPOCHS,
        lr=1e-3,
        read=zoo.ReadOptions(task="pairs"),
        out=zoo.Output(dir=str(folder), name="aligned"),
    ).path


def retrieval(run: Path) -> Iterator[str]:
    found = zoo.evaluate(run)
    for name, value in found.metrics.items():
        low, high = found.intervals.get(name, (np.nan, np.nan))
        yield f"{name} {value:.3f} [{low:.3f}, {high:.3f}]"


def table(source: str, data: Path, folder: Path) -> Iterator[str]:
    """Accuracy on the test rows: of names alone, and of each way on few labelled rows, mean and range over seeds."""
    zero = zoo.zero_shot(source, data, templates="name")
    low, high = zero.intervals["accuracy"]
    yield f"zero-shot {zero.metrics['accuracy']:.3f} [{low:.3f}, {high:.3f}], majority {zero.metrics['majority']:.3f}"
    ways = {way: options for way, options in WAYS.items() if way != "clip-lora" or attends(source)}
    for way, options in ways.items():
        named = way not in ("linear-probe", "full")
        values = [
            zoo.finetune(
                f"{source}:image",
                data,
                **options,
                seed=seed,
                training=zoo.Training(templates=("name",) if named else ()),
                read=zoo.ReadOptions(shots=SHOTS),
                baseline="none",
                out=zoo.Output(dir=str(folder), name="way", overwrite=True),
            ).metrics["accuracy"]
            for seed in SEEDS
        ]
        numbers = [value for value in values if value is not None]
        yield f"{way} {np.mean(numbers):.3f} ({min(numbers):.3f} to {max(numbers):.3f})"


def attends(source: str) -> bool:
    """Whether the image tower is of attention, which CLIP-LoRA needs."""
    return any("blocks" in stage.name for stage in zoo.load(f"{source}:image").stages())


def crossed(source: str, data: Path) -> Iterator[str]:
    found = [
        zoo.cross_modal(
            source,
            data,
            train=["image", "text", "image+text", "names", "image+names"],
            templates="name",
            seed=seed,
            read=zoo.ReadOptions(shots=SHOTS, seed=seed),
        ).results
        for seed in SEEDS
    ]
    for same in zip(*found, strict=True):
        values = [each.metrics["accuracy"] or 0.0 for each in same]
        yield f"{same[0].train} -> {same[0].test} {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
