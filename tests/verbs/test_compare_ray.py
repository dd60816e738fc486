"""`zoo compare --executor ray` on a cluster of this machine; left out where Ray is not installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PIXELS = (
    "compare",
    "starter/pixels",
    "sklearn:digits",
    "--limit",
    "60",
    "--val",
    "0.1",
    "--shots",
    "2",
    "--seeds",
    "2",
)


def compared(folder: Path, *more: str) -> dict[str, object]:
    """What the command prints, in a process of its own with a cache of its own."""
    words = [sys.executable, "-m", "zoo", *PIXELS, "--json", "--out", str(folder), *more]
    environment = {**os.environ, "ZOO_HOME": str(folder / "home")}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.timeout(400)
def test_a_cluster_finds_what_this_process_finds(tmp_path: Path) -> None:
    here, there = compared(tmp_path / "here"), compared(tmp_path / "there", "--executor", "ray")
    of_both = [[row["values"] for row in found["standings"]] for found in (here, there)]  # type: ignore[attr-defined]
    assert of_both[0] == of_both[1]


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_mend_is_said(tmp_path: Path) -> None:
    import zoo

    with pytest.raises(zoo.UsageError, match="needs Ray, which is not installed"):
        zoo.compare(["starter/pixels"], "sklearn:digits", executor="ray", out=zoo.Output(dir=str(tmp_path)))
