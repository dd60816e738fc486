"""A fine-tuning run as values: its plan, its events, its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.audit import LEAK_MARK
from zoo.data.types import Task
from zoo.errors import ZooError
from zoo.models.backbone import Backbone
from zoo.transfer.estimate import Estimate
from zoo.transfer.loop import Record
from zoo.transfer.options import Training
from zoo.transfer.strategies import Phase, StageRow
from zoo.transfer.trained import Trained, load_trained

Watch = Callable[["Event"], None]


@dataclass(frozen=True)
class RunPlan:
    """What is about to happen, before the first step."""

    backbone: str
    data: str
    rows: Mapping[str, int]
    task: Task
    strategy: str
    phases: tuple[Phase, ...]
    stages: tuple[StageRow, ...]
    estimate: Estimate
    training: Training
    device: str
    precision: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Event:
    """Something a caller may want to show: the plan, a training record, a sentence, or rows done."""

    plan: RunPlan | None = None
    record: Record | None = None
    note: str | None = None
    doing: str | None = None
    """What the counted rows are for."""
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Run:
    """A finished fine-tuning run."""

    path: Path
    backbone: str
    strategy: str
    task: Task
    split: str
    """Where the metrics were measured."""
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]]
    """95% intervals of the main metrics, by bootstrap; without those of which the rows tell none."""
    baseline: Mapping[str, Any] | None
    """The same architecture with random weights, probed on the same rows; None: not measured."""
    plan: RunPlan
    seconds: float
    status: str = "done"
    choice: Mapping[str, Any] | None = None
    """What `auto` saw, considered, tried and chose; None: the strategy was given."""
    against: Mapping[str, Any] | None = None
    """The source, a frozen probe and training from scratch on the same rows; None: not asked for."""

    @property
    def leaked(self) -> bool:
        """Whether held-out rows were also training rows, as `allow_leak` lets them be: no metric can be trusted."""
        return any(note.startswith(LEAK_MARK) for note in self.plan.notes)

    def load(self, *, device: str = "cpu", backbone: Backbone | None = None) -> Trained:
        """The trained model."""
        return load_trained(self.path, device=device, backbone=backbone)

    def predict(self, inputs: Any, *, device: str = "auto") -> list[Any]:
        """Predictions for files, texts or a table; see `zoo.predict`."""
        from zoo.verbs.predict import predict

        return list(predict(self.path, inputs, device=device))

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints."""
        return {
            "run": str(self.path),
            "status": self.status,
            "backbone": self.backbone,
            "strategy": self.strategy,
            "task": self.task.kind,
            "classes": list(self.task.classes),
            "targets": list(self.task.targets),
            "split": self.split,
            "rows": dict(self.plan.rows),
            "metrics": dict(self.metrics),
            "leak": self.leaked,
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "baseline": self.baseline,
            "against": self.against,
            "auto": self.choice,
            "params": self.plan.estimate.params,
            "trained_params": self.plan.estimate.trained,
            "device": self.plan.device,
            "precision": self.plan.precision,
            "notes": list(self.plan.notes),
            "seconds": round(self.seconds, 3),
        }


class Interrupted(ZooError):  # noqa: N818  (a state of the run, not a fault)
    """The run was asked to stop; its checkpoint is saved."""

    kind, exit_code = "interrupted", 130
