"""A program for test_compare_ray.py: a cluster of two workers, of which one is killed and then one whole machine.

It writes down what the cluster found beside what this process finds alone. In a process of its own, for tests have no
sockets.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

import zoo
from zoo.records import home

FEW = zoo.ReadOptions(limit=60, val=0.1)
NETS = '''
import os, signal, time
from pathlib import Path

import ray, torch, zoo
from torch import nn


def net():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return zoo.wrap(layers, dim=4, preprocess=zoo.ImagePreprocess(size=(16, 16)))


def held(name):
    """The first time, wait for the end; then as if nothing had been."""
    file = Path(__file__).with_name(name)
    if not file.exists():
        written = file.with_suffix(".new")
        written.write_text(f"{os.getpid()} {ray.get_runtime_context().get_node_id()}")
        written.rename(file)
        time.sleep(120)
    return net()


def killed():
    return held("killed")


def stranded():
    return held("stranded")


def deadly():
    os.kill(os.getpid(), signal.SIGKILL)
'''


def main(folder: Path) -> None:
    """Everything on one cluster."""
    (folder / "nets.py").write_text(NETS)
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    workers = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)

    def kill() -> None:
        os.kill(int(held(folder / "killed")[0]), signal.SIGKILL)

    def remove() -> None:
        own = held(folder / "stranded")[1]
        cluster.remove_node(next(each for each in workers if each.node_id == own), allow_graceful=False)

    threads = [threading.Thread(target=each, daemon=True) for each in (kill, remove)]
    for each in threads:
        each.start()
    found = {"rank": of_both(ranked)}
    found["compare"] = of_both(lambda executor: compared(folder, executor))
    (folder / "found.json").write_text(json.dumps(found))
    with contextlib.suppress(ValueError):
        ray.shutdown()
        cluster.shutdown()


def held(file: Path) -> list[str]:
    """Process and machine of a job that waits for its end."""
    while not file.exists():
        time.sleep(0.05)
    return file.read_text().split()


def of_both(made: Callable[[str], Any]) -> dict[str, Any]:
    """By the cluster, and then by this process with a cache of its own."""
    found = {}
    for executor in ("ray", "local"):
        os.environ["ZOO_HOME"] = str(Path(sys.argv[1]) / f"home-{executor}")
        home.cache_home.cache_clear()
        found[executor] = made(executor)
    return found


def ranked(executor: str) -> dict[str, Any]:
    names = ["starter/pixels", "starter/bag-of-words", "starter/glyph-cnn"]
    found = zoo.rank("sklearn:digits", names, read=FEW, scorers=("knn", "logme"), limit=50, executor=executor)
    scores = {each.backbone: {name: score.value for name, score in each.scores.items()} for each in found.ranked}
    return {"scores": scores, "failures": dict(found.failures)}


def compared(folder: Path, executor: str) -> dict[str, Any]:
    names = ["killed", "stranded", *(["deadly"] if executor == "ray" else [])]
    nets = [f"{name}=local:{folder / 'nets.py'}:{name}" for name in names]
    out = zoo.Output(dir=str(folder / executor))
    who = ["starter/pixels", *nets]
    found = zoo.compare(who, "sklearn:digits", read=FEW, shots=(2,), seeds=2, floors=False, out=out, executor=executor)
    return {
        "values": {each.contender: each.values for each in found.standings},
        "failures": found.failures,
        "computed": found.protocol.computed,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
