"""Learning curves of solved heads: many numbers of training rows, many draws of them, features computed once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import Task
from zoo.errors import UnknownNameError, UsageError
from zoo.transfer.metrics import bootstrap, greater_is_better, measure, measure_one, primary
from zoo.transfer.solvers import check_solvable, decide, solve_head, solved_head

Array = NDArray[Any]
Shots = int | Literal["all"]
ALL: Literal["all"] = "all"
CLASS_SHOTS: tuple[Shots, ...] = (1, 2, 4, 8, 16, ALL)
"""Rows of each class, where there are classes."""
ROW_SHOTS: tuple[Shots, ...] = (16, 64, 256, 1024, ALL)
"""Rows in all, for labels and numbers."""
LEVEL = 0.95
"""Of intervals."""
_UNBOUNDED = ("r2", "pearson", "spearman")
"""Metrics that may lie below 0."""


@dataclass(frozen=True)
class Rows:
    """Features of rows with what is to be said of them."""

    features: NDArray[np.float32]
    """(N, D)."""
    targets: Array
    """As in `Examples`."""
    names: tuple[str, ...]
    """Where each row came from; with the seed they decide which rows are drawn."""

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Point:
    """What one head scored after so many training rows."""

    head: str
    shots: Shots
    """Rows of each class, or rows in all for labels and numbers; "all": every row."""
    rows: int
    """Training rows of a draw."""
    values: tuple[float | None, ...]
    """The metric after each draw; a single one where every row is drawn."""
    mean: float | None
    interval: tuple[float, float] | None
    """95%; None where a single draw or undefined values tell none."""
    interval_of: Literal["draws", "held-out rows"] | None
    """"draws": of the mean, by Student's t over draws of training rows; "held-out rows": by bootstrap over those."""
    seconds: float
    """Of solving, all draws together."""

    def to_json(self) -> dict[str, Any]:
        """The stable keys of a point."""
        return {
            "head": self.head,
            "shots": self.shots,
            "rows": self.rows,
            "values": list(self.values),
            "mean": self.mean,
            "interval": None if self.interval is None else list(self.interval),
            "interval_of": self.interval_of,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Sweep:
    """Learning curves of several heads on the same draws."""

    metric: str
    seeds: tuple[int, ...]
    points: tuple[Point, ...]
    """Head by head, each with the fewest rows first."""
    seconds: float

    def of(self, head: str) -> tuple[Point, ...]:
        """The curve of one head."""
        return tuple(point for point in self.points if point.head == head)

    @property
    def heads(self) -> tuple[str, ...]:
        """In the order in which they were asked for."""
        return tuple(dict.fromkeys(point.head for point in self.points))


def usual_shots(task: Task) -> tuple[Shots, ...]:
    """The numbers of rows where none are asked for."""
    return CLASS_SHOTS if task.kind in ("binary", "multiclass") else ROW_SHOTS


def drawn(names: Sequence[str], targets: Array, task: Task, shots: Shots, seed: int) -> NDArray[np.int64]:
    """Row numbers of a draw: the same for every backbone, and those of fewer shots are among those of more.

    Rows stand in the order of a hash of seed and name, and the first of them are taken: of each class, fewer where it
    has fewer; of all rows for labels and numbers.

    Args:
        names: of the rows.
        targets: as in `Examples`.
        task: what is predicted.
        shots: how many, or "all".
        seed: of the draw.
    """
    if shots == ALL:
        return np.arange(len(names))
    order = sorted(range(len(names)), key=lambda row: (_place(names[row], seed), row))
    if task.kind not in ("binary", "multiclass"):
        return np.sort(np.array(order[:shots], dtype=np.int64))
    taken: dict[int, list[int]] = {}
    for row in order:
        of_class = taken.setdefault(int(targets[row]), [])
        if len(of_class) < shots:
            of_class.append(row)
    return np.sort(np.array([row for rows in taken.values() for row in rows], dtype=np.int64))


def _place(name: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=16).digest()


def possible_shots(wanted: Sequence[Shots], targets: Array, task: Task) -> tuple[Shots, ...]:
    """What there are rows for, fewest first; all rows stand for as many or more.

    Raises:
        UsageError: a number below 1, or none at all.
    """
    if not wanted:
        raise UsageError("no number of shots is given", help="give numbers such as 1,2,4,all")
    for each in wanted:
        if each != ALL and (isinstance(each, bool) or not isinstance(each, int) or each < 1):
            raise UsageError(f"{each!r} shots are no number of rows above 0", help="give numbers such as 1,2,4,all")
    classes = task.kind in ("binary", "multiclass")
    most = int(np.bincount(targets).max()) if classes else len(targets)
    found = sorted({each for each in wanted if each != ALL and each < most})
    return (*found, ALL) if len(found) < len(set(wanted)) else tuple(found)


def check_metric(metric: str, targets: Array, task: Task) -> None:
    """Refuse a metric that the task does not have.

    Args:
        metric: its name.
        targets: of the rows to measure on.
        task: what is predicted.

    Raises:
        UnknownNameError: with those that it has.
    """
    outputs = 2 if task.kind == "binary" else task.num_outputs
    known = measure(task, np.full((len(targets), outputs), 1 / outputs, dtype=np.float32), targets)
    if metric not in known:
        raise UnknownNameError("metric", metric, known, help=f"metrics of {task.kind}: {', '.join(known)}")


def sweep(
    train: Rows,
    held: Rows,
    task: Task,
    *,
    heads: Sequence[str],
    shots: Sequence[Shots],
    seeds: Sequence[int],
    metric: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Sweep:
    """Solve every head on every draw, and measure it on the held-out rows.

    Args:
        train: rows to draw from.
        held: rows to measure on.
        task: what is predicted.
        heads: names of heads that can be solved.
        shots: rows of each class (rows in all for labels and numbers), or "all", which is drawn once.
        seeds: one draw each.
        metric: one of the task's; its main one if None.
        progress: called with 1 after each solve; `solves` of them in all.

    Raises:
        UnknownNameError: no such head or metric.
        UsageError: a head that cannot be solved for this task, no heads, seeds or shots.
    """
    if not heads or not seeds:
        raise UsageError("a sweep needs a head and a seed", help="for example heads linear and knn, and 5 seeds")
    check_solvable(heads, task.kind)
    metric = metric or primary(task)
    check_metric(metric, held.targets, task)
    started = time.perf_counter()
    points = []
    for head in dict.fromkeys(heads):
        for each in possible_shots(shots, train.targets, task):
            points.append(_point(train, held, task, head, each, seeds, metric, progress or (lambda done: None)))
    return Sweep(metric, tuple(seeds), tuple(points), time.perf_counter() - started)


def solves(heads: Sequence[str], shots: Sequence[Shots], seeds: Sequence[int]) -> int:
    """How many heads a sweep over shots that are possible solves."""
    return len(set(heads)) * sum(1 if each == ALL else len(seeds) for each in shots)


def _point(
    train: Rows,
    held: Rows,
    task: Task,
    head: str,
    shots: Shots,
    seeds: Sequence[int],
    metric: str,
    progress: Callable[[int], None],
) -> Point:
    started = time.perf_counter()
    values: list[float | None] = []
    found: NDArray[np.float32] | None = None
    count = 0
    for rows, seed in _draws(train, task, shots, seeds):
        # All rows in their order are not copied.
        whole = np.array_equal(rows, np.arange(len(train.targets)))
        x, y = (train.features, train.targets) if whole else (train.features[rows], train.targets[rows])
        solution = solve_head(head, x, y, task, seed=seed)
        found = decide(solved_head(head, solution, task, x.shape[1]), task, held.features)
        values.append(_finite(measure_one(task, metric, found, held.targets)))
        count = len(rows)
        progress(1)
    seconds = time.perf_counter() - started
    known = [value for value in values if value is not None]
    mean = float(np.mean(known)) if len(known) == len(values) else None
    if shots == ALL:
        assert found is not None
        pair = bootstrap(task, found, held.targets, metric)
        return Point(head, shots, count, tuple(values), mean, pair, "held-out rows" if pair else None, seconds)
    pair = None if mean is None else student(known, metric)
    return Point(head, shots, count, tuple(values), mean, pair, "draws" if pair else None, seconds)


def _draws(train: Rows, task: Task, shots: Shots, seeds: Sequence[int]) -> Iterator[tuple[NDArray[np.int64], int]]:
    for seed in seeds[:1] if shots == ALL else seeds:
        yield drawn(train.names, train.targets, task, shots, seed), seed


def student(values: Sequence[float], metric: str) -> tuple[float, float] | None:
    """95% interval of the mean of draws by Student's t, cut at the ends of the metric's range; None for one draw."""
    from scipy.stats import t

    count = len(values)
    if count < 2:
        return None
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / count**0.5
    half = float(t.ppf(0.5 + LEVEL / 2, count - 1)) * error
    return within_range(metric, mean - half, mean + half)


def within_range(metric: str, low: float, high: float) -> tuple[float, float]:
    """An interval, cut at the ends of the metric's range."""
    name = metric.partition(".")[0]
    return (low if name in _UNBOUNDED else max(low, 0.0)), (min(high, 1.0) if greater_is_better(name) else high)


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
