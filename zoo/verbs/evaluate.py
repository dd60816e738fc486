"""How good a finished run is, on its own held-out rows or on other data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.labels import column
from zoo.data.reading import encode
from zoo.data.types import Dataset, Examples, ReadOptions, Task
from zoo.errors import DataError, UnknownNameError
from zoo.models.backbone import Backbone
from zoo.records.plain import json_safe
from zoo.records.runs import RunFolder
from zoo.transfer.devices import choose_device
from zoo.transfer.metrics import ClassRow
from zoo.transfer.scores import score
from zoo.transfer.trained import Trained, load_trained
from zoo.verbs.check import opened_data
from zoo.verbs.config import read_config


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a run on rows it did not learn from."""

    run: Path
    data: str
    split: str
    rows: int
    task: Task
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]]
    """95% intervals of the main metrics, by bootstrap; without those of which the rows tell none."""
    per_class: tuple[ClassRow, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    """True class by predicted class."""

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints."""
        return {
            "run": str(self.run),
            "data": self.data,
            "split": self.split,
            "rows": self.rows,
            "task": self.task.kind,
            "classes": list(self.task.classes),
            "metrics": dict(self.metrics),
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "per_class": [asdict(row) for row in self.per_class],
            "confusion": self.confusion,
        }


def evaluate(
    run: str | Path,
    data: str | Path | Dataset | None = None,
    *,
    split: str | None = None,
    root: str | Path = "runs",
    device: str = "auto",
    batch_size: int = 32,
    backbone: Backbone | None = None,
    read: ReadOptions | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Metrics with bootstrap intervals, per class, and the confusion matrix.

    Args:
        run: a run's folder, its name, or "last".
        data: other data with the same classes; the run's own if None.
        split: test if there is one, else val.
        root: where runs lie.
        device: auto, cpu, cuda or cuda:1.
        batch_size: rows at once.
        backbone: needed where the run's backbone was wrapped from a module in Python.
        read: how to read other data.
        progress: called with the number of rows done since the last call.

    Raises:
        DataError: other data whose labels the run does not know.
        UsageError: no such run.
    """
    folder = RunFolder.open(run, root=Path(root))
    trained = load_trained(folder.path, device=choose_device(device), backbone=backbone)
    chosen = _dataset(folder, data, trained, read)
    split = split or chosen.held_out
    if split not in chosen.splits:
        raise UnknownNameError("split", split, chosen.splits, help=f"the splits are {', '.join(chosen.splits)}")
    examples = _as_the_run_knows(chosen, chosen.splits[split], trained.task)
    scores = score(trained, examples, batch_size=batch_size, progress=progress)
    table = scores.confusion()
    return Evaluation(
        run=folder.path,
        data=chosen.name,
        split=split,
        rows=len(examples),
        task=trained.task,
        metrics=json_safe(scores.metrics()),
        intervals=scores.intervals(),
        per_class=scores.per_class(),
        confusion=None if table is None else tuple(tuple(int(n) for n in row) for row in table),
    )


def _dataset(
    folder: RunFolder, data: str | Path | Dataset | None, trained: Trained, read: ReadOptions | None
) -> Dataset:
    if isinstance(data, Dataset):
        return data
    own = read_config(folder.path / "config.yaml")
    # Other data are read as the run's own were, unless something else is asked for.
    options = read or replace(own.read, shots=None, limit=None)
    # A student's own rows were read with what its teacher takes too, which is part of what tells them apart.
    own_rows = own.read.modalities if data is None else None
    options = replace(options, modalities=own_rows or trained.backbone.modalities, task=trained.task.kind)
    source = str(data) if data is not None else own.data
    if source is None:
        raise DataError(f"{folder.path} does not say which data it was trained on", help="name the data")
    found = opened_data(source, options)
    recorded = folder.read_json("data.json")
    if data is None and recorded.get("splits", {}).get(found.held_out) != list(found.splits[found.held_out].ids):
        raise DataError(f"the data of {folder.path} have changed since the run", help="name the data to use")
    return found


def _as_the_run_knows(dataset: Dataset, examples: Examples, task: Task) -> Examples:
    """The same rows with targets in the run's own order of classes."""
    if dataset.task.classes == task.classes or task.kind == "regression" or examples.targets is None:
        return examples
    classes = dataset.task.classes
    if task.kind == "segmentation":
        # A class number means the same in every mask, so the names must begin alike.
        if classes != task.classes[: len(classes)]:
            raise DataError(
                f"the masks have the classes {', '.join(classes[:8])}, the run knows {', '.join(task.classes[:8])}",
                help="number the classes as in the run, and name them alike in classes.txt",
            )
        return examples
    if task.kind == "detection":
        if unknown := sorted(set(classes) - set(task.classes)):
            known = ", ".join(task.classes[:8])
            raise DataError(f"the run knows no {', '.join(unknown[:5])}", help=f"it finds {known}: leave others out")
        return replace(examples, targets=column([each.of_classes(task.classes) for each in examples.targets]))
    labels: list[Any]
    if task.kind == "tokens":
        labels = [[classes[k] if k >= 0 else "" for k in row.indices] for row in examples.targets]
        unknown = sorted(set(classes) - set(task.classes))
        if unknown:
            raise DataError(
                f"{len(unknown)} tags are unknown to the run: {', '.join(unknown[:5])}", help="correct the tags"
            )
    elif task.kind == "multilabel":
        labels = [[classes[k] for k in np.flatnonzero(row)] for row in examples.targets]
    else:
        labels = [classes[int(index)] for index in examples.targets]
    return replace(examples, targets=encode(task, labels, examples.names))
