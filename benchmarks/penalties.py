"""The strength of a probe's penalty: zoo's choice beside LogisticRegressionCV, on features that are there.

    zoo extract BACKBONE DATA --split train -o train.safetensors
    zoo extract BACKBONE DATA --split test -o test.safetensors
    python benchmarks/penalties.py train.safetensors test.safetensors --rows 100 500 2000 [--draws 10]

Both standardise, and try the same strengths in the same five folds. scikit-learn chooses by log-loss, zoo by log-loss
at the best length of the weights, and gives the layer that length. Each line is a number of training rows: means over
draws of them, of accuracy and log-loss on all test rows; the median of the ratios of seconds; and in how many draws
zoo's log-loss was the lower one. With `--anew` training rows are drawn from both files, and all others are test rows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from safetensors import safe_open
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from zoo import Task
from zoo.transfer.metrics import measure
from zoo.transfer.probe import C_GRID, folds_of, predict, solve

Array = np.ndarray[Any, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--anew", action="store_true")
    given = parser.parse_args()
    x, y, classes = read(given.train)
    held, truth, _ = read(given.test)
    if given.anew:
        x, y = np.concatenate([x, held]), np.concatenate([y, truth])
    task = Task("binary" if len(classes) == 2 else "multiclass", classes)
    print("| rows | accuracy: zoo | scikit-learn | log-loss: zoo | scikit-learn | lower in | seconds, ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for count in given.rows:
        ours, theirs = [], []
        for seed, rows in enough(task, y, count, given.draws):
            if given.anew:
                others = np.setdiff1d(np.arange(len(x)), rows)
                held, truth = x[others], y[others]
            ours.append(zoos(task, x[rows], y[rows], held, truth, seed))
            theirs.append(scikit_learns(task, x[rows], y[rows], held, truth, seed))
        lower = sum(one[1] < other[1] for one, other in zip(ours, theirs, strict=True))
        ratio = statistics.median(one[2] / other[2] for one, other in zip(ours, theirs, strict=True))
        means = [statistics.fmean(each[k] for each in side) for k in (0, 1) for side in (ours, theirs)]
        cells = " | ".join(f"{mean:.3f}" for mean in means)
        print(f"| {count:,} | {cells} | {lower} of {given.draws} | {ratio:.2f} |", flush=True)


def enough(task: Task, y: Array, count: int, draws: int) -> Iterator[tuple[int, Array]]:
    """Draws of rows that can be cut into folds: those with two rows or more of every class in them."""
    seeds = ((seed, np.random.default_rng(seed).permutation(len(y))[:count]) for seed in itertools.count())
    return itertools.islice(((seed, rows) for seed, rows in seeds if folds_of(y[rows], task, seed)), draws)


def read(path: Path) -> tuple[Array, Array, tuple[str, ...]]:
    """Features (N, D), the class of each row, and the names of classes, as `zoo extract` wrote them."""
    with safe_open(path, "numpy") as file:
        names = tuple(json.loads(file.metadata()["classes"]))
        return file.get_tensor("features"), file.get_tensor("targets").astype(np.int64), names


def zoos(task: Task, x: Array, y: Array, held: Array, truth: Array, seed: int) -> tuple[float, float, float]:
    """Accuracy, log-loss and seconds."""
    started = time.perf_counter()
    found = solve(x, y, task, seed=seed)
    return *told(task, predict(found, task, held), truth), time.perf_counter() - started


def scikit_learns(task: Task, x: Array, y: Array, held: Array, truth: Array, seed: int) -> tuple[float, float, float]:
    """Likewise; classes without training rows get no probability."""
    started = time.perf_counter()
    model = LogisticRegressionCV(Cs=list(C_GRID), cv=folds_of(y, task, seed), scoring="neg_log_loss", max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the weakest penalties do not converge, and names of arguments change
        fitted = make_pipeline(StandardScaler(), model).fit(x, y)
    answers = np.zeros((len(held), len(task.classes)), dtype=np.float32)
    answers[:, model.classes_] = fitted.predict_proba(held)
    return *told(task, answers, truth), time.perf_counter() - started


def told(task: Task, answers: Array, truth: Array) -> tuple[float, float]:
    """Accuracy and log-loss."""
    found = measure(task, answers, truth)
    assert found["accuracy"] is not None
    assert found["log_loss"] is not None
    return found["accuracy"], found["log_loss"]


if __name__ == "__main__":
    main()
