"""A head learned from one modality and tested on another, in the space that a dual encoder gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.spec import Modality
from zoo.comparison.gap import modality_gap
from zoo.data.types import MANY_ANSWERS, Dataset, ReadOptions, Task
from zoo.errors import UnknownNameError, UsageError
from zoo.models.backbone import Backbone
from zoo.transfer.metrics import bootstrap, measure, primary
from zoo.transfer.probe import predict, solve
from zoo.transfer.zeroshot import ANSWERED, Array, unit
from zoo.verbs.extract import extract
from zoo.verbs.spaces import Naming, Space, embed_texts, open_beside, rows_of

CENTRES = ("nothing", "modality")
NAMES = "names"
SOURCES = ("image", "text", "image+text")
"""What is trained on where nothing is said."""


@dataclass(frozen=True)
class Crossed:
    """One head: what it learned from, and what it was tested on."""

    train: str
    """Such as "image", "text", "image+text" or "image+names"."""
    test: Modality
    rows: int
    """That it learned from; an image and its text are two."""
    metrics: Mapping[str, float | None]
    interval: tuple[float, float] | None
    """95% of the main metric, by bootstrap over the held-out rows."""


@dataclass(frozen=True)
class CrossModal:
    """Heads on the same rows, learned from and tested on each modality."""

    backbone: str
    data: str
    split: str
    rows: Mapping[str, int]
    task: Task
    metric: str
    centre: str
    results: tuple[Crossed, ...]
    gap: float | None = None
    """How far apart the held-out images and texts lie: distance of their centres; None where one is missing."""

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints."""
        return {
            "backbone": self.backbone,
            "data": self.data,
            "split": self.split,
            "rows": dict(self.rows),
            "task": self.task.kind,
            "classes": list(self.task.classes),
            "metric": self.metric,
            "centre": self.centre,
            "gap": self.gap,
            "results": [
                {
                    "train": each.train,
                    "test": each.test,
                    "rows": each.rows,
                    "metrics": dict(each.metrics),
                    "interval": None if each.interval is None else list(each.interval),
                }
                for each in self.results
            ],
        }


def cross_modal(
    backbone: str | Backbone,
    data: str | Path | Dataset,
    *,
    train: Sequence[str] = SOURCES,
    test: Sequence[Modality] = ("image", "text"),
    templates: str | Sequence[str] = (),
    names: Mapping[str, str] | str | Path | None = None,
    centre: str = "nothing",
    seed: int = 0,
    device: str = "auto",
    weights: str | None = None,
    read: ReadOptions | None = None,
    offline: bool = False,
    progress: Callable[[int], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> CrossModal:
    """Learn a linear head from embeddings of one modality, or of several as so many more rows, and test it on each.

    Lin et al. 2023, "Multimodality Helps Unimodality", https://arxiv.org/abs/2301.06267: in a shared space a text is
    one more example of its class. Embeddings have length one; the head is solved as the linear probe is.

    Args:
        backbone: a dual encoder, or a finished run that kept both towers.
        data: with an image and a text a row; images alone will do for `train` of "image" and "names".
        train: sources, each "image", "text", "names" (of the classes), or some of them joined by "+".
        test: modalities of the held-out rows.
        templates: of the class names, as in `zero_shot`.
        names: how a class is spoken of, as in `zero_shot`.
        centre: "modality" takes the mean of its training rows off each modality, which lie apart in the space (Liang et
            al. 2022, https://arxiv.org/abs/2203.02053).
        seed: of the splits and folds.
        device: auto, cpu, cuda or cuda:1.
        weights: a tag, "random" or a file.
        read: how to read the data; `shots` keeps few rows a class.
        offline: never touch the network.
        progress: called with the number of rows done since the last call.
        say: called with a sentence for each thing that was chosen.

    Raises:
        UsageError: a backbone without a text space, a source that is none, or a task that no linear head answers.
        DataError: bad data.
    """
    if centre not in CENTRES:
        raise UnknownNameError("centre", centre, CENTRES, help=f"use {' or '.join(CENTRES)}")
    read = read or ReadOptions(seed=seed)
    space, data = open_beside(backbone, data, read=read, weights=weights, offline=offline, say=say)
    _check(data, train, test)
    held, task = data.splits[data.held_out], data.task
    made = _Embeddings(space, data, Naming.of(templates, names), centre, device, progress)
    metric, results = primary(task), []
    for source in train:
        features, targets = made.learned(source)
        solution = solve(features, targets, task, seed=seed)
        for modality in test:
            found = predict(solution, task, made.held(modality))
            assert held.targets is not None
            metrics = measure(task, found, held.targets)
            interval = bootstrap(task, found, held.targets, metric)
            results.append(Crossed(source, modality, len(targets), metrics, interval))
    return CrossModal(
        backbone=space.both.name,
        data=data.name,
        split=data.held_out,
        rows={split: len(examples) for split, examples in data.splits.items()},
        task=task,
        metric=metric,
        centre=centre,
        results=tuple(results),
        gap=made.gap(),
    )


class _Embeddings:
    """Of rows and class names, each of length one, each computed when it is first asked for."""

    def __init__(
        self,
        space: Space,
        data: Dataset,
        naming: Naming,
        centre: str,
        device: str,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.space, self.data, self.naming = space, data, naming
        self.centre, self.device, self.progress = centre, device, progress
        self.found: dict[tuple[str, str], Array] = {}

    def learned(self, source: str) -> tuple[Array, NDArray[Any]]:
        """Features and targets of a source such as "image+names"."""
        parts = [self._named() if part == NAMES else self._rows(part) for part in source.split("+")]
        return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])

    def held(self, modality: str) -> Array:
        """(N, E) of the held-out rows."""
        return self._of(self.data.held_out, modality) - self._centre(modality)

    def gap(self) -> float | None:
        """Between held-out images and texts, where there are both."""
        if not {"image", "text"} <= set(self.data.modalities):
            return None
        return modality_gap(self._of(self.data.held_out, "image"), self._of(self.data.held_out, "text"))

    def _rows(self, modality: str) -> tuple[Array, NDArray[Any]]:
        targets = self.data.splits["train"].targets
        assert targets is not None
        return self._of("train", modality) - self._centre(modality), targets

    def _named(self) -> tuple[Array, NDArray[Any]]:
        prompts = self.naming.prompts(self.data.task)
        texts = [each for of_class in prompts for each in of_class]
        found = unit(embed_texts(self.space.both.tower("text"), texts, device=self.device))
        # Names lie where texts lie; where there are none, what names have in common is all that can be taken off.
        middle = self._centre("text") if "text" in self.data.modalities else self._middle(found)
        return found - middle, np.repeat(np.arange(len(prompts)), len(prompts[0]))

    def _of(self, split: str, modality: str) -> Array:
        if (split, modality) not in self.found:
            tower = self.space.both.tower("image" if modality == "image" else "text")
            rows = rows_of(self.data.splits[split], "image" if modality == "image" else "text")
            found = extract(tower, rows, device=self.device, progress=self.progress).features
            self.found[split, modality] = unit(found)
        return self.found[split, modality]

    def _centre(self, modality: str) -> Array:
        return self._middle(self._of("train", modality)) if self.centre == "modality" else np.zeros(1, np.float32)

    def _middle(self, found: Array) -> Array:
        return found.mean(0) if self.centre == "modality" else np.zeros(1, np.float32)


def _check(data: Dataset, train: Sequence[str], test: Sequence[str]) -> None:
    if data.task.kind in MANY_ANSWERS:
        raise UsageError(f"a linear head does not answer a {data.task.kind} task", help="use data with a label a row")
    for source in train:
        for part in source.split("+"):
            if part not in ("image", "text", NAMES):
                raise UnknownNameError("source", part, ("image", "text", NAMES), help="join several as in image+names")
    if NAMES in "+".join(train).split("+") and data.task.kind not in ANSWERED:
        raise UsageError(f"the classes of a {data.task.kind} task are no examples", help="leave names out of --train")
    for part in {each for source in train for each in source.split("+")} | set(test):
        if part not in (*data.modalities, NAMES):
            raise UsageError(
                f"{part} rows are asked for, and {data.name} has {' and '.join(data.modalities)}",
                help=f"name the column with --{part}-col, or give --train and --test without {part}",
            )
