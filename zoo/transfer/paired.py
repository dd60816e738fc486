"""Two models on the same rows: how far apart they are, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import Task
from zoo.transfer.metrics import measure_one, primary

Array = NDArray[Any]
DRAWS = 1000
SLOW = 200
"""Draws for metrics that take milliseconds each."""


@dataclass(frozen=True)
class Difference:
    """A metric of one model less that of another, on the same rows."""

    metric: str
    value: float
    low: float
    high: float
    """With `low`, the 95% interval."""

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def difference(task: Task, one: Array, other: Array, targets: Array, *, seed: int = 0) -> Difference | None:
    """The task's main metric of `one` less that of `other`, with its paired bootstrap interval.

    Rows are drawn for both models together, so what makes a row hard for both drops out of the difference (Efron and
    Tibshirani 1993, "An Introduction to the Bootstrap", chapter 8). It tells how the two would do on other rows, not
    how they would have done with other seeds.

    Args:
        task: what was predicted.
        one: (N, K) predictions, as `Trained.predict` gives them.
        other: of the other model, for the same rows.
        targets: as in `Examples`.
        seed: of the draws.

    Returns:
        None where the rows do not tell the metric.
    """
    metric = primary(task)

    def apart(rows: Array) -> float | None:
        a = measure_one(task, metric, one[rows], targets[rows])
        b = measure_one(task, metric, other[rows], targets[rows])
        return None if a is None or b is None else a - b

    whole = apart(np.arange(len(targets)))
    if whole is None:
        return None
    rng = np.random.default_rng(seed)
    draws = DRAWS if metric == "accuracy" else SLOW
    found = [apart(rng.integers(0, len(targets), len(targets))) for _ in range(draws)]
    known = [value for value in found if value is not None and np.isfinite(value)]
    if not known:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return Difference(metric, float(whole), float(low), float(high))
