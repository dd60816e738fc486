"""Problems that a solved head must be able to solve, with rows that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.factories import import_factory
from zoo.catalog.spec import HeadSpec
from zoo.data.types import Task
from zoo.models.heads import Head
from zoo.testing.report import Broken
from zoo.transfer.metrics import measure_one
from zoo.transfer.solvers import Solution, decide, put_into

ROWS = 36
_SIZE = 3
GOALS: Mapping[str, tuple[str, float]] = {
    "binary": ("accuracy", 0.9),
    "multiclass": ("accuracy", 0.9),
    "multilabel": ("map", 0.9),
    "regression": ("r2", 0.6),
}
"""What must be reached where classes lie many deviations apart, labels and numbers follow a line."""


@dataclass(frozen=True)
class Problem:
    """Rows to solve on, and rows to answer."""

    task: Task
    features: NDArray[np.float32]
    targets: NDArray[Any]
    new: NDArray[np.float32]
    answers: NDArray[Any]

    def solved(self, spec: HeadSpec, head: Head) -> Head:
        """The head, solved by its own solver."""
        found = solution(spec, self.features, self.targets, self.task)
        try:
            return put_into(head, found)
        except (RuntimeError, KeyError) as error:
            raise Broken(f"a fresh head does not take the solution for {self.task.kind}: {error}") from error

    def score(self, head: Head) -> float:
        """The metric of `GOALS` on the new rows."""
        found = measure_one(self.task, GOALS[self.task.kind][0], decide(head, self.task, self.new), self.answers)
        return float("nan") if found is None else found


def problem(kind: str, dim: int, outputs: int = _SIZE) -> Problem:
    """One of a kind of task.

    Args:
        kind: of the task.
        dim: D of the features.
        outputs: of the head; always 1 for binary.
    """
    rng = np.random.default_rng(0)
    names = tuple(f"class {index}" for index in range(2 if kind == "binary" else outputs))
    rows = np.arange(2 * ROWS)
    task = Task(kind, (), names) if kind == "regression" else Task(kind, names)  # type: ignore[arg-type]
    if kind in ("binary", "multiclass"):
        targets: NDArray[Any] = rows % len(names)
        x = 4 * rng.normal(size=(len(names), dim))[targets] + rng.normal(size=(len(rows), dim))
    else:
        hidden = rng.normal(size=(len(rows), outputs))
        targets = (hidden > 0).astype(np.float32) if kind == "multilabel" else hidden.astype(np.float32)
        known = targets if kind == "multilabel" else hidden
        x = 4 * known @ rng.normal(size=(outputs, dim)) + 0.3 * rng.normal(size=(len(rows), dim))
    x = x.astype(np.float32)
    return Problem(task, x[:ROWS], targets[:ROWS], x[ROWS:], targets[ROWS:])


def kind_for(spec: HeadSpec, outputs: int) -> str:
    """A kind of task that the head answers with so many outputs."""
    fitting = ("binary", "multilabel", "regression") if outputs == 1 else ("multiclass", "multilabel", "regression")
    return next((kind for kind in fitting if kind in spec.tasks), fitting[0])


def solution(spec: HeadSpec, features: NDArray[np.float32], targets: NDArray[Any], task: Task) -> Solution:
    """What the solver of a head says."""
    solver = import_factory(str(spec.solver), f"solver of head {spec.name}")
    found = solver(features, targets, task, seed=0, class_weights=None)
    if not isinstance(found, Solution):
        raise Broken(f"the solver gave a {type(found).__name__}, no zoo.Solution")
    return found
