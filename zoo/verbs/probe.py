"""What frozen features are worth: heads solved on few and many training rows, from one extraction."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.audit import LEAK_MARK
from zoo.data.types import MANY_ANSWERS, Dataset, Examples, ReadOptions, Task
from zoo.errors import UsageError
from zoo.models.backbone import Backbone
from zoo.records.plain import json_safe
from zoo.transfer.options import Training
from zoo.transfer.solvers import by_features, check_solvable
from zoo.transfer.sweep import ALL, Rows, Shots, Sweep, check_metric, drawn, possible_shots, solves, sweep, usual_shots
from zoo.verbs.config import RunConfig
from zoo.verbs.extract import extract
from zoo.verbs.opening import Opened, open_job
from zoo.verbs.run import Event, Watch


@dataclass(frozen=True)
class LearningCurves:
    """What heads on the frozen features of a backbone score, by the number of training rows."""

    backbone: str
    data: str
    task: Task
    split: str
    """Where the metric was measured."""
    rows: Mapping[str, int]
    """Of each split."""
    dim: int
    """D of the features."""
    sweep: Sweep
    cached: bool
    """Whether all features came from the cache."""
    extract_seconds: float
    notes: tuple[str, ...]
    """What was inferred or chosen, one sentence each."""

    @property
    def leaked(self) -> bool:
        """Whether held-out rows were also training rows, as `allow_leak` lets them be."""
        return any(note.startswith(LEAK_MARK) for note in self.notes)

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints."""
        found: dict[str, Any] = json_safe(
            {
                "backbone": self.backbone,
                "data": self.data,
                "task": self.task.kind,
                "classes": list(self.task.classes),
                "split": self.split,
                "rows": dict(self.rows),
                "dim": self.dim,
                "metric": self.sweep.metric,
                "seeds": list(self.sweep.seeds),
                "points": [point.to_json() for point in self.sweep.points],
                "leak": self.leaked,
                "cached": self.cached,
                "extract_seconds": round(self.extract_seconds, 3),
                "solve_seconds": round(self.sweep.seconds, 3),
                "notes": list(self.notes),
            }
        )
        return found

    def plot(self, path: str | Path) -> Path:
        """Write the curves as a picture, whose format is that of the ending: png, svg or pdf.

        Raises:
            UsageError: another ending.
        """
        from zoo.verbs.curves import draw

        return draw(self, Path(path))


def probe(
    backbone: str | Backbone,
    data: str | Path | Dataset,
    *,
    shots: Sequence[Shots] | None = None,
    seeds: int = 5,
    heads: Sequence[str] | None = None,
    metric: str | None = None,
    seed: int = 0,
    weights: str | None = None,
    pooling: str | None = None,
    device: str = "auto",
    read: ReadOptions | None = None,
    offline: bool = False,
    watch: Watch | None = None,
) -> LearningCurves:
    """Solve heads on few and many rows of frozen features; one extraction serves all of them.

    Draws are the same for every backbone on the same data, so that two can be compared draw by draw.

    Args:
        backbone: a name such as "torchvision/resnet18", or a loaded backbone.
        data: a folder, a table, the name of a data set, or a `Dataset`.
        shots: training rows of each class, rows in all for labels and numbers; "all" is every row.
            By default 1, 2, 4, 8, 16 and all, for labels and numbers 16, 64, 256, 1024 and all.
        seeds: draws of each number of shots.
        heads: that can be solved: linear, knn, prototypes or a plugin's; all that fit the task if None.
        metric: such as "macro_f1"; the task's main one if None.
        seed: of the split, of random weights, and of the first draw; the others follow.
        weights: a tag, "random", or a file.
        pooling: native, cls, mean, max or last.
        device: auto, cpu, cuda or cuda:1; heads are solved on the CPU.
        read: how to read the data.
        offline: never touch the network.
        watch: called with notes, and with rows and heads as they are done.

    Raises:
        DataError, UsageError, WeightsError: bad input, each with its mend.
    """
    if seeds < 1:
        raise UsageError(f"--seeds {seeds} is not above 0", help="give a positive number such as 5")
    config = RunConfig(
        backbone=backbone if isinstance(backbone, str) else backbone.name,
        data=str(data) if isinstance(data, str | Path) else data.name,
        weights=weights,
        offline=offline,
        baseline="none",
        read=replace(read or ReadOptions(), seed=seed),
        train=Training(strategy="linear-probe", pooling=pooling, device=device, seed=seed),
    )
    opened = open_job(
        config,
        backbone if isinstance(backbone, Backbone) else None,
        data if isinstance(data, Dataset) else None,
        watch or (lambda event: None),
    )
    task = opened.data.task
    if task.kind in MANY_ANSWERS:
        raise UsageError(
            f"zoo probe solves one answer a row, and this is a task of {task.kind}", help="use `zoo finetune`"
        )
    usual = by_features(task.kind)
    chosen = tuple(heads) if heads is not None else usual
    check_solvable(chosen, task.kind)
    if named := [head for head in chosen if head not in usual]:
        raise UsageError(
            f"the head {named[0]} begins with the names of the classes, and zoo probe has features alone",
            help=f"use {' or '.join(usual)}, or `zoo finetune --strategy linear-probe --head {named[0]}`",
        )
    train, held = opened.data.splits["train"], opened.data.splits[opened.data.held_out]
    assert train.targets is not None
    assert held.targets is not None
    if metric is not None:  # before minutes are spent on features
        check_metric(metric, held.targets, task)
    possible = possible_shots(shots if shots is not None else usual_shots(task), train.targets, task)
    numbers = tuple(range(seed, seed + seeds))
    return _measured(opened, device, possible, numbers, chosen, metric)


def _measured(
    opened: Opened,
    device: str,
    shots: Sequence[Shots],
    seeds: Sequence[int],
    heads: Sequence[str],
    metric: str | None,
) -> LearningCurves:
    data, watch = opened.data, opened.watch
    started = time.perf_counter()
    train, at_once = _rows(opened, _needed(data, shots, seeds), device)
    held, also = _rows(opened, data.splits[data.held_out], device)
    extracted = time.perf_counter() - started
    count = solves(heads, shots, seeds)
    found = sweep(
        train,
        held,
        data.task,
        heads=heads,
        shots=shots,
        seeds=seeds,
        metric=metric,
        progress=lambda done: watch(Event(doing="solving", done=done, total=count)),
    )
    return LearningCurves(
        backbone=opened.backbone.name,
        data=data.name,
        task=data.task,
        split=data.held_out,
        rows={split: len(examples) for split, examples in data.splits.items()},
        dim=train.features.shape[1],
        sweep=found,
        cached=at_once and also,
        extract_seconds=extracted,
        notes=opened.notes,
    )


def _needed(data: Dataset, shots: Sequence[Shots], seeds: Sequence[int]) -> Examples:
    """The training rows that some draw takes; drawn from these alone, every draw is the same."""
    train = data.splits["train"]
    assert train.targets is not None
    if ALL in shots:
        return train
    rows = [drawn(train.names, train.targets, data.task, max(map(int, shots)), seed) for seed in seeds]
    return train.select(np.unique(np.concatenate(rows)))


def _rows(opened: Opened, examples: Examples, device: str) -> tuple[Rows, bool]:
    """Their features, and whether those were in the cache."""
    watch = opened.watch
    found = extract(
        opened.backbone,
        examples,
        device=device,
        progress=lambda done: watch(Event(doing="extracting", done=done, total=len(examples))),
        say=lambda text: watch(Event(note=text)),
    )
    assert examples.targets is not None
    return Rows(found.features, examples.targets, examples.names), found.cached
