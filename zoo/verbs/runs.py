"""What was run, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.records.runs import RunFolder, list_runs


@dataclass(frozen=True)
class RunSummary:
    """One run in a line."""

    path: Path
    status: str
    """running, done, interrupted, failed or diverged."""
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
        record = folder.read_json("run.json")
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
