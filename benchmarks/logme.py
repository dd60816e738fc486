"""Seconds of LogME beside those of the code that its authors publish, and whether the two agree.

python benchmarks/logme.py PATH/TO/LogME.py [--quick]

PATH is the file of https://github.com/thuml/LogME, which is not part of this project; it is imported from where it
lies (with numba if that is there). Random features in float32, both measured in turn in one process (A B A B), medians
of CPU seconds. "exact" is the marginal likelihood at the alpha and beta that were found, from the whole determinant.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
import types
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--quick", action="store_true", help="without the sizes that take minutes")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # of the published code, where it divides by zero
    module = published(given.path)
    small = made(200, 40, 3)
    logme(*small), module.LogME().fit(*small)  # what is imported and compiled once is no part of it
    rows: list[dict[str, Any]] = []
    print(
        f"{'n':>6} {'d':>5} {'classes':>7} {'published s':>11} {'zoo s':>7} {'ratio':>6}  {'published':>10} {'zoo':>10}"
    )
    for n, d, classes in SIZES:
        if given.quick and n * d * d > 5_000 * 768 * 768 * 4:
            continue
        features, labels = made(n, d, classes)
        times: dict[str, list[float]] = {"published": [], "zoo": []}
        values = {}
        for _ in range(given.repeats):
            for name, run in {"published": lambda f, y: module.LogME().fit(f, y), "zoo": logme}.items():
                began = time.process_time()
                values[name] = float(run(features, labels))
                times[name].append(time.process_time() - began)
        theirs, ours = (statistics.median(times[name]) for name in ("published", "zoo"))
        rows.append({"n": n, "d": d, "classes": classes, "ratio": ours / theirs, "times": times, "values": values})
        print(
            f"{n:6} {d:5} {classes:7} {theirs:11.3f} {ours:7.3f} {ours / theirs:6.2f}  "
            f"{values['published']:10.5f} {values['zoo']:10.5f}{'' if n > d else '   n < d'}",
            flush=True,
        )
    worst = max(row["ratio"] for row in rows)
    print(f"greatest ratio {worst:.2f}, goal {GOAL}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
