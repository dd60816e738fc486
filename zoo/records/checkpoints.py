"""Checkpoints that are whole or absent; resuming takes the newest one that verifies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.records.files import published, sha256_of

MANIFEST = "MANIFEST.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose every file has the digest its manifest says."""

    path: Path
    step: int
    state: Mapping[str, Any]
    skipped: tuple[str, ...] = ()
    """Newer ones that did not verify, with the reason."""


def publish(folder: Path, step: int, write: Callable[[Path], None], state: Mapping[str, Any], *, keep: int = 2) -> Path:
    """Write `step-NNNNNN/` with a manifest of sha256 sums by one rename; older ones beyond `keep` go.

    Args:
        folder: of all checkpoints of a run.
        step: optimiser steps so far.
        write: writes the files into the folder it is given.
        state: plain JSON values, for the manifest.
    """
    target = folder / f"step-{step:06d}"
    with published(target) as temporary:
        temporary.mkdir(parents=True)
        write(temporary)
        files = {str(f.relative_to(temporary)): sha256_of(f) for f in sorted(temporary.rglob("*")) if f.is_file()}
        manifest = {"step": step, "files": files, "state": state}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for old in _steps(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    for debris in (*folder.glob(".tmp-*"), *folder.glob(".old.tmp-*")):  # of writers that were killed
        shutil.rmtree(debris, ignore_errors=True)
    return target


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that verifies, with what was skipped and why; None if there is none."""
    skipped: list[str] = []
    for path in _steps(folder):
        try:
            manifest = verify(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            skipped.append(f"{path.name}: {_why(error)}")
            continue
        return Checkpoint(path, int(manifest["step"]), manifest["state"], tuple(skipped))
    return None


def verify(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        ValueError: a file is missing or has other bytes than the manifest says.
    """
    manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    for name, digest in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise ValueError(f"{name} is missing")
        if sha256_of(file) != digest:
            raise ValueError(f"{name} is damaged")
    return manifest


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{MANIFEST} is missing"
    return str(error) if type(error) is ValueError else f"{MANIFEST} is damaged"


def _steps(folder: Path) -> list[Path]:
    """Published checkpoints, newest first."""
    found = [path for path in folder.glob("step-*") if path.is_dir() and path.name[5:].isdecimal()]
    return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)
