"""What was worked out of the catalogue before, kept in files for as long as nothing that it came of has changed.

It came of zoo's own files, of the installed distributions, and of whatever their plugins looked at while they listed
(`looked_at`); where that cannot be known, nothing is kept. Nothing here imports more than `json`, since whoever asks
has no time for it.
"""

from __future__ import annotations

import json
import os
import sys
import time

TYPE_CHECKING = False  # importing `typing` would take a third of the time
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from zoo.catalog.discovery import Discovery

FORMAT = 2
SETTINGS = ("ZOO_PLUGINS", "ZOO_DISABLE", "ZOO_PLUGIN_TIMEOUT", "ZOO_DEBUG")
"""With one of these in the environment the catalogue is looked up anew."""
STARTED = time.time_ns()
MOST = 20_000
"""Files of plugins above which none are kept."""
ZOO = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120


class Basis:
    """What the catalogue came of, beside Python, zoo and the distributions that are installed."""

    def __init__(
        self,
        packages: Iterable[str] = (),
        paths: Iterable[str] = (),
        asked: Iterable[str] = (),
        settings: Iterable[str] = (),
    ) -> None:
        """Names of things that are looked up when asked for.

        Args:
            packages: top-level names; where they are found first counts.
            paths: files and folders; their time and size count.
            asked: others that were asked for; of folders it counts that they are there.
            settings: variables of the environment.
        """
        self.packages, self.paths, self.asked, self.settings = (
            sorted(set(each)) for each in (packages, paths, asked, settings)
        )


def read(name: str) -> list[str] | None:
    """The lines that were kept under this name; None where there are none, or something has changed since."""
    try:
        with open(_file(name), encoding="utf-8") as file:  # noqa: PTH123
            kept = json.loads(file.readline())
            basis = Basis(*([each[0] for each in part] for part in kept[-4:]))
            return file.read().split("\n") if kept == state(basis) else None
    except (OSError, ValueError, TypeError, LookupError):
        return None


def write(name: str, lines: Iterable[str], basis: Basis) -> None:
    """Keep some lines; a cache that cannot be written is no fault.

    Args:
        name: to read them by.
        lines: what was worked out.
        basis: what it came of.
    """
    from pathlib import Path

    from zoo.errors import ZooError
    from zoo.records.files import published

    try:
        now = state(basis)
        if any(each[-2] > STARTED for each in (*now[3], *now[5], *now[6])):
            return  # while this ran: what was read of it may be older than its stamp
        with published(Path(_file(name))) as path:
            path.write_text("\n".join((json.dumps(now), *lines)), encoding="utf-8")
    except (OSError, ValueError, ZooError):
        return


def forget() -> None:
    """Nothing of what was kept is read again."""
    import contextlib
    import glob

    for path in glob.glob(_file("*")):  # noqa: PTH207
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108


def can_keep(found: Discovery) -> bool:
    """Whether what this catalogue came of is known, with nothing to warn of, and there is a place."""
    folder = os.path.dirname(_file(""))  # noqa: PTH120
    try:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    except OSError:
        return False
    if found.warnings or any(name in os.environ for name in SETTINGS) or not os.access(folder, os.W_OK):
        return False
    return all(
        report.status == "loaded"
        and (report.distribution == "zoo" or ((seen := found.looked_at.get(report.name)) and not seen.reason))
        for report in found.reports
    )


def state(basis: Basis) -> list[Any]:
    """What the catalogue depends on, as it is now."""
    installed, homes = _installed(basis.packages)
    settings = [[name, os.environ.get(name)] for name in basis.settings]
    stamps = [_stamp(path) for path in basis.paths]
    return [FORMAT, sys.version, ZOO, installed, homes, stamps, [_answer(path) for path in basis.asked], settings]


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
    """A file or folder as it is now; zeros where it is missing."""
    try:
        about = os.stat(path)  # noqa: PTH116
    except OSError:
        return [path, 0, 0]
    return [path, about.st_mtime_ns, about.st_size]


def _answer(path: str) -> list[Any]:
    """What whoever asks for a path is told; of a folder that it is there, since its time says what else is in it."""
    try:
        about, target = os.lstat(path), ""
        if about.st_mode & 0o170000 == 0o120000:
            target, about = os.readlink(path), os.stat(path)  # noqa: PTH115, PTH116
    except OSError:
        return [path, "", 0, 0]
    return [path, target, 0, -1] if about.st_mode & 0o170000 == 0o040000 else [path, target, *_stamp(path)[1:]]


def own() -> Basis:
    """The files of zoo that list and print."""
    files = [f"{ZOO}/{name}" for name in ("__init__.py", "errors.py", "verbs/listing.py", "verbs/choosing.py")]
    return Basis(paths=[*files, *(path for part in ("catalog", "cli", "records") for path in _inside(f"{ZOO}/{part}"))])


def basis_of(found: Discovery) -> Basis | None:
    """What a catalogue came of; None where it is so much that to look at all of it would take longer than to list."""
    from itertools import chain, islice

    from zoo.catalog.entry_points import installed

    files: list[str] = []
    folders: list[str] = []
    packages: set[str] = set()
    for entry in installed():
        name = entry.value.partition(":")[0]
        parts = name.split(".")
        above = (sys.modules.get(".".join(parts[:count])) for count in range(1, len(parts) + 1))
        file = next((file for module in above if (file := getattr(module, "__file__", None))), None)
        if file is not None:
            whole = os.path.basename(file).startswith("__init__.")  # noqa: PTH119
            (folders if whole else files).append(os.path.dirname(file) if whole else file)  # noqa: PTH120
        packages.add(parts[0])
    seen = list(found.looked_at.values())
    inside = list(islice(chain.from_iterable(map(_inside, folders)), MOST))
    if len(inside) == MOST:
        return None
    return Basis(
        packages.union(*(each.packages for each in seen)),
        chain(inside, files, own().paths, *(each.paths for each in seen)),
        chain.from_iterable(each.asked for each in seen),
        chain.from_iterable(each.settings for each in seen),
    )


def _inside(folder: str) -> Iterable[str]:
    """A folder and all that is in it, but for what Python compiles."""
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield top
        yield from (f"{top}/{name}" for name in names)


def _file(name: str) -> str:
    from zoo.records.location import cache_path

    return f"{cache_path()}/index/{name}.{sys.implementation.cache_tag}.txt"
