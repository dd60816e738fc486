"""What rows of the target without labels are worth, where the target differs from what is labelled.

    python benchmarks/unlabelled.py digits
    python benchmarks/unlabelled.py DATA [--backbone starter/text-transformer] [--only probe]

digits: 300 labelled digits of scikit-learn; 400 others without labels and 400 to be measured on, all of these turned
by 35 degrees (`turned`) or under noise of a deviation of 90 of 255 (`noisy`), with starter/glyph-cnn.

DATA holds the folders `fashion` and `emoji`. `mistyped`: 1,065 titles of products with labels; the 1,065 others
without labels and the 555 of the test rows with one letter in eight mistyped. `keywords`: 536 names of emoji with their
group; the keywords of 536 others without, and those of 359 test rows to be measured on.

Every seed draws other rows. `target labels` trains as lp-ft does on the unlabelled rows with their labels: what could
be had. `batch norm alone` is coral with a weight of a millionth, which leaves the statistics of batch norm.
"""

from __future__ import annotations

import argparse
import csv
import os
import string
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from scipy import stats
from sklearn.datasets import load_digits

import zoo

STATISTICS_ALONE = 1e-6
MISTYPED = 1 / 8


@dataclass(frozen=True)
class Shift:
    """Labelled rows of one kind, and rows of another to be measured on."""

    name: str
    backbone: str
    source: Path
    """With `train` of the source and `test` of the target."""
    unlabelled: Path
    oracle: Path
    """With `train` of the target, the unlabelled rows with their labels, and the same `test`."""
    epochs: int


@dataclass(frozen=True)
class Way:
    """A strategy with its options, and the rows that it is given."""

    name: str
    strategy: str
    options: dict[str, float]
    labels: str = "source"


WAYS = (
    Way("linear-probe, source only", "linear-probe", {}),
    Way("lp-ft, source only", "lp-ft", {}),
    Way("coral-probe", "coral-probe", {}),
    Way("batch norm alone", "coral", {"weight": STATISTICS_ALONE}),
    Way("coral, mean=0", "coral", {"mean": 0.0}),
    Way("coral", "coral", {}),
    Way("dann", "dann", {}),
    Way("self-training", "self-training", {}),
    Way("self-training, threshold=0.8", "self-training", {"threshold": 0.8}),
    Way("target labels", "lp-ft", {}, labels="target"),
    Way("target labels, linear-probe", "linear-probe", {}, labels="target"),
)


def digits(folder: Path, seed: int) -> Iterator[Shift]:
    """Both shifts of scikit-learn's digits."""
    found = load_digits()
    images = [Image.fromarray((image * 15.9).astype(np.uint8)).resize((32, 32), 2) for image in found.images]
    rng = np.random.default_rng(seed)
    train, without, test = np.split(rng.permutation(len(images))[:1100], [300, 700])

    def noisy(image: Any) -> Any:
        return Image.fromarray(np.clip(np.asarray(image) + rng.normal(0, 90, (32, 32)), 0, 255).astype(np.uint8))

    for name, change in (("turned", lambda image: image.rotate(35)), ("noisy", noisy)):
        changed = {row: change(images[row]) for row in (*without, *test)}
        parts = {"source/train": (train, images), "source/test": (test, changed), "oracle/train": (without, changed)}
        parts |= {"oracle/test": (test, changed), "unlabelled": (without, changed)}
        for part, (rows, pictures) in parts.items():
            for row in rows:
                place = folder / name / part / ("" if part == "unlabelled" else str(found.target[row]))
                place.mkdir(parents=True, exist_ok=True)
                pictures[row].save(place / f"{row}.png")
        at = folder / name
        yield Shift(name, "starter/glyph-cnn", at / "source", at / "unlabelled", at / "oracle", epochs=8)


def texts(folder: Path, seed: int, data: Path, backbone: str) -> Iterator[Shift]:
    """Titles of products and the same mistyped; names of emoji and their keywords."""
    rng = np.random.default_rng(seed)
    letters = np.array(list(string.ascii_lowercase))

    def mistyped(row: dict[str, Any]) -> str:
        return "".join(rng.choice(letters) if c.isalpha() and rng.random() < MISTYPED else c for c in row["text"])

    def keywords(row: dict[str, Any]) -> str:
        return ", ".join(row["keywords"])

    for name, source, changed in (("mistyped", "fashion", mistyped), ("keywords", "emoji", keywords)):
        everything, test = (_rows(data / source / f"{split}.parquet") for split in ("train", "test"))
        order = rng.permutation(len(everything))
        labelled, without = ([everything[i] for i in half] for half in np.array_split(order, 2))
        target = [(changed(row), row["label"]) for row in without]
        measured = [(changed(row), row["label"]) for row in test]
        at = folder / name
        for part, train in (("source", [(row["text"], row["label"]) for row in labelled]), ("oracle", target)):
            _write(at / part / "train.csv", ("text", "label"), train)
            _write(at / part / "test.csv", ("text", "label"), measured)
        _write(at / "unlabelled.csv", ("text",), [(text,) for text, _ in target])
        yield Shift(name, backbone, at / "source", at / "unlabelled.csv", at / "oracle", epochs=6)


def _rows(path: Path) -> list[dict[str, Any]]:
    table = pq.read_table(path)
    columns = [name for name in ("text", "keywords", "label") if name in table.column_names]
    return [row for row in table.select(columns).to_pylist() if row.get("keywords") != []]


def _write(path: Path, header: tuple[str, ...], lines: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *lines])


def carried(shift: Shift, way: Way, seed: int) -> tuple[float, float]:
    """Accuracy on the target's test rows, and seconds."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as runs:
        run = zoo.finetune(
            shift.backbone,
            shift.source if way.labels == "source" else shift.oracle,
            strategy=way.strategy,
            epochs=shift.epochs,
            seed=seed,
            unlabelled=shift.unlabelled if way.strategy not in ("linear-probe", "lp-ft") else None,
            training=zoo.Training(strategy_options=way.options),
            baseline="none",
            out=zoo.Output(dir=runs),
        )
    accuracy = run.metrics["accuracy"]
    assert accuracy is not None
    return accuracy, time.perf_counter() - started


def main() -> None:
    """Print one table for each shift."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="digits, or the folder of fashion and emoji")
    parser.add_argument("--backbone", default="starter/text-transformer", help="of texts")
    parser.add_argument("--only", default="", help="the ways whose strategy has this in its name")
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    ways = [way for way in WAYS if asked.only in way.strategy]
    made: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for seed in range(asked.seeds):
        with tempfile.TemporaryDirectory() as folder:
            at = Path(folder)
            of_texts = texts(at, seed, Path(asked.data), asked.backbone)
            for shift in digits(at, seed) if asked.data == "digits" else of_texts:
                for way in ways:
                    result = carried(shift, way, seed)
                    made.setdefault((shift.name, way.name), []).append(result)
                    print(f"seed {seed} {shift.name:<8} {way.name:<30} {result[0]:.3f}", flush=True)
    for name in dict.fromkeys(shift for shift, _ in made):
        print(f"\n| {name} | accuracy | 95 % interval | seconds |\n| --- | --- | --- | --- |")
        for way in ways:
            scores, seconds = zip(*made[name, way.name], strict=True)
            half = stats.t.ppf(0.975, len(scores) - 1) * np.std(scores, ddof=1) / len(scores) ** 0.5
            low, high = np.mean(scores) - half, np.mean(scores) + half
            print(f"| {way.name} | {np.mean(scores):.3f} | {low:.3f} to {high:.3f} | {np.median(seconds):.0f} |")


if __name__ == "__main__":
    main()
