"""Data in many files of many rows, by their names: tars as of WebDataset, and Parquet files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Literal

from zoo.errors import DataError, UsageError

TARS = (".tar", ".tar.gz", ".tgz")
PARQUETS = (".parquet",)
_MARKED = 1 << 16
"""Bytes at the beginning and at the end of a shard; tars are filled up to the same sizes."""
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Shard:
    """One file of rows."""

    name: str
    """Where it lies below the folder that all shards share; what is made of it has the same name."""
    path: Path
    kind: Literal["tar", "parquet"]

    def mark(self) -> str:
        """What tells it from another file of the same name: its size, and a digest of where it begins and ends.

        Raises:
            DataError: it cannot be read.
        """
        try:
            size = self.path.stat().st_size
            with self.path.open("rb") as file:
                digest = hashlib.sha256(file.read(_MARKED))
                file.seek(max(size - _MARKED, 0))
                digest.update(file.read(_MARKED))
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror or error}") from error
        return f"{size} {digest.hexdigest()[:16]}"

    @property
    def stem(self) -> str:
        """Its name without the ending of its kind."""
        ending = next(each for each in (*TARS, *PARQUETS) if self.name.lower().endswith(each))
        return self.name[: -len(ending)]


def find_shards(source: str | Path | Sequence[str | Path]) -> tuple[Shard, ...]:
    """The shards of a folder, a file, a glob, a pattern such as `shard-{000000..000999}.tar`, or a list of these.

    Raises:
        DataError: none, some that are missing, tars and Parquet files at once, or two of one name.
        UsageError: an address of another machine.
    """
    given = [source] if isinstance(source, str | Path) else list(source)
    paths = [path for each in given for path in _paths(str(each))]
    found = {path: _kind(path) for path in paths}
    kinds = {kind for kind in found.values() if kind is not None}
    shown = ", ".join(map(str, given))
    odd = next((path for path, kind in found.items() if kind is None), None)
    if odd is not None or not kinds:
        raise DataError(
            f"{odd or shown} {'is no shard' if odd else 'holds no shards'}",
            help=f"give files ending in {', '.join((*TARS, *PARQUETS))} or a folder of them; "
            "features of other data go to a file: -o features.parquet",
        )
    if len(kinds) > 1:
        one = {kind: next(path for path in found if found[path] == kind) for kind in sorted(kinds)}
        raise DataError(
            f"{shown} holds tars and Parquet files, such as {one['tar'].name} and {one['parquet'].name}",
            help="give the files of one kind: 'folder/*.tar' or 'folder/*.parquet', in quotes",
        )
    top = _shared_folder(list(found))
    shards = tuple(
        Shard(path.relative_to(top).as_posix(), path, "tar" if kind == "tar" else "parquet")
        for path, kind in found.items()
    )
    _check_names(shards)
    return shards


def _paths(given: str) -> list[Path]:
    if re.match(r"[a-z0-9]+://|pipe:", given):
        raise UsageError(
            f"'{given}' is not on this machine", help="mount the bucket as a folder, or copy the shards to a disk"
        )
    if "{" in given and not Path(given).exists():
        paths = [Path(each).expanduser() for each in expanded(given)]
        missing = [str(path) for path in paths if not path.is_file()]
        if missing:
            raise DataError(
                f"{len(missing)} of the {len(paths)} shards of {given} are not there",
                details=missing[:10],
                help="a pattern names every shard; give the folder or a glob to take those that are there",
            )
        return paths
    path = Path(given).expanduser()
    if path.is_dir():
        return sorted(each for each in path.rglob("*") if _kind(each) and each.is_file() and not _hidden(each, path))
    if path.is_file():
        return [path]
    if any(mark in given for mark in "*?["):
        top = Path(path.anchor) if path.is_absolute() else Path()
        return sorted(each for each in top.glob(str(path.relative_to(top))) if each.is_file())
    raise DataError(
        f"'{given}' is no file or folder",
        help="give a folder of shards or a pattern in quotes; features of other data go to a file, -o features.parquet",
    )


def expanded(pattern: str) -> list[str]:
    """Every name that braces stand for: `{00..02}` for 00, 01 and 02; `{a,b}` for a and b."""

    def choices(inner: str) -> list[str]:
        ends = _RANGE.fullmatch("{" + inner + "}")
        if ends is None:
            return inner.split(",")
        first, last = ends.groups()
        if int(last) < int(first):
            raise UsageError(f"'{{{inner}}}' counts backwards", help=f"write {{{last}..{first}}}")
        return [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]

    # Every second part stood in braces.
    parts = [choices(part) if i % 2 else [part] for i, part in enumerate(_BRACES.split(pattern))]
    return ["".join(each) for each in product(*parts)]


def _kind(path: Path) -> Literal["tar", "parquet"] | None:
    name = path.name.lower()
    return "tar" if name.endswith(TARS) else "parquet" if name.endswith(PARQUETS) else None


def _hidden(path: Path, top: Path) -> bool:
    """Names that begin with a dot or an underscore are no data, as in every reader of Parquet folders."""
    return any(part.startswith((".", "_")) for part in path.relative_to(top).parts)


def _shared_folder(paths: Sequence[Path]) -> Path:
    folders = {path.parent for path in paths}
    shared = folders.pop() if len(folders) == 1 else None
    if shared is not None:
        return shared
    parts = list(zip(*(path.parent.parts for path in paths), strict=False))
    depth = next((i for i, each in enumerate(parts) if len(set(each)) > 1), len(parts))
    return Path(*paths[0].parent.parts[:depth])


def _check_names(shards: Sequence[Shard]) -> None:
    seen: dict[str, Shard] = {}
    for shard in shards:
        # Without regard to case, as not every file system has it.
        other = seen.setdefault(str(PurePosixPath(shard.stem)).casefold(), shard)
        if other is not shard:
            raise DataError(
                f"{shard.path} and {other.path} would go to the same file {shard.stem}.parquet", help="rename one"
            )
