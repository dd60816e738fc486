"""docs/plugins.md: its commands make a plugin from nothing, and it names every hook and public name as it is."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import zoo
import zoo.testing
from zoo.catalog import hooks
from zoo.catalog.versions import OLDEST_API
from zoo.models.heads import linear

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8").replace("\\|", "|")
HOOKS = [name for name in vars(hooks) if name.startswith("zoo_")]


def carried_out(line: str, folder: Path) -> str:
    """Standard output of a line of the page, in a process of its own, with what was installed in `site`."""
    program, *words = shlex.split(line)
    python = [sys.executable, "-P", "-m"]
    if program == "pip":
        # As the page has it, but into a folder of its own and without a network.
        words = ["install", "--quiet", "--target", "site", "--no-deps", "--no-build-isolation", f"./{words[-1]}"]
    elif program == "pytest":
        words = ["-q", "-p", "no:cacheprovider", *words]
    paths = [str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [*python, program, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_first_commands_of_the_page_make_a_plugin_that_keeps_the_contract(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    found = re.search(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    said = {line: carried_out(line, tmp_path) for line in found.group(1).splitlines()}
    assert "mine/tiny" in said["zoo list mine"]
    assert re.search(r"^mine: \d\d checks, 0 failed, ", said["zoo plugins check mine"], re.MULTILINE)
    assert re.search(r"\d+ passed", said["pytest zoo-mine"])


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_stands_there_with_its_exact_signature(name: str) -> None:
    lines = inspect.getsource(getattr(hooks, name)).splitlines()
    signature = next(line for line in lines if line.startswith("def "))
    assert f"`{signature.removeprefix('def ').partition(':  #')[0].rstrip(':')}`" in PAGE


def test_the_page_names_no_hook_that_does_not_exist() -> None:
    assert set(re.findall(r"\bzoo_[a-z]+(?=\()", PAGE)) == set(HOOKS)


def test_every_kind_of_specification_has_its_factory_there() -> None:
    table = PAGE.partition("| specification | its factory is called as |")[2].partition("\n\n")[0]
    specs = {name for name in zoo.__all__ if name.endswith("Spec") and hasattr(getattr(zoo, name), "factory")}
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == specs
    head = ", ".join(f"{name}: {kind}" for name, kind in linear.__annotations__.items() if name != "return")
    assert f"`build({head}) -> Head`" in table


def test_every_public_name_is_on_a_page() -> None:
    text = PAGE + (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert [name for name in zoo.__all__ if not re.search(rf"\b{re.escape(name)}\b", text)] == []


def test_every_name_of_the_kit_is_on_a_page() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
    assert [name for name in zoo.testing.__all__ if not re.search(rf"\b{re.escape(name)}\b", pages)] == []


def test_what_the_page_says_of_the_version_is_so() -> None:
    assert f"`zoo_api = {zoo.API_VERSION}`" in PAGE
    assert zoo.API_VERSION - 1 <= OLDEST_API <= zoo.API_VERSION
    assert {field.name for field in fields(zoo.LoadRequest)} | {"preprocess"} == set(
        re.findall(r"`(\w+)`", re.search(r"`LoadRequest` \((.*?)\)", PAGE).group(1))  # type: ignore[union-attr]
    )
