"""What a metric is over rows drawn anew: by scores of rows or by sums over them, so that no draw is computed alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import Task
from zoo.transfer.metrics import EPSILON, measure_one

Array = NDArray[Any]
Floats = NDArray[np.float64]
DRAWS = 1000
SLOW = 200
"""Draws for metrics that each draw computes anew."""
PROPORTIONS = ("accuracy", "top1", "subset_accuracy")
"""Metrics that count rows."""
_BLOCK = 2_000_000
"""Numbers of draws times rows that are held at a time: 16 MB."""
_VARIES = 1e-12
"""Share of a column's spread below which a draw of it is constant but for rounding."""


@dataclass(frozen=True)
class Scored:
    """One contender's metric, and what tells how it would vary over other rows."""

    metric: str
    values: tuple[float | None, ...]
    """One a seed; None where the rows do not tell it."""
    count: int
    """N, rows."""
    by_row: Floats | None
    """(N, S) scores whose mean over the rows is the metric; None where it is no such mean."""
    draws: Floats | None
    """(draws, S) of the metric over rows drawn with replacement, where it is no such mean. NaN: a draw that does not
    tell it. Those of two contenders are of the same rows."""
    seed: int
    """Of the draws."""

    @property
    def known(self) -> Floats | None:
        """(S,) values; None where one is missing."""
        return None if not self.values or None in self.values else np.array(self.values, dtype=np.float64)

    def drawn(self) -> Floats:
        """(draws, S) of the metric over rows drawn with replacement, the same rows for every contender."""
        if self.draws is not None:
            return self.draws
        assert self.by_row is not None
        return mean_over_draws(self.by_row, self.seed)


def scored(task: Task, metric: str, predictions: Sequence[Array], targets: Array, *, seed: int = 0) -> Scored:
    """Measure a contender's seeds on the same rows.

    Args:
        task: binary, multiclass, multilabel or regression.
        metric: one that `zoo.transfer.metrics.measure` gives for it.
        predictions: one (N, K) array a seed, as `Trained.predict` gives them.
        targets: as in `Examples`.
        seed: of the draws of rows.
    """
    count = len(targets)
    values = measured(task, metric, predictions, targets)
    if not values or None in values:
        return Scored(metric, values, count, None, None, seed)
    rowwise = _ROWS.get((task.kind, metric))
    if rowwise is not None:
        return Scored(metric, values, count, np.stack([rowwise(each, targets) for each in predictions], 1), None, seed)
    draws = np.stack([_drawn(task, metric, each, targets, seed) for each in predictions], 1)
    return Scored(metric, values, count, None, draws, seed)


def measured(task: Task, metric: str, predictions: Sequence[Array], targets: Array) -> tuple[float | None, ...]:
    """The metric of each seed; None where the rows do not tell it."""
    found = (measure_one(task, metric, each, targets) if len(targets) else None for each in predictions)
    return tuple(value if value is not None and np.isfinite(value) else None for value in found)


def mean_over_draws(scores: Floats, seed: int) -> Floats:
    """(draws, ...) means of (N, ...) scores of rows over rows drawn with replacement."""
    return np.concatenate([times @ scores for times in _draws(len(scores), seed)]) / len(scores)


def _drawn(task: Task, metric: str, predictions: Array, targets: Array, seed: int) -> Floats:
    summed = _SUMS.get((task.kind, metric))
    if summed is None:
        return _one_by_one(task, metric, predictions, targets, seed)
    from scipy.sparse import csr_array

    parts, value = summed(predictions, targets)
    columns = csr_array(parts).T.tocsr()  # a row touches two classes of many, so that most of it is 0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.concatenate([value((columns @ times.T).T) for times in _draws(len(targets), seed)])


def _one_by_one(task: Task, metric: str, predictions: Array, targets: Array, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a draw without one of the classes is NaN here
        for _ in range(SLOW):
            rows = rng.integers(0, len(targets), len(targets))
            value = measure_one(task, metric, predictions[rows], targets[rows])
            found.append(np.nan if value is None else value)
    return np.array(found, dtype=np.float64)


def _draws(count: int, seed: int) -> Iterator[Floats]:
    """(draws, N) how often each row is in each draw, in blocks that fit into memory."""
    size = max(1, min(DRAWS, _BLOCK // max(count, 1)))
    for start in range(0, DRAWS, size):
        yield _block(count, min(size, DRAWS - start), seed, start)


@lru_cache(maxsize=4)  # every pair of contenders asks for the same rows
def _block(count: int, size: int, seed: int, start: int) -> Floats:
    rows = np.random.default_rng([seed, start]).integers(0, count, (size, count))
    rows += np.arange(size)[:, None] * count
    times = np.bincount(rows.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
    times.flags.writeable = False
    return times


def _numbers(values: Array) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _right(predictions: Array, targets: Array) -> Floats:
    return _numbers(predictions.argmax(1) == targets)


def _surprise(predictions: Array, targets: Array) -> Floats:
    picked = np.clip(predictions[np.arange(len(targets)), targets], EPSILON, 1)
    return -_numbers(np.log(picked))


def _label_surprise(predictions: Array, targets: Array) -> Floats:
    clipped = np.clip(predictions, EPSILON, 1 - EPSILON)
    return np.asarray(-_numbers(np.where(targets.astype(bool), np.log(clipped), np.log(1 - clipped))).mean(1))


def _top1(predictions: Array, targets: Array) -> Floats:
    return _numbers(targets[np.arange(len(targets)), predictions.argmax(1)])


def _all_labels(predictions: Array, targets: Array) -> Floats:
    return _numbers(((predictions >= 0.5) == targets.astype(bool)).all(1))


def _row_f1(predictions: Array, targets: Array) -> Floats:
    truth, decided = targets.astype(bool), predictions >= 0.5
    said = truth.sum(1) + decided.sum(1)
    return _numbers(2 * (truth & decided).sum(1) / np.maximum(said, 1))


def _distance(predictions: Array, targets: Array) -> Floats:
    return np.asarray(np.abs(_numbers(predictions) - targets).mean(1))


_ROWS: dict[tuple[str, str], Callable[[Array, Array], Floats]] = {
    **{(kind, "accuracy"): _right for kind in ("binary", "multiclass")},
    **{(kind, "log_loss"): _surprise for kind in ("binary", "multiclass")},
    ("multilabel", "log_loss"): _label_surprise,
    ("multilabel", "top1"): _top1,
    ("multilabel", "subset_accuracy"): _all_labels,
    ("multilabel", "samples_f1"): _row_f1,
    ("regression", "mae"): _distance,
}
"""Metrics that are means over the rows."""

Value = Callable[[Floats], Floats]


def _macro_f1(predictions: Array, targets: Array) -> tuple[Floats, Value]:
    decided = predictions.argmax(1)
    size = predictions.shape[1]
    true, said = np.eye(size)[targets], np.eye(size)[decided]
    return np.hstack([true * said, true, said]), _mean_f1


def _macro_f1_of_labels(predictions: Array, targets: Array) -> tuple[Floats, Value]:
    true, said = targets.astype(np.float64), (predictions >= 0.5).astype(np.float64)
    return np.hstack([true * said, true, said]), lambda sums: np.nan_to_num(_mean_f1(sums))


def _mean_f1(sums: Floats) -> Floats:
    """Over the classes that have rows in the draw."""
    both, true, said = np.split(sums, 3, axis=1)
    present = true > 0
    found: Floats = np.where(present, 2 * both / np.maximum(true + said, 1), 0).sum(1) / present.sum(1)
    return found


def _micro_f1(predictions: Array, targets: Array) -> tuple[Floats, Value]:
    truth, decided = targets.astype(bool), predictions >= 0.5
    parts = np.stack([(truth & decided).sum(1), truth.sum(1) + decided.sum(1)], 1).astype(np.float64)
    return parts, lambda sums: 2 * sums[:, 0] / np.maximum(sums[:, 1], 1)


def _mean_recall(predictions: Array, targets: Array) -> tuple[Floats, Value]:
    true = np.eye(predictions.shape[1])[targets]

    def value(sums: Floats) -> Floats:
        right, count = np.split(sums, 2, axis=1)
        present = count > 0
        found: Floats = np.where(present, right / np.maximum(count, 1), 0).sum(1) / present.sum(1)
        return found

    return np.hstack([true * _right(predictions, targets)[:, None], true]), value


def _rmse(predictions: Array, targets: Array) -> tuple[Floats, Value]:
    squared = (predictions.astype(np.float64) - targets) ** 2
    parts = np.stack([squared.mean(1), np.ones(len(targets))], 1)
    return parts, lambda sums: np.sqrt(sums[:, 0] / sums[:, 1])


def _r2(predictions: Array, targets: Array) -> tuple[Floats, Value]:
    """Sums of the targets, of their squares and of the squared errors; of columns that vary in the draw."""
    wanted = targets.astype(np.float64)
    wanted = wanted - wanted.mean(0)  # squares of numbers far from 0 would lose their last digits
    error = (predictions.astype(np.float64) - targets) ** 2
    least = _VARIES * (wanted**2).sum(0)

    def value(sums: Floats) -> Floats:
        first, second, missed = np.split(sums[:, :-1], 3, axis=1)
        spread = second - first**2 / sums[:, -1:]
        varies = spread > least
        found: Floats = np.where(varies, 1 - missed / spread, 0).sum(1) / varies.sum(1)
        return found

    return np.hstack([wanted, wanted**2, error, np.ones((len(targets), 1))]), value


_SUMS: dict[tuple[str, str], Callable[[Array, Array], tuple[Floats, Value]]] = {
    **{(kind, "macro_f1"): _macro_f1 for kind in ("binary", "multiclass")},
    **{(kind, "balanced_accuracy"): _mean_recall for kind in ("binary", "multiclass")},
    ("multilabel", "micro_f1"): _micro_f1,
    ("multilabel", "macro_f1"): _macro_f1_of_labels,
    ("regression", "rmse"): _rmse,
    ("regression", "r2"): _r2,
}
"""Metrics of sums over the rows: (N, M) numbers of the rows, and the (draws,) metric of their (draws, M) sums."""
