"""Where scores of features fail: signal against wider noise in few rows, copies of rows, and what each one costs.

python benchmarks/scorers.py [--draws 20]
python benchmarks/scorers.py --logistic DATA BACKBONE... [--limit 500]

Beside zoo's scores stand those formulas as they were published, written down here anew in a few lines each: LogME
without the directions that have no data, the H-score with a pseudo-inverse, LEEP over clusters and SFDA with the rows
that that they were fitted on. Each line counts in how many draws the noise scored as high as the signal, or higher.

The second line sets the score `linear` beside logistic regression as `zoo probe` solves it, in ten folds of the rows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import zoo
from zoo.catalog.factories import import_factory
from zoo.scoring import linear, nleep, sfda
from zoo.scoring.rows import span
from zoo.transfer.probe import predict, solve
from zoo.verbs.candidates import Filters, named
from zoo.verbs.rank import dataset_for, looked_at
from zoo.verbs.scoring import Job

Array = np.ndarray[Any, Any]
Score = Callable[[Array, Array], float]


def published_logme(features: Array, labels: Array) -> float:
    """You et al. 2021 by the fixed point that their code takes, the determinant over k directions of D."""
    n, d = features.shape
    u, s, _ = np.linalg.svd(features, full_matrices=False)
    total = []
    for each in np.unique(labels):
        y = (labels == each) * 1.0
        squares, z = s**2, (u.T @ y) ** 2
        rest, alpha, beta = float((y**2).sum() - z.sum()), 1.0, 1.0
        for _ in range(11):
            t = alpha / beta
            m2 = (squares * z / (t + squares) ** 2).sum()
            r2 = (z / (1 + squares / t) ** 2).sum() + rest
            gamma = (squares / (squares + t)).sum()
            alpha, beta = gamma / (m2 + 1e-5), (n - gamma) / (r2 + 1e-5)
        found = d / 2 * np.log(alpha) + n / 2 * np.log(beta) - 0.5 * np.log(alpha + beta * squares).sum()
        total.append((found - beta / 2 * r2 - alpha / 2 * m2 - n / 2 * np.log(2 * np.pi)) / n)
    return float(np.mean(total))


def published_h_score(features: Array, labels: Array) -> float:
    """Bao et al. 2019: every direction that the rows span counts alike."""
    x, squares = span(features - features.mean(0))
    means = np.stack([x[labels == each].mean(0) for each in labels])
    return float(((means**2).sum(0) / squares).sum())


def published_nleep(features: Array, labels: Array) -> float:
    """Li et al. 2021: five components a class, and P(y | z) counted on the row that is asked for, too."""
    from sklearn.mixture import GaussianMixture

    x = nleep.components(features)
    count = min(5 * len(np.unique(labels)), len(x))
    given = GaussianMixture(count, covariance_type="diag", reg_covar=1e-4, random_state=0).fit(x).predict_proba(x)
    joint = given.T @ np.eye(labels.max() + 1)[labels]
    share = joint / np.maximum(joint.sum(1, keepdims=True), 1e-12)
    return float(np.log(np.maximum((given @ share)[np.arange(len(x)), labels], 1e-12)).mean())


def published_sfda(features: Array, labels: Array) -> float:
    """Shao et al. 2022 as their code has it: each discriminant judges the rows that it was fitted on."""
    x, columns, rows = span(features - features.mean(0))[0], np.eye(labels.max() + 1)[labels], np.arange(len(labels))
    inside = x - columns @ (columns.T @ x / columns.sum(0)[:, None])
    shrunk = max(float(np.exp(-5 * np.linalg.norm(inside, 2) ** 2 / len(x))), 1e-10)
    sure = sfda.softened(sfda.discriminant(x, columns, x, shrunk, features.shape[1]))[rows, labels]
    means = columns.T @ x / columns.sum(0)[:, None]
    others = (means.sum(0) - means) / (len(means) - 1)
    moved = sure[:, None] * x + (1 - sure[:, None]) * others[labels]
    return float(sfda.discriminant(moved, columns, moved, shrunk, features.shape[1])[rows, labels].mean())


PUBLISHED: dict[str, Score] = {
    "LogME as published": published_logme,
    "H-score as published": published_h_score,
    "NLEEP as published": published_nleep,
    "SFDA as published": published_sfda,
}


def blobs(seed: int, rows: int, dim: int, apart: float, classes: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    return (apart * rng.standard_normal((classes, dim)))[labels] + rng.standard_normal((rows, dim)), labels


def wrong(score: Score, apart: float, draws: int) -> int:
    """Draws of 244 rows in which 2,048 columns of noise score as high as 512 that tell two classes apart."""
    found = 0
    for seed in range(draws):
        signal, labels = blobs(seed, 244, 512, apart, 2)
        noise = np.random.default_rng(100 + seed).standard_normal((244, 2048))
        found += score(noise, labels) >= score(signal, labels)
    return found


def copied(score: Score, draws: int) -> int:
    """Draws of 100 rows, each there twice, in which 512 columns of noise score as high as 64 of signal."""
    found = 0
    for seed in range(draws):
        signal, labels = blobs(seed, 100, 64, 0.5, 4)
        noise = np.random.default_rng(100 + seed).standard_normal((100, 512))
        twice = np.tile(labels, 2)
        found += score(np.vstack([noise, noise]), twice) >= score(np.vstack([signal, signal]), twice)
    return found


def seconds(score: Score, rows: int, dim: int, classes: int) -> float:
    features, labels = blobs(0, rows, dim, 0.3, classes)
    score(features[:50], labels[:50])
    taken = []
    for _ in range(3):
        began = time.process_time()
        score(features, labels)
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def beside_logistic(data: str, backbones: list[str], limit: int) -> None:
    """Prints leave-one-out accuracy of least squares, and of logistic regression in ten folds."""
    chosen = named(backbones, Filters())
    dataset = dataset_for(data, chosen, None)
    rows, _ = looked_at(dataset, limit, 0)
    part = np.random.default_rng(0).permutation(np.arange(len(rows)) % 10)
    job = Job(dataset.task, rows, (), None, "cpu", 0, True, lambda event: None)
    for candidate in chosen:
        backbone, own = job.opened(candidate)
        features, targets, right = zoo.extract(backbone, own).features, own.targets, 0
        assert targets is not None
        for fold in range(10):
            kept, held = part != fold, part == fold
            solution = solve(features[kept], targets[kept], dataset.task)
            right += int((predict(solution, dataset.task, features[held]).argmax(1) == targets[held]).sum())
        least = linear.linear(features, targets)
        print(f"{candidate.name}: linear {least:.3f}, logistic {right / len(rows):.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--logistic", nargs="+")
    parser.add_argument("--limit", type=int, default=500)
    given = parser.parse_args()
    if given.logistic:
        beside_logistic(given.logistic[0], given.logistic[1:], given.limit)
        return
    specs = [spec for spec in zoo.default_catalog().scorers.values() if spec.needs == "features"]
    scores: dict[str, Score] = {spec.name: import_factory(spec.factory, spec.name) for spec in specs}
    aparts = (0.1, 0.15, 0.2, 0.3)
    print(f"noise as high as signal, of {given.draws} draws; classes lie so many deviations apart in each column")
    print(f"{'score':22}" + "".join(f"{each:>7}" for each in aparts) + f"{'copies':>9}")
    for name, score in {**scores, **PUBLISHED}.items():
        counts = [wrong(score, apart, given.draws) for apart in aparts]
        print(f"{name:22}" + "".join(f"{each:7}" for each in counts) + f"{copied(score, given.draws):9}", flush=True)
    print("\nCPU seconds (rows, columns, classes)")
    sizes = ((244, 512, 2), (2_000, 384, 10), (2_000, 768, 100), (2_000, 2_048, 10))
    print(f"{'score':22}" + "".join(f"{size!s:>17}" for size in sizes))
    for name, score in scores.items():
        print(f"{name:22}" + "".join(f"{seconds(score, *size):17.3f}" for size in sizes), flush=True)


if __name__ == "__main__":
    main()
