"""`zoo plugins check`: whatever a plugin does, it is told what is wrong with it, and the program lives."""

from __future__ import annotations

import json
import time
from pathlib import Path
from textwrap import dedent

import pytest
from fake_plugins import GOOD, Site

from zoo import BackboneSpec, PluginError, UsageError
from zoo.testing import Conformance, PluginConformance, Result, check_plugin
from zoo.testing.child import chosen

PLAIN = dedent(GOOD)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A folder of distributions on the path of this process, and so on that of the one that checks."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return Site(tmp_path)


def results(found: PluginConformance) -> dict[str, Result]:
    return {result.check: result for subject in found.subjects for result in subject.results}


def failures(found: PluginConformance) -> dict[str, str]:
    assert not found.passed
    return {result.check: result.measured for result in found.failed}


def test_a_plugin_that_hangs_is_killed_with_its_children_and_the_answer_is_still_json(site: Site) -> None:
    hangs = (
        "import subprocess, sys, time\n"
        "from pathlib import Path\n"
        "print('{\"not\": ours')\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"Path({str(site.folder / 'pid')!r}).write_text(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    site.install("slow-pets", hangs)
    started = time.monotonic()
    done = site.zoo("plugins", "check", "slow-pets", "--timeout", "2", "--json")
    assert time.monotonic() - started < 20
    assert done.returncode == 1
    report = json.loads(done.stdout)
    (result,) = report["subjects"][0]["results"]
    assert (report["distribution"], report["passed"]) == ("slow-pets", False)
    assert result["measured"] == "the process was still running after 2 s and was killed while it was imported"
    pid = int((site.folder / "pid").read_text())
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z", "a child of the plugin lives on"


@pytest.mark.parametrize(
    ("code", "check", "measured"),
    [
        pytest.param("raise RuntimeError('no key')", "imports", "RuntimeError: no key", id="raises"),
        pytest.param("import sys; sys.exit(3)", "imports", "SystemExit: 3", id="exits"),
        pytest.param(
            "import os; os._exit(0)", "process", "the process ended with exit code 0 while it was imported", id="leaves"
        ),
        pytest.param(PLAIN.replace("zoo_api = 1", "zoo_api = 9"), "hooks", "plugin API 9, this zoo has 1", id="api"),
        pytest.param(PLAIN.replace("zoo_api = 1", ""), "api-version", "there is no `zoo_api = 1`", id="no-api"),
        pytest.param(PLAIN.replace("zoo_backbones", "zoo_backbone"), "hooks", "did you mean zoo_backbones", id="hook"),
        pytest.param(
            PLAIN.replace('"fake"', '"starter"').replace('"tiny"', '"gru"', 1), "hooks", "both offer", id="name"
        ),
        pytest.param("import sqlite3, nobodys as torch\n" + PLAIN, "imports", "No module named 'nobodys'", id="lacks"),
        pytest.param(PLAIN, "factories", "'fake_factory:build' of fake/tiny cannot be imported", id="factory"),
        pytest.param("import os; os.environ['A_SEED'] = '1'\n" + PLAIN, "leaves-the-process-alone", "A_SEED", id="env"),
        pytest.param(
            PLAIN + "\n@hookimpl\ndef zoo_resolve(name): return zoo_backbones()[0]\n",
            "resolves-only-its-own",
            "'a-name-that-nobody-has' gives BackboneSpec",
            id="resolves",
        ),
        pytest.param(
            PLAIN + "\n@hookimpl\ndef zoo_commands(app): raise OSError('no terminal')\n",
            "commands",
            "OSError: no terminal",
            id="commands",
        ),
    ],
)
def test_what_is_wrong_with_a_plugin_as_a_whole_is_said(site: Site, code: str, check: str, measured: str) -> None:
    site.install("bad-pets", code)
    found = check_plugin("bad_pets", only=["imports", check] if check != "process" else None)
    assert measured in failures(found)[check]


def test_what_a_plugin_prints_is_found_and_stays_out_of_the_answer(site: Site) -> None:
    loud = "import os, subprocess\nprint('hello')\nos.write(1, b'from below')\nsubprocess.run(['echo', 'a child'])\n"
    site.install("loud-pets", loud + PLAIN)
    done = site.zoo("plugins", "check", "loud_pets", "--only", "imports-in-silence", "--json")
    assert done.returncode == 1
    (result,) = json.loads(done.stdout)["subjects"][0]["results"]
    for word in ("hello", "from below", "a child"):
        assert word in result["measured"]


def test_a_plugin_that_calls_home_or_never_ends_is_told(site: Site) -> None:
    calls = (
        "import socket, threading, time\n"
        "try: socket.create_connection(('192.0.2.1', 80), timeout=1)\n"
        "except OSError: pass\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
    )
    site.install("calling-pets", calls + PLAIN)
    found = failures(check_plugin("calling_pets", only=["imports"]))
    assert found["offline"] == "it wants to reach 192.0.2.1"
    assert "was still running 3 s after its work was done" in found["process"]


NETWORKS = """
import os

import torch
from zoo import Backbone, Features, ImageProcessor, Stage


class Tiny(Backbone):
    modalities = ("image",)

    def __init__(self, request):
        super().__init__()
        self.spec, self.dim, self.preprocess = request.spec, 8, request.preprocess["image"]
        self.body = torch.nn.Conv2d(3, 8, 3)

    def forward(self, batch):
        if self.spec.architecture == "kills":
            os._exit(7)
        if self.spec.architecture == "exits":
            raise SystemExit(5)
        found = self.body(batch["image"]["pixels"])
        return Features(found.mean((2, 3)), found.flatten(2).transpose(1, 2), grid=tuple(found.shape[2:]))

    def stages(self):
        return [Stage("body", (self.body,))]

    def processor(self, modality):
        return ImageProcessor(self.preprocess)
"""
MANY = """
from zoo import BackboneSpec, ImagePreprocess, hookimpl

zoo_api = 1

@hookimpl
def zoo_backbones():
    steps = {"image": ImagePreprocess((8, 8))}
    for name, dim in (("exits", 8), ("kills", 8), ("lies", 512), ("sound", 8)):
        yield BackboneSpec("fake", name, "fake_networks:Tiny", ("image",), name, dim=dim, preprocess=steps)
"""


def test_one_backbone_that_lies_or_dies_costs_the_others_nothing(site: Site) -> None:
    site.install("odd-pets", MANY)
    (site.folder / "fake_networks.py").write_text(NETWORKS)
    done = site.zoo("plugins", "check", "odd_pets", "--only", "dim")
    assert done.returncode == 1
    text = done.stdout
    assert "the specification says 512" in text
    assert "meaning   the head is built for another width" in text
    assert "SystemExit: 5" in text
    assert "the process ended with exit code 7" in text
    assert "fake/sound: 1 check, 0 failed, 0 not applicable" in text
    assert "odd_pets: 4 checks, 3 failed, 0 not applicable" in text


def test_of_many_backbones_the_smallest_of_each_family_is_checked_and_the_rest_counted() -> None:
    def spec(number: int, family: str, params: int | None) -> BackboneSpec:
        return BackboneSpec("pets", f"net{number}", "pets:build", ("image",), family, params=params)

    specs = [spec(number, f"family{number % 4}", 10_000_000 * (20 - number)) for number in range(16)]
    specs += [spec(16, "huge", 200_000_000), spec(17, "unknown", None)]
    kept, notes = chosen(specs)
    assert [each.architecture for each in kept] == ["net12", "net13", "net14", "net15"]
    assert notes == [
        "14 of 18 backbones are left out: one of each family is checked",
        "2 families without one of 100 M parameters or fewer are left out: huge, unknown; name one to check it alone",
    ]
    few = specs[10:]
    kept, notes = chosen(few)
    assert kept == [each for each in few if each.architecture != "net16"], "one that is not counted yet is checked"
    assert notes == ["pets/net16 have more than 100 M parameters and are left out; name one to check it alone"]


def test_a_name_that_nobody_has_is_a_usage_error_with_the_nearest(site: Site) -> None:
    done = site.zoo("plugins", "check", "torchvison")
    assert done.returncode == 2
    assert "No plugin, distribution or backbone is named 'torchvison'. Did you mean torchvision, " in done.stderr
    assert not done.stdout


def test_a_limit_that_leaves_no_time_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--timeout 0 leaves no time"):
        check_plugin("starter", timeout=0)


def test_nothing_passes_of_which_nothing_was_checked() -> None:
    skipped = Result("dim", "a law", "skip", "nothing to say", "nothing")
    for subjects in ((), (Conformance("mine/tiny", (skipped,)),)):
        found = PluginConformance("mine", "zoo-mine", "0.1.0", subjects)
        assert (found.passed, found.checks) == (False, 0)
        with pytest.raises(PluginError, match="no check ran"):
            found.raise_failures()
