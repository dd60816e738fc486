"""Run folders: everything needed to read, resume, repeat or deploy a run."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from zoo.errors import DataError, UsageError
from zoo.records.files import published, write_json

LAST = "last"


@dataclass(frozen=True)
class RunFolder:
    """One run on disk."""

    path: Path

    @classmethod
    def create(
        cls,
        root: Path,
        name: str | None,
        *,
        overwrite: bool = False,
        backbone: str,
        strategy: str,
        fingerprint: str = "",
    ) -> Self:
        """A new folder under `root`, marked as running; `last` points to it.

        Raises:
            UsageError: a run of that name exists, the name leaves the root, or nothing can be written there.
        """
        now = datetime.datetime.now()
        if name is None:
            begin = f"{now:%Y%m%d-%H%M%S}-{slug(backbone)}-{slug(strategy)}-{fingerprint[:4]}"
            path = _fresh(root, begin)
        else:
            path = _named(root, name, overwrite=overwrite)
        run = cls(path)
        run.write_json(
            "run.json",
            {
                "status": "running",
                "pid": os.getpid(),
                "argv": sys.argv,
                "started": now.astimezone().isoformat(timespec="seconds"),
                "backbone": backbone,
                "strategy": strategy,
            },
        )
        run.write_json("env.json", environment())
        point_last(root, path)
        return run

    @classmethod
    def open(cls, run: str | Path, *, root: Path = Path("runs")) -> Self:
        """An existing run, by its path, its name under `root`, or "last".

        Raises:
            UsageError: there is none.
        """
        for candidate in (Path(run), root / run):
            path = _follow(candidate)
            if (path / "run.json").is_file():
                return cls(path)
        raise UsageError(f"there is no run at {run}", help="`zoo runs` lists them, newest first")

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to `metrics.jsonl`."""
        stamp = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        line = json.dumps({"time": stamp, **record}, ensure_ascii=False, allow_nan=False)
        with (self.path / "metrics.jsonl").open("a+b") as file:
            if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                file.write(b"\n")  # a writer was killed within its line
            file.write(line.encode() + b"\n")

    def finish(self, status: str, **more: Any) -> None:
        """Write down how the run ended."""
        ended = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self.write_json("run.json", {**self.read_json("run.json"), "status": status, "ended": ended, **more})

    def read_json(self, name: str) -> dict[str, Any]:
        """One of the run's JSON files; empty if it is not there.

        Raises:
            DataError: it is damaged.
        """
        path = self.path / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise DataError(f"{path} is damaged: {error}", help=f"remove the run: zoo runs rm {self.path}") from error
        if not isinstance(value, dict):
            raise DataError(f"{path} is damaged: it holds no object", help=f"remove the run: zoo runs rm {self.path}")
        return value

    @property
    def record(self) -> dict[str, Any]:
        """`run.json` for a list of many runs: one that is damaged is listed as such."""
        try:
            return self.read_json("run.json")
        except (DataError, OSError):
            return {"status": "damaged"}

    def write_json(self, name: str, value: Any) -> None:
        """One of the run's JSON files, whole or not at all."""
        write_json(self.path / name, value)

    def write_text(self, name: str, text: str) -> None:
        """One of the run's text files, whole or not at all."""
        with published(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def list_runs(root: Path) -> list[RunFolder]:
    """Every run under `root`, newest first."""
    found = [RunFolder(p) for p in root.glob("*") if not p.is_symlink() and (p / "run.json").is_file()]
    return sorted(found, key=lambda run: str(run.record.get("started", "")), reverse=True)


def slug(text: str) -> str:
    """Letters, digits, dots and dashes; at most 48 of them."""
    parts = [part.partition("@")[0].rpartition("/")[2] for part in text.split("+")]
    cleaned = re.sub(r"[^\w.-]+", "-", "-".join(parts)).strip("-.")
    return cleaned[:48].strip("-.") or "run"


def environment() -> dict[str, Any]:
    """Versions, machine and settings that decide the result; never a token."""
    from importlib.metadata import PackageNotFoundError, version

    packages = {}
    for name in ("zoo", "torch", "torchvision", "transformers", "open-clip-torch", "timm", "accelerate", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            packages[name] = version(name)
    settings = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "ZOO_PLUGINS", "ZOO_DISABLE")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "environment": {name: os.environ[name] for name in settings if name in os.environ},
        "git": _git_state(),
    }


def _git_state() -> dict[str, Any] | None:
    try:
        done = [
            subprocess.run(["git", *args], capture_output=True, text=True, timeout=5, check=True).stdout.strip()
            for args in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": done[0], "dirty": bool(done[1])}


def _named(root: Path, name: str, *, overwrite: bool) -> Path:
    """A new folder of this name."""
    if name != Path(name).name or name in ("", ".", "..", LAST) or name.startswith("."):
        raise UsageError(
            f"'{name}' is no name for a run", help="give a plain name without slashes; --out sets the folder"
        )
    path = root / name
    if path.exists():
        if not overwrite:
            raise UsageError(
                f"a run named '{name}' exists in {root}",
                help=f"go on with --resume {path}, replace it with --overwrite, or choose another --name",
            )
        shutil.rmtree(path)
    _make(root)
    path.mkdir()
    return path


def _fresh(root: Path, begin: str) -> Path:
    """A new folder that no other process has: drawn again where the end of its name is taken."""
    _make(root)
    while True:
        path = root / f"{begin}{uuid.uuid4().hex[:4]}"
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path


def _make(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"runs cannot be kept in {root}: {error.strerror}", help="choose a folder with --out"
        ) from error


def point_last(root: Path, path: Path) -> None:
    """Make `last` mean this run."""
    link = root / LAST
    temporary = root / f".last-{uuid.uuid4().hex[:8]}"
    try:
        temporary.symlink_to(path.name)
        temporary.replace(link)
    except OSError:  # a file system without links
        temporary.unlink(missing_ok=True)
        link.write_text(path.name + "\n", encoding="utf-8")


def _follow(path: Path) -> Path:
    if path.name == LAST and path.is_file():
        return path.parent / path.read_text(encoding="utf-8").strip()
    return path.resolve() if path.is_symlink() else path
