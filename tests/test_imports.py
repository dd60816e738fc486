"""What only looks things up starts at once: no command that lists or explains imports a heavy library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch", "torchvision", "transformers", "timm", "open_clip", "accelerate", "peft", "sklearn", "scipy", "pandas",
    "pyarrow", "numpy", "PIL", "huggingface_hub", "safetensors",
)  # fmt: skip

RUNNER = """
import atexit, json, os, sys
from pathlib import Path

def report():
    Path(os.environ["REPORT"]).write_text(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))

atexit.register(report)
exec(os.environ["CODE"])
"""
MAIN = "from zoo.cli.main import run; run()"


def imported(folder: Path, code: str, *words: str, ok: tuple[int, ...] = (0,)) -> set[str]:
    """The heavy packages that are imported when this code ends, run with these words on the command line."""
    report = folder / "modules.json"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ZOO_P")}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, *words],
        env={**environ, "REPORT": str(report), "CODE": code},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in ok, done.stderr
    return set(json.loads(report.read_text())) & set(HEAVY)


def test_import_zoo_imports_no_heavy_library(tmp_path: Path) -> None:
    assert imported(tmp_path, "import zoo; dir(zoo)") == set()


def test_the_specifications_and_errors_of_zoo_import_no_heavy_library(tmp_path: Path) -> None:
    names = "from zoo import BackboneSpec, Catalog, UsageError, WeightsSpec, default_catalog, hookimpl"
    assert imported(tmp_path, f"{names}; default_catalog()") == set()


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["list", "--json"],
        ["list", "resnet", "--modality", "image", "--max-params", "30M", "--sort", "params"],
        ["list", "--cached"],
        ["list", "heads"],
        ["list", "strategies"],
        ["list", "datasets"],
        ["plugins"],
        ["plugins", "new", "--help"],
        ["info", "torchvision/resnet50"],
        ["info", "timm/resnet18.a1_in1k", "--json"],
        ["info", "open_clip/ViT-B-32"],
        ["info", "transformers/google-bert/bert-base-uncased"],
        ["info", "starter/glyph-cnn"],
        ["info", "torchvision/resnet18+starter/bag-of-words"],
        ["plan", "torchvision/resnet18"],
        ["plan", "resnet18", "--strategy", "linear-probe", "--json"],
        *[
            [command, "--help"]
            for command in "list info plan check extract finetune evaluate predict runs plugins doctor".split()
        ],
    ],
    ids=" ".join,
)
def test_a_command_that_looks_things_up_imports_no_heavy_library(tmp_path: Path, words: list[str]) -> None:
    assert imported(tmp_path, MAIN, *words) == set()


def test_a_misspelt_name_is_answered_without_a_heavy_library(tmp_path: Path) -> None:
    assert imported(tmp_path, MAIN, "info", "torchvision/resnet19", ok=(2,)) == set()


def test_the_list_of_runs_imports_no_heavy_library(tmp_path: Path) -> None:
    assert imported(tmp_path, MAIN, "runs", "--out", str(tmp_path)) == set()


def test_no_two_files_of_the_tests_share_a_name() -> None:
    """Their folders are all on the path of the one process: of two with a name, the first imported is both."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
