"""Outcomes as tables: where each contender stands, and how far every two are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.comparison.ranks import ranks
from zoo.comparison.result import Apart, Cost, Data, Shots, Standing
from zoo.comparison.scores import Scored, scored
from zoo.comparison.statistics import Paired, apart, estimate, holm
from zoo.comparison.work import Entry, Facts, Outcome
from zoo.data.types import Dataset
from zoo.transfer.metrics import greater_is_better, measure, measure_one, primary, shown

Array = NDArray[Any]
SURE = 0.05
"""Below this, after Holm's correction, two contenders are told apart."""


@dataclass(frozen=True)
class Cell:
    """A contender on one data set after so many rows: an outcome for each seed."""

    entry: Entry
    shots: Shots
    outcomes: tuple[Outcome, ...]
    facts: Facts | None

    @property
    def predictions(self) -> tuple[Array, ...]:
        """(N, K) of each seed."""
        return tuple(each.predictions for each in self.outcomes)


@dataclass(frozen=True)
class Board:
    """One data set with everything that was measured on it."""

    title: str
    """Of the data set."""
    data: Dataset
    cells: tuple[Cell, ...]

    @property
    def targets(self) -> Array:
        """Of the held-out rows."""
        found = self.data.splits[self.data.held_out].targets
        assert found is not None
        return found

    @property
    def most(self) -> Shots | None:
        """The most rows that anything was trained on."""
        found = dict.fromkeys(cell.shots for cell in self.cells)
        return max(found, key=lambda each: np.inf if each == "all" else float(each), default=None)

    def at(self, shots: Shots | None) -> tuple[Cell, ...]:
        """The cells after so many rows."""
        return tuple(cell for cell in self.cells if cell.shots == shots)

    def of(self, title: str) -> Cell | None:
        """The cell of a contender after the most rows."""
        return next((cell for cell in self.at(self.most) if cell.entry.title == title), None)

    def value(self, cell: Cell, metric: str) -> float | None:
        """Mean over the seeds."""
        return _mean([measure_one(self.data.task, metric, each, self.targets) for each in cell.predictions])

    @property
    def contenders(self) -> tuple[Cell, ...]:
        """Those after the most rows that are no floors."""
        return tuple(cell for cell in self.at(self.most) if cell.entry.floor_of is None)


def data_of(board: Board) -> Data:
    """What is said of the data set."""
    data, metric = board.data, primary(board.data.task)
    return Data(
        name=board.title,
        task=data.task.kind,
        classes=data.task.classes,
        rows={split: len(examples) for split, examples in data.splits.items()},
        modalities=data.modalities,
        held_out=data.held_out,
        metric=metric,
        trivial=_finite(measure_one(data.task, metric, trivial(data), board.targets)),
        fingerprint=data.fingerprint,
        notes=data.notes,
        source=data.name,
    )


def trivial(data: Dataset) -> Array:
    """(N, K) the same answer for every held-out row: the share of each class or label, or the mean, of the training
    rows."""
    train, count = data.splits["train"].targets, len(data.splits[data.held_out])
    assert train is not None
    if data.task.kind in ("binary", "multiclass"):
        columns = 2 if data.task.kind == "binary" else data.task.num_outputs
        always = np.bincount(train, minlength=columns) / len(train)
    else:
        always = train.mean(0)
    return np.repeat(np.asarray(always, dtype=np.float32)[None], count, 0)


class Pairs:
    """Differences of the main metric, each contender measured once however many pairs it stands in."""

    def __init__(self, board: Board) -> None:
        self.board, self.known = board, dict[tuple[str, Shots, int], Scored]()

    def apart(self, one: Cell, other: Cell) -> Paired | None:
        """`one` less `other`; a head that is the same for every seed counts for each seed of the other."""
        seeds = max(len(one.outcomes), len(other.outcomes))
        return apart(self.scored(one, seeds), self.scored(other, seeds))

    def scored(self, cell: Cell, seeds: int) -> Scored:
        """Of so many seeds."""
        key = cell.entry.title, cell.shots, seeds
        if key not in self.known:
            task = self.board.data.task
            found = cell.predictions if len(cell.outcomes) == seeds else cell.predictions[:1] * seeds
            self.known[key] = scored(task, primary(task), found, self.board.targets)
        return self.known[key]


def standings(board: Board, apart: Sequence[Apart]) -> tuple[Standing, ...]:
    """A row for each cell; ranks among the contenders after the most rows."""
    task, targets = board.data.task, board.targets
    metric = primary(task)
    found = []
    ranked = _ranked(board, apart)
    for cell in board.cells:
        estimates = {name: estimate(task, name, cell.predictions, targets) for name in shown(task)}
        every = [measure(task, each, targets) for each in cell.predictions]
        means = {name: _mean([each.get(name) for each in every]) for name in every[0]}
        known = {name: each.interval for name, each in estimates.items() if each.interval is not None}
        found.append(
            Standing(
                contender=cell.entry.title,
                data=board.title,
                shots=cell.shots,
                rows=round(float(np.mean([each.rows for each in cell.outcomes]))),
                values=tuple(_finite(measure_one(task, metric, each, targets)) for each in cell.predictions),
                value=means[metric],
                interval=known.get(metric),
                metrics=means,
                intervals=known,
                rank=ranked.get(cell.entry.title) if cell.shots == board.most else None,
                cost=_cost(cell),
                runs=tuple(each.run for each in cell.outcomes if each.run is not None),
            )
        )
    return tuple(found)


def differences(board: Board) -> tuple[Apart, ...]:
    """Of every pair after the most rows, floors against their contenders too; corrected over the pairs of contenders.

    Floors stand outside of the correction: that pretraining helps is no question among contenders.
    """
    cells, shots, among = board.contenders, board.most, Pairs(board)
    assert shots is not None
    pairs = [(one, other) for place, one in enumerate(cells) for other in cells[place + 1 :]]
    floors = [
        (cell, floor)
        for floor in board.at(shots)
        if floor.entry.floor_of is not None and (cell := board.of(floor.entry.floor_of)) is not None
    ]
    found: list[Apart] = []
    for family in (pairs, floors):
        tested = [(one, other, each) for one, other in family if (each := among.apart(one, other)) is not None]
        adjusted = holm([each.p for _, _, each in tested])
        found += [
            Apart(
                data=board.title,
                shots=shots,
                of=one.entry.title,
                since=other.entry.title,
                value=each.value,
                interval=(each.low, each.high),
                p=each.p,
                adjusted=p,
                test=each.test,
            )
            for (one, other, each), p in zip(tested, adjusted, strict=True)
        ]
    return tuple(found)


def _ranked(board: Board, apart: Sequence[Apart]) -> Mapping[str, int]:
    metric = primary(board.data.task)
    sign = 1 if greater_is_better(metric) else -1
    sure = {(each.of, each.since): sign * each.value for each in apart if each.data == board.title and each.sure}

    def better(one: str, other: str) -> bool:
        return sure.get((one, other), 0.0) > 0 or sure.get((other, one), 0.0) < 0

    values = {cell.entry.title: value for cell in board.contenders if (value := board.value(cell, metric)) is not None}
    return ranks({title: sign * value for title, value in values.items()}, better)


def _cost(cell: Cell) -> Cost:
    rows = float(np.mean([each.rows for each in cell.outcomes]))
    seconds = float(np.mean([each.seconds for each in cell.outcomes]))
    if cell.entry.solved and cell.facts is not None:  # the features of its rows, whether they were cached or not
        seconds += rows * cell.facts.ms_per_row / 1000
    peaks = [each.memory for each in cell.outcomes if each.memory is not None]
    if cell.entry.solved and cell.facts is not None and cell.facts.memory is not None:
        peaks.append(cell.facts.memory)
    return Cost(
        train_seconds=seconds,
        ms_per_row=None if cell.facts is None else cell.facts.ms_per_row,
        peak_memory=max(peaks, default=None),
        trained_params=cell.outcomes[0].trained,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
