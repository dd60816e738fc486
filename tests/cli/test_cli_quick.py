"""What is answered from the index is what Typer and the catalogue answer, and nothing else is answered from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from zoo.catalog import index
from zoo.catalog.cached import is_cached
from zoo.catalog.discovery import Discovery, PluginReport, discovered
from zoo.catalog.looked_at import LookedAt
from zoo.catalog.origins import is_here
from zoo.catalog.spec import Modality, WeightsSpec
from zoo.cli import quick
from zoo.cli.app import COMMANDS, app_for, make_app
from zoo.cli.learning import cards_of
from zoo.verbs.choosing import MODALITIES

LINES = [
    "list", "list --json", "list resnet --limit=3", "list *vit* --sort params --json", "list --modality image+text",
    "list --source timm --family resnet --min-params 5M --max-params 30M --licence apache --sort metric",
    "list heads", "list strategies --json", "list scorers", "list nothing-is-so-called", "list nothing-is-so --json",
    "list --source nowhere", "list --sort luck", "list --min-params many", "info torchvision/resnet50", "info resnet18",
    "info --json timm/resnet18.a1_in1k", "info starter/gru", "info nowhere", "--version", "--help",
]  # fmt: skip

TWICE = """
import contextlib, io, json, os, sys
from zoo.cli import main

def run(line):
    sys.argv, out, err, code = ["zoo", *line.split()], io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main.run()
        except SystemExit as end:
            code = end.code
    return [code, out.getvalue(), err.getvalue()]

found = {line: run(line) for line in json.loads(sys.argv[1])}
print(json.dumps([found, "typer" in sys.modules]))
"""


def answers(folder: Path, lines: list[str], **environment: str) -> tuple[dict[str, list[object]], bool]:
    """Code, output and errors of each line, all run in one process; and whether that imported Typer."""
    environ = {**os.environ, "ZOO_HOME": str(folder / "home"), "COLUMNS": "80", **environment}
    done = subprocess.run(
        [sys.executable, "-c", TWICE, json.dumps(lines)],
        cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found, typer = json.loads(done.stdout)
    return found, typer


def test_the_index_answers_what_the_catalogue_does(tmp_path: Path) -> None:
    plain, _ = answers(tmp_path, LINES, ZOO_PLUGIN_TIMEOUT="20")  # a setting with which nothing is kept
    assert not (tmp_path / "home" / "index").exists()
    learned, _ = answers(tmp_path, LINES)
    again, typer = answers(tmp_path, LINES)
    assert learned == plain
    assert again == plain
    assert typer  # for the lines that are wrong
    known = [line for line in LINES if plain[line][0] == 0]
    right, typer = answers(tmp_path, known)
    assert right == {line: plain[line] for line in known}
    assert not typer
    before = (tmp_path / "home" / "index").stat().st_mtime_ns
    answers(tmp_path, ["info TIMM/resnet18", "info resnet18+starter/gru"])  # not in the index, which is not made anew
    assert (tmp_path / "home" / "index").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "line",
    [
        "", "list --cached", "list --nonsense", "list a b", "list --limit", "list --limit 0", "list --limit -1",
        "list -h", "list --json --json", "list --family=a --family=b", "list -- resnet", "info", "info a b",
        "info --card a", "info --json=1 a", "plan resnet18", "--help list", "--version list", "nonsense",
    ],
)  # fmt: skip
def test_an_unusual_line_is_left_to_typer(line: str) -> None:
    assert quick.asked(line.split()) is None


@pytest.mark.parametrize("setting", index.SETTINGS)
def test_a_setting_that_changes_the_catalogue_is_left_to_it(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in index.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    assert quick.asked(["list"]) is not None
    monkeypatch.setenv(setting, "")
    assert quick.asked(["list"]) is None


def test_nothing_is_kept_of_plugins_that_failed_or_that_nobody_watched() -> None:
    good = PluginReport("timm", "zoo", "1", "loaded")
    assert index.can_keep(Discovery(discovered().catalog, (good,)))
    mixer = replace(good, name="mixer", distribution="zoo-mixer")
    for other in (mixer, replace(good, status="failed"), replace(good, changed=("x",))):
        assert not index.can_keep(Discovery(discovered().catalog, (good, other)))
    assert index.can_keep(Discovery(discovered().catalog, (good, mixer), looked_at={"mixer": LookedAt()}))
    unknown = {"mixer": LookedAt(reason="starts another program")}
    assert not index.can_keep(Discovery(discovered().catalog, (good, mixer), looked_at=unknown))


def test_another_distribution_or_a_changed_file_makes_the_state_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", [each for each in sys.meta_path if not hasattr(each, "find_distributions")])
    monkeypatch.syspath_prepend(str(tmp_path))
    table = tmp_path / "table.json"
    table.write_text("{}")
    basis = index.Basis(["zoo_mine"], [str(table)], [str(tmp_path), str(tmp_path / "link")], ["ZOO_MINE"])
    states = [index.state(basis)]
    assert index.state(basis) == states[0]
    (tmp_path / "nothing-of-it").touch()
    assert index.state(basis) == states[0]
    table.write_text("{ }")
    states.append(index.state(basis))
    (tmp_path / "mine-1.dist-info").mkdir()
    states.append(index.state(basis))
    (tmp_path / "mine-1.dist-info" / "entry_points.txt").write_text("[zoo]\nmine = zoo_mine\n")
    states.append(index.state(basis))
    (tmp_path / "zoo_mine.py").touch()
    states.append(index.state(basis))
    monkeypatch.setenv("ZOO_MINE", "")
    states.append(index.state(basis))
    (tmp_path / "link").symlink_to(table)
    states.append(index.state(basis))
    assert all(one != other for place, one in enumerate(states) for other in states[:place])


def test_what_is_no_index_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    assert index.read("rows") is None
    (tmp_path / "index").mkdir()
    for content in (b"", b"nonsense", b"\xe9\x00", b"[]", b"{}", b"[1, [], []]", b"[[], [1]]"):
        (tmp_path / "index" / f"rows.{sys.implementation.cache_tag}.txt").write_bytes(content)
        assert index.read("rows") is None


def test_only_names_that_mean_the_same_in_every_folder_are_kept() -> None:
    names = json.loads(cards_of(discovered())[0])
    assert {"torchvision/resnet50", "resnet50", "resnet50.imagenet1k_v2"} <= set(names)
    assert all(name.partition("/")[0] in {"starter", "torchvision", "timm", "open_clip", "transformers", "recurrent",
                                          "unified_io"} for name in names if "/" in name)  # fmt: skip
    assert names["resnet18"][1] == list(discovered().catalog.select("resnet18")[0].notes) != []


def test_every_command_is_found_by_its_own_name() -> None:
    for name in COMMANDS:
        app = make_app(name)
        assert [*(c.name for c in app.registered_commands), *(g.name for g in app.registered_groups)] == [name]
    assert len(app_for(["finetune", "--help"]).registered_commands) == 1
    assert len(app_for(["--help"]).registered_commands) > 10


def test_the_modalities_are_those_of_the_specification() -> None:
    assert get_args(Modality) == MODALITIES


def test_what_lies_in_the_caches_is_told_from_names_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    origins = ("hub:a/b", "hub:a/b:model.bin", "https://there/files/net.pth?download=1")
    assert not any(map(is_here, origins))
    snapshot = tmp_path / "hub" / "models--a--b" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").touch()
    assert not is_here("hub:a/b")
    (snapshot / "model.bin").touch()
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "torch" / "hub" / "checkpoints" / "net.pth").touch()
    assert all(is_cached(WeightsSpec(tag="", origin=origin)) for origin in (*origins, "package:x", "file:/x"))
    assert not is_here("hub:a/b:other.bin")
    assert not is_here("elsewhere:x")
