"""`--executor ray` on a cluster of this machine that loses workers; left out where Ray is not installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zoo.errors import UsageError
from zoo.verbs.executors import check_executor

pytestmark = pytest.mark.xdist_group("ray")  # or every process starts a cluster
PROGRAM = Path(__file__).with_name("ray_cluster.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a cluster of two workers found, one of which was killed and the other's machine lost; and one process."""
    pytest.importorskip("ray", reason="Ray is not installed")
    folder = tmp_path_factory.mktemp("cluster")
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return read


@pytest.mark.timeout(400)
def test_a_comparison_outlives_a_killed_worker_and_a_lost_machine(found: dict[str, Any]) -> None:
    there, here = found["compare"]["ray"], found["compare"]["local"]
    assert set(here["values"]) == {"pixels", "killed", "stranded"}
    assert there["values"] == here["values"]
    assert there["computed"] == here["computed"] == 6


@pytest.mark.timeout(400)
def test_a_job_that_kills_its_worker_twice_costs_itself_alone(found: dict[str, Any]) -> None:
    failures = found["compare"]["ray"]["failures"]
    assert list(failures) == ["deadly on sklearn:digits"]
    assert "was lost twice (WorkerCrashedError)" in failures["deadly on sklearn:digits"]


@pytest.mark.timeout(400)
def test_a_ranking_on_a_cluster_is_that_of_this_process(found: dict[str, Any]) -> None:
    assert found["rank"]["ray"] == found["rank"]["local"]
    assert set(found["rank"]["ray"]["scores"]) == {"starter/glyph-cnn.letters", "starter/pixels"}
    assert "takes text, and the data have image" in found["rank"]["ray"]["failures"]["starter/bag-of-words"]


def test_without_ray_the_mend_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    with pytest.raises(UsageError, match="needs Ray, which is not installed") as caught:
        check_executor("ray", None)
    assert caught.value.help == 'install it with: pip install "zoo[ray]"'
