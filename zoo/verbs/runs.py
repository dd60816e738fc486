"""What was run, newest first."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import UsageError
from zoo.records.runs import LAST, RunFolder, list_runs, point_last


@dataclass(frozen=True)
class RunSummary:
    """One run in a line."""

    path: Path
    status: str
    """running, done, interrupted, failed, diverged or damaged."""
    backbone: str
    strategy: str
    started: str
    split: str | None
    metrics: dict[str, float | None]

    @property
    def shown(self) -> str:
        """Its first metric."""
        name, value = next(iter(self.metrics.items()), ("", None))
        return "-" if value is None else f"{name} {value:.3f}"

    def to_json(self) -> dict[str, Any]:
        """The stable keys of `--json`."""
        return {
            "run": str(self.path),
            "status": self.status,
            "backbone": self.backbone,
            "strategy": self.strategy,
            "started": self.started,
            "split": self.split,
            "metrics": self.metrics,
        }


def runs(root: str | Path = "runs") -> list[RunSummary]:
    """Every run under `root`, newest first."""
    found = []
    for folder in list_runs(Path(root)):
        record = folder.record
        result = record.get("result") or {}
        found.append(
            RunSummary(
                path=folder.path,
                status=str(record.get("status", "unknown")),
                backbone=str(record.get("backbone", "")),
                strategy=str(record.get("strategy", "")),
                started=str(record.get("started", "")),
                split=result.get("split"),
                metrics=result.get("metrics", {}),
            )
        )
    return found


def open_run(run: str | Path, *, root: str | Path = "runs") -> RunFolder:
    """One run by its name, its folder, or "last".

    Raises:
        UsageError: there is none.
    """
    return RunFolder.open(run, root=Path(root))


def remove_run(run: str | Path, *, root: str | Path = "runs") -> Path:
    """Delete a run under `root` for good; `last` then means the newest that is left.

    Raises:
        UsageError: there is no such run, or it lies elsewhere.
    """
    folder, home = open_run(run, root=root), Path(root)
    if home.resolve() not in folder.path.resolve().parents:
        raise UsageError(f"{folder.path} is not in {root}, so it is not removed", help="name its folder with --out")
    shutil.rmtree(folder.path)
    last, left = home / LAST, list_runs(home)
    if left:
        point_last(home, left[0].path)
    elif last.is_symlink() or last.is_file():
        last.unlink()
    return folder.path
