"""The example of a third party, installed as a package of its own: nothing of zoo knows of it beforehand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("hatchling")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "zoo-mixer"

Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Run a module in an empty folder, with the example installed into another one: no network, nothing built twice."""
    folder = tmp_path_factory.mktemp("user")
    package, site, work = folder / "zoo-mixer", folder / "site", folder / "work"
    shutil.copytree(EXAMPLE, package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    work.mkdir()
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-P", "-m", *map(str, words)]
        return subprocess.run(command, cwd=work, env=environ, capture_output=True, text=True, timeout=300, check=False)

    offline = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = run("pip", "install", *offline, "--target", site, package)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(package / "zoo_mixer")  # what the tests import can only be what is installed
    return run


def test_it_is_listed_with_its_head_and_its_scorer(python: Python) -> None:
    done = python("zoo", "plugins", "--json")
    (report,) = [each for each in json.loads(done.stdout) if each["name"] == "mixer"]
    assert report["offers"] == {"backbones": 1, "heads": 1, "scorers": 1}
    assert (report["distribution"], report["status"], report["error"]) == ("zoo-mixer", "loaded", None)
    assert "mixer/mixer-tiny" in python("zoo", "list", "mixer").stdout
    assert "nearest-centroid" in python("zoo", "list", "scorers").stdout


def test_each_thing_that_it_offers_is_found_and_checked(python: Python) -> None:
    # Every check of every thing runs in the example's own tests; here one of each kind shows that all are reached.
    one_of_each = ("hooks", "factories", "stages-partition", "logits", "rotation")
    done = python("zoo", "plugins", "check", "mixer", *(f"--only={name}" for name in one_of_each))
    assert done.returncode == 0, done.stdout
    for subject in ("plugin mixer", "mixer/mixer-tiny", "head cosine-prototypes", "scorer nearest-centroid"):
        assert re.search(rf"^{subject}: \d checks?, 0 failed, ", done.stdout, re.MULTILINE), subject


def test_its_own_tests_pass_on_what_is_installed(python: Python) -> None:
    done = python("pytest", "-q", "-p", "no:cacheprovider", "-k", "not keep_the_contract", "../zoo-mixer")
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed", done.stdout)


def test_its_head_is_trained_on_a_backbone_of_somebody_else(python: Python) -> None:
    words = "finetune starter/glyph-cnn sklearn:digits --head cosine-prototypes --strategy head --epochs 3"
    done = python("zoo", *words.split(), "--limit", 100, "--baseline", "none", "--lr", "0.05", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["metrics"]["accuracy"] > 0.5
