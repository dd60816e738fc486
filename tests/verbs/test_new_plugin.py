"""`zoo plugins new`: what it writes is a whole plugin, and it takes nothing that is somebody else's."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoo
from zoo import UsageError
from zoo.testing import check_backbone
from zoo.verbs.new_plugin import Kind, NewPlugin

KINDS: tuple[Kind, ...] = ("image", "text")


@pytest.fixture(params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> NewPlugin:
    return zoo.new_plugin(f"my-{request.param}s", out=tmp_path, kind=request.param)


@pytest.fixture
def catalog(made: NewPlugin, monkeypatch: pytest.MonkeyPatch) -> Iterator[zoo.Catalog]:
    """Of the new plugin alone, imported from where it was written."""
    monkeypatch.syspath_prepend(str(made.path))
    name = made.path.name.removeprefix("zoo-")
    package = f"zoo_{name.replace('-', '_')}"
    yield zoo.Catalog.of({name: importlib.import_module(package)})
    for module in [each for each in sys.modules if each.partition(".")[0] == package]:
        del sys.modules[module]


def test_what_was_written_is_said_with_the_next_three_commands(made: NewPlugin) -> None:
    there = {str(path.relative_to(made.path)) for path in made.path.rglob("*") if path.is_file()}
    assert set(made.files) == there
    assert there >= {"pyproject.toml", "README.md", ".gitignore", "tests/test_plugin.py"}
    assert [command.split()[0] for command in made.commands] == ["pip", "zoo", "pytest"]
    project = tomllib.loads((made.path / "pyproject.toml").read_text())["project"]
    (package,) = project["entry-points"]["zoo"].values()
    assert f"{package}/py.typed" in there
    assert project["name"] == made.path.name


def test_what_was_written_is_clean(made: NewPlugin) -> None:
    pytest.importorskip("ruff")
    for words in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "."], cwd=made.path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def lines_of_code(path: Path) -> int:
    """Lines that hold code: no comments, docstrings, imports or empty lines."""
    tree = ast.parse(path.read_text())
    kept: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.stmt) and not isinstance(node, ast.Import | ast.ImportFrom):
            whole = not hasattr(node, "body")
            kept |= set(range(node.lineno, (node.end_lineno if whole else node.body[0].lineno - 1) + 1))  # type: ignore[attr-defined,operator]
    return sum(1 for number, line in enumerate(path.read_text().splitlines(), 1) if number in kept and line.strip())


def test_the_specification_and_the_adapter_are_forty_lines_at_most(made: NewPlugin) -> None:
    (package,) = (path.parent for path in made.path.rglob("__init__.py"))
    assert lines_of_code(package / "__init__.py") + lines_of_code(package / "adapter.py") <= 40


@pytest.mark.parametrize("made", ["text"], indirect=True)
def test_the_new_backbone_keeps_the_contract(catalog: zoo.Catalog) -> None:
    """That of images is checked where docs/plugins.md is carried out."""
    (name,) = catalog.backbones
    found = check_backbone(name, catalog=catalog)
    assert found.passed, str(found)
    assert found.checks >= 25


def test_weights_of_a_file_are_loaded(catalog: zoo.Catalog, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    (name,) = catalog.backbones
    first = zoo.load(f"{name}@random", catalog=catalog)
    save_file(first.get_submodule("network").state_dict(), tmp_path / "tiny.safetensors")
    again = zoo.load(f"{name}@{tmp_path / 'tiny.safetensors'}", catalog=catalog)
    assert all((one == other).all() for one, other in zip(first.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "said", "mend"),
    [
        ("My Net", "'My Net' cannot be the name of a plugin", "such as my-net"),
        ("2fast", "'2fast' cannot be", "such as fast"),
        ("a--b", "'a--b' cannot be", "such as a-b"),
        ("../up", "'../up' cannot be", "such as up"),
        ("-x", "'-x' cannot be", "such as x"),
        ("naïve", "'naïve' cannot be", "such as na-ve"),
        ("", "'' cannot be", "up to 40 small letters"),
        ("x" * 41, "cannot be", "up to 40"),
        ("zoo-mine", "would be zoo-zoo-mine", "leave zoo- out: mine"),
        ("timm", "the name 'timm' is taken: it is a plugin of zoo", "choose another, such as timm-2"),
        ("open-clip", "is taken: it is a plugin of zoo", "choose another"),
        ("run", "zoo reads it in a way of its own", "choose another"),
    ],
)
def test_a_name_that_cannot_be_or_is_taken_is_refused_with_the_mend(
    tmp_path: Path, name: str, said: str, mend: str
) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")) as refused:
        zoo.new_plugin(name, out=tmp_path)
    assert mend in str(refused.value.help)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "zoo-mine").mkdir()
    (tmp_path / "zoo-mine" / "notes").write_text("keep me")
    with pytest.raises(UsageError, match="zoo-mine is there already"):
        zoo.new_plugin("mine", out=tmp_path)
    assert [path.name for path in (tmp_path / "zoo-mine").iterdir()] == ["notes"]
    with pytest.raises(UsageError, match="notes is there already"):
        zoo.new_plugin("mine", out=tmp_path / "zoo-mine" / "notes")


def test_a_kind_that_has_no_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no plugin of kind 'video' can be written"):
        zoo.new_plugin("mine", out=tmp_path, kind="video")  # type: ignore[arg-type]
