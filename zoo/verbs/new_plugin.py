"""`zoo plugins new`: a package that is a plugin, ready to be installed, listed and checked."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import importlib.util
import re
import shlex
import shutil
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Literal, get_args

from zoo.errors import UsageError

Kind = Literal["image", "text"]

RESERVED = ("zoo", "run", "local", "builtin", "sklearn", "hf")
"""First parts of names that zoo itself reads."""
LONGEST = 40

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


@dataclass(frozen=True)
class NewPlugin:
    """A package that was written."""

    path: Path
    files: tuple[str, ...]
    """Relative to `path`."""
    commands: tuple[str, ...]
    """What to do next."""


def new_plugin(name: str, *, out: str | Path = ".", kind: Kind = "image") -> NewPlugin:
    """Write the package `zoo-NAME`: a plugin with one small backbone, its tests and a README.

    Args:
        name: of the plugin, and before the slash in the names of its backbones.
        out: the folder to write the package into.
        kind: what its backbone takes.

    Raises:
        UsageError: a name that cannot be one or is taken, or a folder that is there.
    """
    if kind not in get_args(Kind):
        raise UsageError(f"no plugin of kind '{kind}' can be written", help=f"kinds are {', '.join(get_args(Kind))}")
    package = _package_of(name)
    folder = Path(out).expanduser() / f"zoo-{name}"
    words = {
        "name": name,
        "package": package,
        "title": "".join(part.capitalize() for part in package.split("_")[1:]),
    }
    files = {path: Template(text).substitute(words) for path, text in _templates(kind, package).items()}
    _write(folder, files)
    at = shlex.quote(str(folder))
    commands = (f"pip install -e {at}", f"zoo plugins check {name}", f"pytest {at}")
    return NewPlugin(folder, tuple(files), commands)


def _package_of(name: str) -> str:
    """`zoo_mine` for `mine`.

    Raises:
        UsageError: not a name, or another's.
    """
    if not _NAME.fullmatch(name) or len(name) > LONGEST:
        raise UsageError(
            f"'{name}' cannot be the name of a plugin",
            help=f"up to {LONGEST} small letters and digits, with - or _ between them{_such_as(name)}",
        )
    if name.startswith(("zoo-", "zoo_")):
        raise UsageError(f"the package of '{name}' would be zoo-{name}", help=f"leave zoo- out: {name[4:]}")
    package = f"zoo_{name.replace('-', '_')}"
    if taken := _taken(name, package):
        raise UsageError(f"the name '{name}' is taken: {taken}", help=f"choose another, such as {name}-2")
    return package


def _such_as(name: str) -> str:
    """The nearest name that would do, if there is one."""
    near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:LONGEST].strip("-")
    return f", such as {near}" if near else ""


def _taken(name: str, package: str) -> str | None:
    """Who has a name already, in words."""
    from zoo.catalog.discovery import discovered

    if name in RESERVED:
        return "zoo reads it in a way of its own"
    found = discovered()
    folded = package.removeprefix("zoo_")
    for report in found.reports:
        if report.name.replace("-", "_") == folded:
            return f"it is a plugin of {report.distribution} {report.version}"
    for spec in found.catalog.backbones.values():
        if spec.source.casefold().replace("-", "_") == folded:
            return f"{spec.name} has it before the slash"
    try:
        version = importlib.metadata.version(f"zoo-{name}")
    except importlib.metadata.PackageNotFoundError:
        version = None
    if version is not None:
        return f"zoo-{name} {version} is installed"
    return f"a package {package} is installed" if importlib.util.find_spec(package) else None


def _templates(kind: Kind, package: str) -> dict[str, str]:
    """Path in the new package to template."""
    root = importlib.resources.files("zoo.verbs") / "template"
    top = {
        "pyproject.toml": root / "pyproject.toml.txt",
        "README.md": root / "README.md.txt",
        ".gitignore": root / "gitignore.txt",
        "tests/test_plugin.py": root / "test_plugin.py.txt",
    }
    modules = sorted((root / kind).iterdir(), key=lambda each: each.name)
    code: dict[str, Traversable] = {f"{package}/{each.name.removesuffix('.txt')}": each for each in modules}
    return {
        **{path: each.read_text(encoding="utf-8") for path, each in (top | code).items()},
        f"{package}/py.typed": "",
    }


def _write(folder: Path, files: dict[str, str]) -> None:
    """All files or none.

    Raises:
        UsageError: the folder is there, or cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except FileExistsError:
        there = folder if folder.exists() else folder.parent
        raise UsageError(
            f"{there} is there already", help="nothing was written; choose another --out or name, or move it away"
        ) from None
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}", help="choose another --out") from error
    try:
        for path, text in files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UsageError(f"{folder} cannot be written: {error.strerror}", help="choose another --out") from error
