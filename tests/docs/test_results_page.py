"""benchmarks/RESULTS.md is what its script makes of the figures that lie beside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import results  # type: ignore[import-not-found]  # noqa: E402


def side(name: str, ratio: float, goal: float | None) -> dict[str, Any]:
    return {
        "side": name, "wall": 1.0, "cpu": 1.0, "ratio": ratio, "cpu_ratio": ratio, "peak_mib": 9.0, "goal": goal,
    }  # fmt: skip


def figures(name: str, device: str = "cpu") -> dict[str, Any]:
    machine = {"device": "H100" if device == "cuda" else "a CPU", "cores": 4, "python": "3.12"}
    sides = [side("peer", 1.0, None), side("zoo", 0.7, 0.63)]
    return {
        "name": name, "command": f"python benchmarks/{name.partition('-')[0]}.py", "machine": machine, "versions": {},
        "device": device, "threads": 1, "unit": "s", "agreement": "They agree.", "sides": sides, "missing": {},
    }  # fmt: skip


def test_a_goal_is_met_or_not_with_the_remark_and_cards_stand_apart() -> None:
    found = {"features-resnet18": figures("features-resnet18"), "features-resnet50-cuda": figures("features", "cuda")}
    lines = list(results.page(found, {"features-resnet18": {"zoo": "the decoder is the limit"}}))
    title = "ResNet-18 features of a folder of JPEGs"
    assert f"| [{title}](#resnet-18-features-of-a-folder-of-jpegs) | zoo | 0.7 | 0.7 | 0.63 | **no** |" in lines
    assert "- *zoo*: the decoder is the limit" in lines
    assert "| `python benchmarks/features.py --device cuda` | H100 |" in lines
    assert "| `python benchmarks/texts.py --device cuda` | not run: no CUDA card was at hand |" in lines
    assert lines.index("## GPU") < lines.index("## ResNet-50 features on H100")
    assert any(line.startswith("| LogME ") and "not measured yet" in line for line in lines)


def test_the_page_is_what_the_script_makes_of_the_figures() -> None:
    if not results.PAGE.is_file():
        pytest.skip("no figures yet")
    assert results.PAGE.read_text() == results.text()


def test_no_path_of_a_machine_is_in_the_figures() -> None:
    for path in results.RESULTS.glob("*.json"):
        text = json.dumps(json.loads(path.read_text()))
        assert not [word for word in ("/root", "/home", "/tmp", "/work") if word in text], path.name
