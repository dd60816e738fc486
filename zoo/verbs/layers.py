"""Which layer: the scores of every stage of a backbone, from one pass over the rows."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.catalog.spec import ScorerSpec
from zoo.data.batches import Loader
from zoo.data.types import Dataset, Examples, ReadOptions, Task
from zoo.errors import DataError, UsageError, ZooError
from zoo.models.backbone import Backbone
from zoo.records.plain import json_safe
from zoo.scoring.order import ORDERING, Scored, places, scored
from zoo.transfer.devices import choose_device
from zoo.transfer.stage_outputs import averaged
from zoo.verbs.candidates import Filters, named, suiting
from zoo.verbs.extract import parts_of
from zoo.verbs.rank import ROWS, check_names, check_numbers, dataset_for, looked_at, scorers_for
from zoo.verbs.run import Event, Watch
from zoo.verbs.scoring import Job, as_scored, balanced, said

POOLED, MEAN = "pooled", "mean of layers"
BATCH = 16
"""Rows at once, as extraction has them on a CPU."""


@dataclass(frozen=True)
class Layer:
    """What the output of one stage is worth."""

    name: str
    """Of the stage; `POOLED` for the backbone's own features, `MEAN` for the mean of all stages of one width."""
    dim: int
    place: int
    """1 + how many of the others are above it beyond what a draw of rows does."""
    scores: Mapping[str, Scored]


@dataclass(frozen=True)
class Profile:
    """What `zoo rank --layers` found: the stages of each backbone, stem to top."""

    data: str
    task: Task
    rows: int
    scorers: tuple[str, ...]
    by: tuple[str, ...]
    backbones: Mapping[str, tuple[Layer, ...]]
    failures: Mapping[str, str]
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[str, ...]:
        """Which layer of each backbone is best, in sentences."""
        found = []
        for name, layers in self.backbones.items():
            best = max(layers, key=lambda each: (-each.place, _worth(each, self.by)))
            ties = [each.name for each in layers if each.place == 1 and each is not best]
            tied = f"; {len(ties)} others cannot be told from it" if len(ties) > 3 else ""
            if ties and not tied:
                tied = f"; {' and '.join(ties)} cannot be told from it"
            found.append(f"{name}: {best.name} is best{tied}")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints."""
        plain: dict[str, Any] = json_safe(
            {
                "data": self.data,
                "task": self.task.kind,
                "rows": self.rows,
                "scorers": list(self.scorers),
                "by": list(self.by),
                "backbones": {
                    name: [
                        {
                            "layer": each.name,
                            "dim": each.dim,
                            "place": each.place,
                            "scores": {
                                score: {"value": of.value, "interval": list(of.interval) if of.interval else None}
                                for score, of in each.scores.items()
                            },
                        }
                        for each in layers
                    ]
                    for name, layers in self.backbones.items()
                },
                "findings": list(self.findings),
                "failures": dict(self.failures),
                "notes": list(self.notes),
                "seconds": round(self.seconds, 3),
            }
        )
        return plain

    def to_csv(self) -> str:
        """A line a layer."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        columns = [column for name in self.scorers for column in (name, f"{name}_low", f"{name}_high")]
        writer.writerow(["backbone", "layer", "dim", "place", *columns])
        for backbone, layers in self.backbones.items():
            for each in layers:
                found = [each.scores.get(name) for name in self.scorers]
                cells = [(s.value, *(s.interval or (None, None))) if s else (None, None, None) for s in found]
                line = [backbone, each.name, each.dim, each.place]
                writer.writerow([*line, *(value for three in cells for value in three)])
        return out.getvalue()


def rank_layers(
    data: str | Path | Dataset,
    backbones: Sequence[str] = (),
    *,
    filters: Filters | None = None,
    scorers: Sequence[str] | None = None,
    limit: int = ROWS,
    device: str = "auto",
    seed: int = 0,
    read: ReadOptions | None = None,
    offline: bool = False,
    watch: Watch | None = None,
) -> Profile:
    """Score the output of every stage, averaged over its positions, the mean of all of them, and the pooled features.

    Training rows alone are looked at. Options are those of `rank`.

    Raises:
        DataError, UsageError: bad input, each with its mend. A backbone that fails is in `Profile.failures`.

    Reference: Garbas et al. 2024, "TransformerRanker", https://arxiv.org/abs/2409.05997 (the mean of layers)
    """
    started = time.perf_counter()
    filters, watch = filters or Filters(), watch or (lambda event: None)
    check_numbers(limit, 0, "1m", filters)
    check_names(device, None)
    chosen = named(backbones, filters, offline=offline)
    dataset = dataset_for(data, chosen, read)
    specs = [spec for spec in scorers_for(scorers, dataset.task) if spec.needs == "features"]
    if not specs:
        raise UsageError("a layer has no source head to ask", help="use knn, linear or logme")
    chosen = chosen if backbones else suiting(dataset, filters)
    rows, notes = looked_at(dataset, limit, seed)
    for note in (*dataset.notes, *notes):
        watch(Event(note=f"note: {note}"))
    job = Job(dataset.task, rows, tuple(specs), None, device, seed, offline, watch, filters.max_ms)
    by = tuple(name for name in ORDERING if name in {spec.name for spec in specs}) or tuple(s.name for s in specs)
    found: dict[str, tuple[Layer, ...]] = {}
    failures: dict[str, str] = {}
    for candidate in chosen:
        try:
            backbone, own = job.opened(candidate)
            doing = f"layers of {candidate.title}"
            outputs = stage_means(
                backbone,
                own,
                device=choose_device(device),
                progress=lambda done, doing=doing: watch(Event(doing=doing, done=done, total=len(rows))),  # type: ignore[misc]
            )
            found[candidate.name] = _layers(outputs, as_scored(job.task, own.targets), specs, by, seed)
        except Exception as error:
            if len(chosen) == 1 and isinstance(error, ZooError):
                raise
            failures[candidate.name] = said(error)
            watch(Event(note=f"{candidate.name}: left out: {failures[candidate.name]}"))
    if not found:
        raise UsageError(
            "no candidate could be scored",
            details=[f"{name}: {why}" for name, why in failures.items()],
            help="name a backbone that takes these data: zoo rank DATA torchvision/resnet18 --layers",
        )
    return Profile(
        dataset.name,
        dataset.task,
        len(rows),
        tuple(spec.name for spec in specs),
        by,
        found,
        failures,
        time.perf_counter() - started,
        (*dataset.notes, *notes),
    )


def stage_means(
    backbone: Backbone,
    rows: Examples,
    *,
    device: torch.device,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, NDArray[np.float32]]:
    """(N, C) mean output of each stage that has one output a row, the mean of those of one width, and pooled features.

    Stages that run side by side, as those of `a+b`, have a mean each.
    Padding does not count. The backbone is left in evaluation mode.
    """
    loader = Loader(rows, {m: backbone.processor(m) for m in backbone.modalities}, batch_size=BATCH)
    backbone = backbone.to(device).eval()
    found: dict[str, NDArray[np.float32]] = {}
    whole: set[str] = set()
    with torch.inference_mode():
        for batch in loader.epoch(0):
            batch = batch.to(device)
            with _watched(backbone) as seen:
                features = backbone(batch.inputs)
            values = {name: averaged(output, features.mask) for name, output in seen.items()} | {
                POOLED: features.pooled
            }
            index = batch.rows.numpy()
            for name, value in values.items():
                if value.ndim != 2 or len(value) != len(index):
                    whole.add(name)  # as that of a pair of texts: it has no row for each row
                    continue
                array = found.setdefault(name, np.zeros((len(rows), value.shape[1]), dtype=np.float32))
                array[index] = value.float().cpu().numpy()
            progress(len(index))
    stages = [stage for stage in backbone.stages() if stage.name in found and stage.name not in whole]
    ordered = {stage.name: found[stage.name] for stage in stages}
    branches = dict.fromkeys(stage.branch for stage in stages)
    for branch in branches:  # image and text side by side have no mean
        own = [found[stage.name] for stage in stages if stage.branch == branch]
        widths = [each.shape[1] for each in own]
        usual = max(set(widths), key=widths.count)
        if widths.count(usual) > 1:
            name = MEAN if len(branches) == 1 else f"{MEAN} of {branch}"
            ordered[name] = np.mean([each for each in own if each.shape[1] == usual], axis=0, dtype=np.float32)
    return {**ordered, POOLED: balanced(found[POOLED], [part.columns for part in parts_of(backbone)])}


@contextmanager
def _watched(backbone: Backbone) -> Iterator[dict[str, Tensor]]:
    """What each stage gives, of whatever runs inside."""
    seen: dict[str, Tensor] = {}
    handles = []

    def keep(name: str) -> Callable[[Any, Any, Any], None]:
        def note(_module: Any, _inputs: Any, output: Any) -> None:
            value = output[0] if isinstance(output, tuple | list) and output else output
            value = getattr(value, "last_hidden_state", value)
            if isinstance(value, Tensor) and value.is_floating_point():
                seen[name] = value

        return note

    for stage in backbone.stages():
        if stage.modules:
            handles.append(stage.modules[-1].register_forward_hook(keep(stage.name)))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _layers(
    outputs: Mapping[str, NDArray[np.float32]],
    targets: NDArray[Any],
    specs: Sequence[ScorerSpec],
    by: Sequence[str],
    seed: int,
) -> tuple[Layer, ...]:
    names, scores = [], []
    for name, features in outputs.items():
        try:
            scores.append({spec.name: scored(spec, features, targets, seed=seed) for spec in specs})
        except DataError:  # a stage whose mean is the same for every row, as positions alone are
            continue
        names.append(name)
    if not names:
        raise DataError("no stage tells any two rows apart")
    place, _ = places(scores, by)
    return tuple(Layer(name, outputs[name].shape[1], place[index], scores[index]) for index, name in enumerate(names))


def _worth(layer: Layer, by: Sequence[str]) -> float:
    return float(np.mean([layer.scores[name].value for name in by]))
