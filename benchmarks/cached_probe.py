"""A probe of features that are kept beside one that extracts them, both from pixels in memory to accuracy.

    python benchmarks/cached_probe.py CIFAR10 [BACKBONE] [WEIGHTS] [--device cuda]

CIFAR10 is a folder with `train` and `test`, BACKBONE a name (`torchvision/resnet18`), WEIGHTS a tag or a file; random
weights without it. On a CPU 200 rows of training are taken, on a card all. Reading the data is not timed. Both
sides end in the accuracy on the same test rows, which must be the same to the last row.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from harness import MissingError, Run, Setting, main

FEW = 200
DEFAULTS = ("", "torchvision/resnet18", "random")


def probed(setting: Setting, *, kept: bool) -> Run:
    if not setting.words:
        raise MissingError("needs the folder of CIFAR-10")
    os.environ["ZOO_HOME"] = home = tempfile.mkdtemp()
    import zoo

    data, name, weights = (*setting.words, *DEFAULTS[len(setting.words) :])
    few = FEW if setting.device == "cpu" else None
    read = zoo.read_dataset(data, zoo.ReadOptions(limit=few))
    held = read.splits[read.held_out]
    rows = replace(read, splits={**read.splits, read.held_out: held.select(range(len(held))[:few])})
    backbone = zoo.load(name, weights=weights)

    def run() -> Mapping[str, Any]:
        if not kept:
            shutil.rmtree(home, ignore_errors=True)
        found = zoo.probe(backbone, rows, shots=("all",), seeds=1, heads=["linear"], device=setting.device)
        return {"accuracy": np.array([each for point in found.sweep.points for each in point.values])}

    return run


def first(setting: Setting) -> Run:
    return probed(setting, kept=False)


def again(setting: Setting) -> Run:
    return probed(setting, kept=True)


def alike(outputs: Mapping[str, Mapping[str, Any]]) -> str:
    values = {side: each["accuracy"].tolist() for side, each in outputs.items()}
    assert len({tuple(each) for each in values.values()}) == 1, values
    return f"Both have an accuracy of {next(iter(values.values()))[0]:.3f}."


if __name__ == "__main__":
    main(
        "cached-probe",
        sides={"zoo, first probe": first, "zoo, features kept": again},
        agree=alike,
        rounds=3,
        words=("CIFAR10", "[BACKBONE]", "[WEIGHTS]"),
    )
