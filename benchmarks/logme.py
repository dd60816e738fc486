"""Seconds of LogME beside those of the code that its authors publish, and whether the two agree.

python benchmarks/logme.py PATH/TO/LogME.py [--quick]

PATH is the file of https://github.com/thuml/LogME, which is not part of this project; it is imported from where it
lies (with numba if that is there). Random features in float32, both measured in turn in one process (A B A B), medians
and ratios within a round. "exact" is the greatest marginal likelihood, by scipy's simplex over alpha and beta on the
whole spectrum, in float64; zoo's score must be it within 1e-6, the published code's need not.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
import types
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import harness
import numpy as np
from scipy.optimize import minimize

from zoo.scoring.logme import logme

SIZES = [
    (1_000, 384, 10),
    (1_000, 768, 100),
    (1_000, 2_048, 100),
    (5_000, 384, 100),
    (5_000, 768, 10),
    (5_000, 768, 100),
    (5_000, 2_048, 10),
    (20_000, 384, 10),
    (20_000, 768, 100),
    (20_000, 2_048, 100),
]
GOAL = 0.36
TOLERANCE = 1e-6


def published(path: Path) -> Any:
    """The module of the authors; without numba its loops run in Python, which is said."""
    if importlib.util.find_spec("numba") is None:
        print("numba is not installed: the published code runs without it", file=sys.stderr)
        stub = types.ModuleType("numba")
        stub.njit = lambda function: function  # type: ignore[attr-defined]
        sys.modules["numba"] = stub
    spec = importlib.util.spec_from_file_location("published_logme", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made(n: int, d: int, classes: int) -> tuple[Any, Any]:
    """Features that tell a little."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    return ((0.3 * rng.standard_normal((classes, d)))[labels] + rng.standard_normal((n, d))).astype(np.float32), labels


def exact(features: Any, labels: Any) -> float:
    """The log evidence at its maximum, mean over the classes, in nats a row."""
    x = features.astype(np.float64)
    count, dim = x.shape
    spectrum, basis = np.linalg.eigh(x.T @ x)
    spectrum = np.maximum(spectrum, 0)
    found = []
    for label in np.unique(labels):
        y = (labels == label).astype(np.float64)
        z, total = basis.T @ (x.T @ y), float(y @ y)

        def missing(logs: Any, z: Any = z, total: float = total) -> float:
            alpha, beta = np.exp(logs)
            weight = beta * z / (alpha + beta * spectrum)
            error = total - 2 * weight @ z + (spectrum * weight) @ weight
            determinant = np.log(alpha + beta * spectrum).sum()
            evidence = count * np.log(beta / (2 * np.pi)) + dim * np.log(alpha) - beta * error
            return float(-(evidence - alpha * weight @ weight - determinant) / 2 / count)

        options = {"xatol": 1e-7, "fatol": 1e-13, "maxiter": 4000}
        found.append(-minimize(missing, np.zeros(2), method="Nelder-Mead", options=options).fun)
    return float(np.mean(found))


def measured(module: Any, n: int, d: int, classes: int, repeats: int) -> list[dict[str, Any]]:
    """Both sides on features of one size.

    Raises:
        AssertionError: zoo's score is not the exact one.
    """
    features, labels = made(n, d, classes)
    runs = {"published": lambda: module.LogME().fit(features, labels), "zoo": lambda: logme(features, labels)}
    times: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in runs}
    values: dict[str, float] = {"exact": exact(features, labels)}
    for _ in range(repeats):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            values[name] = float(run())
            times[name]["wall"].append(time.perf_counter() - wall)
            times[name]["cpu"].append(time.process_time() - cpu)
    assert abs(values["zoo"] - values["exact"]) <= TOLERANCE, f"zoo {values['zoo']}, exact {values['exact']}"
    return [
        {
            "side": f"{name}, n {n:,} d {d:,} classes {classes}",
            **{key: statistics.median(each) for key, each in times[name].items()},
            "ratio": harness.ratio(times[name]["wall"], times["published"]["wall"]),
            "cpu_ratio": harness.ratio(times[name]["cpu"], times["published"]["cpu"]),
            "peak_mib": None,
            "goal": GOAL if name == "zoo" else None,
            "score": values[name],
            "exact": values["exact"],
            "rounds": times[name],
        }
        for name in runs
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--quick", action="store_true", help="without the sizes that take minutes")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # of the published code, where it divides by zero
    module = published(given.path)
    small = made(200, 40, 3)
    logme(*small), module.LogME().fit(*small)  # what is imported and compiled once is no part of it
    rows: list[dict[str, Any]] = []
    print(f"{'':<42} {'s':>8} {'ratio':>6} {'of CPU':>6} {'score':>10} {'exact':>10}")
    for n, d, classes in SIZES:
        if given.quick and n * d * d > 5_000 * 768 * 768 * 4:
            continue
        for row in measured(module, n, d, classes, given.repeats):
            rows.append(row)
            print(
                f"{row['side']:<42} {row['wall']:8.3f} {row['ratio']:6.2f} {row['cpu_ratio']:6.2f} "
                f"{row['score']:10.6f} {row['exact']:10.6f}",
                flush=True,
            )
    zoo = [row for row in rows if row["goal"]]
    worst, off = max(row["ratio"] for row in zoo), max(abs(row["score"] - row["exact"]) for row in rows)
    told = max(abs(row["score"] - row["exact"]) for row in zoo)
    said = f"zoo's score is the exact evidence within {told:.0e}; the published code is off by up to {off:.2g}."
    print(f"greatest ratio {worst:.2f}, goal {GOAL}. {said}")
    harness.keep("logme", rows, said=said)


if __name__ == "__main__":
    main()
