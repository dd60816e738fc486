"""What was worked out of the catalogue before, kept in files for as long as nothing that it came of has changed.

Only what zoo itself brings is kept: the listing of another distribution may depend on anything. Nothing here imports
more than `json`, since whoever asks has no time for it.
"""

from __future__ import annotations

import json
import os
import sys
import time

TYPE_CHECKING = False  # importing `typing` would take a third of the time
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from zoo.catalog.discovery import Discovery

FORMAT = 1
SETTINGS = ("ZOO_PLUGINS", "ZOO_DISABLE", "ZOO_PLUGIN_TIMEOUT", "ZOO_DEBUG")
"""With one of these in the environment the catalogue is looked up anew."""
STARTED = time.time_ns()
ZOO = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120


def read(name: str) -> list[str] | None:
    """The lines that were kept under this name; None where there are none, or something has changed since."""
    try:
        with open(_file(name), encoding="utf-8") as file:  # noqa: PTH123
            kept = json.loads(file.readline())
            same = kept == state([name for name, _ in kept[-2]], [path for path, *_ in kept[-1]])
            return file.read().split("\n") if same else None
    except (OSError, ValueError, TypeError, LookupError):
        return None


def write(name: str, lines: Iterable[str], packages: Mapping[str, str]) -> None:
    """Keep some lines; a cache that cannot be written is no fault.

    Args:
        name: to read them by.
        lines: what was worked out.
        packages: of plugins that it came of, and their folders.
    """
    from pathlib import Path

    from zoo.errors import ZooError
    from zoo.records.files import published

    try:
        now = state(sorted(packages), _sources(packages))
        if any(changed > STARTED for _, changed, _ in (*now[-3], *now[-1])):
            return  # while this ran: what was read of it may be older than its stamp
        with published(Path(_file(name))) as path:
            path.write_text("\n".join((json.dumps(now), *lines)), encoding="utf-8")
    except (OSError, ValueError, ZooError):
        return


def can_keep(found: Discovery) -> bool:
    """Whether all of this catalogue comes from zoo's own distribution with nothing to warn of, and there is a place."""
    folder = os.path.dirname(_file(""))  # noqa: PTH120
    try:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    except OSError:
        return False
    own = all(report.distribution == "zoo" and report.status == "loaded" for report in found.reports)
    settings = any(name in os.environ for name in SETTINGS)
    return own and not found.warnings and not settings and os.access(folder, os.W_OK)


def state(packages: Sequence[str], paths: Sequence[str]) -> list[Any]:
    """What the catalogue depends on: Python, the installed distributions, where plugins are found, and their files."""
    installed, homes = _installed(packages)
    return [FORMAT, sys.version, ZOO, installed, homes, [_stamp(path) for path in paths]]


def _installed(packages: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """The metadata of every distribution on the path, and the folder where each of these packages is found first.

    Raises:
        ValueError: a path that holds distributions in a way that only `importlib.metadata` can read.
    """
    for finder in sys.meta_path:
        if hasattr(finder, "find_distributions") and getattr(finder, "__name__", "") != "PathFinder":
            raise ValueError(f"{finder} may know of more distributions")
    found: list[Any] = []
    homes: dict[str, str] = dict.fromkeys(packages, "")
    for folder in dict.fromkeys(path or os.getcwd() for path in sys.path):  # noqa: PTH109
        try:
            names = os.listdir(folder)  # noqa: PTH208
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            raise ValueError(f"{folder} is an archive") from None
        if folder.endswith(".egg"):
            raise ValueError(f"{folder} is an egg")
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                found += (_stamp(f"{folder}/{name}/{file}") for file in ("entry_points.txt", "METADATA", "PKG-INFO"))
            elif homes.get(package := name.partition(".")[0]) == "":
                homes[package] = folder
    return sorted(found), [[name, home] for name, home in sorted(homes.items())]


def _stamp(path: str) -> list[Any]:
    """A file as it is now; zeros where it is missing."""
    try:
        about = os.stat(path)  # noqa: PTH116
    except OSError:
        return [path, 0, 0]
    return [path, about.st_mtime_ns, about.st_size]


def packages() -> dict[str, str]:
    """The packages that zoo's plugins are in, and their folders."""
    from zoo.catalog.entry_points import distribution_of, installed

    names = {entry.value.partition(":")[0] for entry in installed() if distribution_of(entry)[0] == "zoo"}
    found = {name.partition(".")[0]: getattr(sys.modules.get(name), "__file__", None) or "" for name in names}
    return {name: os.path.dirname(file) for name, file in found.items()}  # noqa: PTH120


def _sources(packages: Mapping[str, str]) -> list[str]:
    """The files of zoo that list and print, and all of its plugins: code, tables, and the folders that hold them."""
    from pathlib import Path

    zoo = Path(ZOO)
    folders = [*(zoo / part for part in ("catalog", "cli", "records")), *map(Path, filter(None, packages.values()))]
    inside = [path for folder in folders for path in (folder, *folder.rglob("*")) if "__pycache__" not in path.parts]
    more = [zoo / "__init__.py", zoo / "errors.py", zoo / "verbs" / "listing.py", zoo / "verbs" / "choosing.py"]
    return sorted(str(path) for path in (*inside, *more))


def _file(name: str) -> str:
    from zoo.records.location import cache_path

    return f"{cache_path()}/index/{name}.{sys.implementation.cache_tag}.txt"
