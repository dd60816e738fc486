"""How well the names of classes tell rows apart, with nothing trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zoo.data.types import Dataset, ReadOptions, Task
from zoo.errors import UnknownNameError
from zoo.models.backbone import Backbone
from zoo.records.plain import json_safe
from zoo.transfer.metrics import ClassRow
from zoo.transfer.scores import RowScores
from zoo.verbs.extract import extract
from zoo.verbs.spaces import Naming, name_classes, open_beside, rows_of


@dataclass(frozen=True)
class ZeroShot:
    """Metrics of class names on rows that nothing was learned from."""

    backbone: str
    data: str
    split: str
    modality: str
    """What of each row was compared with the class names."""
    rows: int
    task: Task
    prompts: tuple[tuple[str, ...], ...]
    """What was written of each class."""
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]]
    """95% intervals of the main metrics, by bootstrap; without those of which the rows tell none."""
    per_class: tuple[ClassRow, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    """True class by predicted class."""

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints."""
        return {
            "backbone": self.backbone,
            "data": self.data,
            "split": self.split,
            "modality": self.modality,
            "rows": self.rows,
            "task": self.task.kind,
            "classes": list(self.task.classes),
            "prompts": {name: list(each) for name, each in zip(self.task.classes, self.prompts, strict=True)},
            "metrics": dict(self.metrics),
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "per_class": [asdict(row) for row in self.per_class],
            "confusion": self.confusion,
        }


def zero_shot(
    backbone: str | Backbone,
    data: str | Path | Dataset,
    *,
    templates: str | Sequence[str] = (),
    names: Mapping[str, str] | str | Path | None = None,
    split: str | None = None,
    device: str = "auto",
    weights: str | None = None,
    read: ReadOptions | None = None,
    offline: bool = False,
    progress: Callable[[int], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> ZeroShot:
    """Tell rows apart by the names of their classes, with nothing trained.

    Each class is the mean of the embeddings of its prompts, each row has the class with the greatest cosine (Radford
    et al. 2021, https://arxiv.org/abs/2103.00020, section 3.1.4). Of an encoder with a sigmoid loss too: its bias
    moves every class alike.

    Args:
        backbone: a dual encoder such as "open_clip/ViT-B-32", or a finished run that kept both towers; with `:text`
            the texts of the rows are classified instead of their images.
        data: a folder, a table, the name of a data set, or a `Dataset`.
        templates: with `{}` where the name goes, or the name of a set ("photo", "name"); those for photos if empty.
        names: how a class is spoken of, by label, or a file: JSON, or a name a line in the order of the classes.
        split: test if there is one, else val.
        device: auto, cpu, cuda or cuda:1.
        weights: a tag, "random" or a file.
        read: how to read the data.
        offline: never touch the network.
        progress: called with the number of rows done since the last call.
        say: called with a sentence for each thing that was chosen.

    Raises:
        UsageError: a backbone without a text space, or a task without classes to choose from.
        DataError: bad data, or names that do not fit the classes.
    """
    space, data = open_beside(backbone, data, read=read, weights=weights, offline=offline, say=say)
    split = split or data.held_out
    if split not in data.splits:
        raise UnknownNameError("split", split, data.splits, help=f"the splits are {', '.join(data.splits)}")
    modality = space.modality(data)
    texts = name_classes(space.both, data.task, Naming.of(templates, names), device=device)
    rows = rows_of(data.splits[split], modality)
    found = extract(space.both.tower(modality), rows, device=device, progress=progress).features
    assert rows.targets is not None
    scores = RowScores(data.task, texts.probabilities(found), rows.targets)
    table = scores.confusion()
    return ZeroShot(
        backbone=space.both.name,
        data=data.name,
        split=split,
        modality=modality,
        rows=len(rows),
        task=data.task,
        prompts=texts.prompts,
        metrics=json_safe(scores.metrics()),
        intervals=scores.intervals(),
        per_class=scores.per_class(),
        confusion=None if table is None else tuple(tuple(int(n) for n in row) for row in table),
    )
