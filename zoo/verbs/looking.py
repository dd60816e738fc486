"""A look at data, backbone and machine before a strategy is chosen: cheap probes, and seconds of a few real steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.catalog.spec import Modality
from zoo.data.augment import recipe
from zoo.data.batches import Loader
from zoo.data.types import Examples, Task
from zoo.models.backbone import Backbone, Processor
from zoo.models.composed import branches_of, is_pretrained
from zoo.models.fusion import Fused
from zoo.transfer.devices import choose_device
from zoo.transfer.evidence import Costs, Evidence, Probed, StageSeen
from zoo.transfer.freezing import frozen_stages
from zoo.transfer.metrics import greater_is_better, measure_one, primary
from zoo.transfer.probe import ProbeSolution, predict, solve
from zoo.transfer.strategies import rows_of
from zoo.transfer.timing import STEPS, TimedPass, TimedSteps, timed_pass, timed_steps
from zoo.transfer.trained import task_processors
from zoo.verbs.fitting import shown_rows
from zoo.verbs.opening import Opened
from zoo.verbs.run import Event

SAMPLE, TIMED = 512, 4
"""Training rows that are put in order of their length, and of how many batches one is timed and probed."""
BATCH = 16
"""Rows at once in a frozen pass, as extraction has them on a CPU."""
SOLVED = 1_000
"""Training rows, at most, on which the probe is cross-validated."""


def look(opened: Opened, started: float) -> Evidence:
    """Evidence from the training rows; the backbone and the caller's random state are left as they were.

    Args:
        opened: data, backbone and choices; the strategy is open, and features are at hand where the head is solved.
        started: of the whole job, by `time.monotonic`.
    """
    import sklearn.linear_model  # noqa: F401  (a probe takes this second too, so it is no part of the look)

    opening = time.monotonic() - started
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(opened.training.seed)
        return _Look(opened, opening).seen()


class _Look:
    def __init__(self, opened: Opened, opening: float) -> None:
        self.opened = opened
        self.opening = opening
        self.backbone = opened.backbone
        self.task = opened.data.task
        self.training = opened.training
        self.train = opened.data.splits["train"]
        self.held = opened.data.splits[opened.data.held_out]
        self.device = choose_device(opened.training.device)

    def seen(self) -> Evidence:
        task, training, rows = self.task, self.training, len(self.train)
        assert training.optimizer is not None
        assert training.epochs is not None
        assert training.batch_size is not None
        self.opened.watch(Event(note="looking at the data and at this machine, to choose a strategy"))
        solvable = training.head == "linear"
        began = time.monotonic()
        sample = self._sample()
        timed = timed_pass(self.backbone, sample, self._processors(), self.device, batch_size=BATCH)
        steps = self._steps(timed)
        scores = _stage_scores(timed.outputs, sample, task, training.seed) if solvable else {}
        looking = time.monotonic() - began
        probed, solving = None, 0.0
        if solvable:
            assert self.opened.known is not None
            count = len(self.train)
            features = self.opened.known.all(
                lambda done: self.opened.watch(Event(doing="extracting", done=done, total=count))
            )
            began = time.monotonic()
            probed, solving = self._probed(features)
            looking += time.monotonic() - began
        open_views = training.replay == "auto" and training.views is None
        return Evidence(
            rows=rows,
            classes=max(len(task.classes), 1) if task.kind != "multilabel" else 1,
            dim=timed.features.pooled.shape[1],
            params=sum(p.numel() for p in self.backbone.parameters()),
            pretrained=is_pretrained(self.backbone),
            solvable=solvable,
            optimizer=training.optimizer,
            epochs=training.epochs,
            batch_size=training.batch_size,
            shown=shown_rows(rows, len(self.held)) / max(len(self.held), 1),
            replays=training.replay == "auto" and not self._draws(),
            augmented=tuple(sorted(branches_of(self.backbone, "image"))) if open_views and self._draws() else (),
            costs=Costs(
                opening=self.opening,
                looking=looking,
                extracting=timed.seconds * rows,
                measuring=timed.seconds * len(self.held),
                solving=solving,
                reading=max(timed.seconds - timed.forward, 0.0) * rows,
                forward=steps.forward * rows,
                backward=steps.backward * rows,
                update=steps.update * rows,
            ),
            probe=probed,
            stages=_stages(self.backbone, timed, scores),
            frozen=tuple(sorted(frozen_stages(training.freeze, rows_of(self.backbone.stages())))),
        )

    def _draws(self) -> bool:
        """Whether inputs are augmented by chance."""
        return "image" in self.backbone.modalities and recipe(self.training.augment or "none") != recipe("none")

    def _processors(self) -> dict[Modality, Processor]:
        return task_processors(self.backbone, self.task)

    def _texts(self) -> dict[Modality, Processor]:
        """What tells the length of a row."""
        return {modality: each for modality, each in self._processors().items() if modality == "text"}

    def _sample(self) -> Examples:
        """A part of the training rows in whole batches, of every length as the training rows are."""
        rng = np.random.default_rng(self.training.seed)
        rows = rng.permutation(len(self.train))[:SAMPLE]
        batches = Loader(self.train.select(rows), self._texts(), batch_size=BATCH).order(0)
        whole = [batch for batch in batches if len(batch) == BATCH] or batches
        return self.train.select(rows[np.sort(np.concatenate(whole[TIMED // 2 :: TIMED] or whole[:1]))])

    def _steps(self, timed: TimedPass) -> TimedSteps:
        """Of training batches of every length."""
        training = self.training
        rng = np.random.default_rng(training.seed)
        rows = rng.permutation(len(self.train))[:SAMPLE]
        assert training.batch_size is not None
        size = min(training.batch_size, len(rows))
        batches = [
            b for b in Loader(self.train.select(rows), self._texts(), batch_size=size).order(0) if len(b) == size
        ]
        spread = [batches[int((number + 0.5) / STEPS * len(batches))] for number in range(STEPS)]
        chosen = self.train.select(rows[np.concatenate(spread)])
        loader = Loader(
            replace(chosen, targets=None),
            self._processors(),
            batch_size=size,
            train=True,
            seed=training.seed,
            augment=recipe(training.augment or "none"),
        )
        return timed_steps(self.backbone, self.task, timed.features, loader, training, self.device)

    def _probed(self, features: NDArray[np.float32]) -> tuple[Probed | None, float]:
        """A cross-validated probe on some of the training rows, and the seconds that one on all of them takes."""
        targets = self.train.targets
        assert targets is not None
        rows = np.random.default_rng(self.training.seed).permutation(len(targets))[:SOLVED]
        began = time.monotonic()
        solution = solve(features[rows], targets[rows], self.task, seed=self.training.seed)
        solving = (time.monotonic() - began) * len(targets) / len(rows)
        if len(rows) < 16:
            return None, solving
        return _cross_validated(features[rows], targets[rows], self.task, solution, self.training.seed), solving


def _normalised(backbone: Backbone) -> set[str]:
    """The stages of those backbones in it that have normalisation of any kind."""
    if isinstance(backbone, Fused):
        return {f"{index}.{name}" for index, part in enumerate(backbone.each) for name in _normalised(part)}
    found = any("norm" in type(module).__name__.lower() for module in backbone.modules())
    return {stage.name for stage in backbone.stages()} if found else set()


def _cross_validated(
    features: NDArray[np.float32], targets: NDArray[Any], task: Task, known: ProbeSolution, seed: int
) -> Probed:
    """Four folds of the rows, each against the others, and against half of the others, all with a known penalty."""
    folds = np.arange(len(targets)) % 4
    folds = np.random.default_rng(seed).permutation(folds)
    metric = primary(task)
    whole, half, floor, loss = [], [], [], []
    strength = (known.C, known.length)
    for fold in range(4):
        held, kept = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        whole.append(_one(features, targets, task, strength, kept, held, metric))
        half.append(_one(features, targets, task, strength, kept[::2], held, metric))
        floor.append(_floor(targets, task, kept, held, metric))
        if task.kind in ("binary", "multiclass"):
            loss.append(_one(features, targets, task, strength, kept, held, "log_loss"))
    score = _mean_of(whole)
    return Probed(
        metric,
        score if score is not None else 0.0,
        _mean_of(half),
        _mean_of(floor) or 0.0,
        _mean_of(loss),
    )


def _one(
    x: NDArray[np.float32],
    y: NDArray[Any],
    task: Task,
    strength: tuple[float, float],
    kept: Any,
    held: Any,
    metric: str,
) -> float | None:
    """A metric of held rows, by a probe with this penalty and length of weights."""
    if task.kind in ("binary", "multiclass") and len(np.unique(y[kept])) < 2:
        return None
    solution = solve(x[kept], y[kept], task, grid=strength[:1], length=strength[1])
    return measure_one(task, metric, predict(solution, task, x[held]), y[held])


def _floor(targets: NDArray[Any], task: Task, kept: Any, held: Any, metric: str) -> float | None:
    """Of the mean answer of the training rows."""
    if task.kind in ("binary", "multiclass"):
        shares = np.bincount(targets[kept].astype(int), minlength=max(len(task.classes), 2))
        answer: NDArray[Any] = shares / shares.sum()
    else:
        answer = np.asarray(targets[kept], dtype=np.float64).mean(0)
    said = np.tile(np.atleast_1d(answer), (len(held), 1)).astype(np.float32)
    return measure_one(task, metric, said, targets[held])


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None


def _stage_scores(outputs: dict[str, NDArray[np.float32]], sample: Examples, task: Task, seed: int) -> dict[str, float]:
    """A cross-validated probe on the mean output of each stage; coarse, for it sees the sample alone."""
    targets = sample.targets
    if targets is None or len(targets) < 32 or task.kind not in ("binary", "multiclass", "regression"):
        return {}
    found = {}
    metric = primary(task)
    half = np.random.default_rng(seed).permutation(len(targets))
    first, second = np.sort(half[::2]), np.sort(half[1::2])
    for name, features in outputs.items():
        scores = [
            _one(features, targets, task, (0.1, 1.0), *pair, metric) for pair in ((first, second), (second, first))
        ]
        mean = _mean_of(scores)
        if mean is not None and greater_is_better(metric):
            found[name] = mean
    return found


def _stages(backbone: Backbone, timed: TimedPass, scores: dict[str, float]) -> tuple[StageSeen, ...]:
    stages = backbone.stages()
    sizes = {stage.name: sum(p.numel() for p in stage.parameters()) for stage in stages}
    total, whole = sum(timed.times.values()), max(sum(sizes.values()), 1)
    normalised = _normalised(backbone)
    return tuple(
        StageSeen(
            stage.name,
            stage.branch,
            time=timed.times.get(stage.name, 0.0) / total if total else sizes[stage.name] / whole,
            params=sizes[stage.name] / whole,
            score=scores.get(stage.name),
            normalised=stage.name in normalised,
        )
        for stage in stages
    )
