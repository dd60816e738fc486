"""What a model scored on rows, whatever its task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from zoo.data.types import DENSE, Examples, Task
from zoo.transfer.dense import dense_scores
from zoo.transfer.detection import box_scores
from zoo.transfer.metrics import ClassRow, Metrics, confusion, intervals, measure, per_class
from zoo.transfer.retrieval import pair_scores
from zoo.transfer.trained import Trained, predict_outputs


class Scores(Protocol):
    """Metrics of the same rows, in whole and in part."""

    def metrics(self) -> Metrics:
        """Every metric of the task; None where the rows cannot tell."""

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95% intervals of the metrics that are shown."""

    def per_class(self) -> tuple[ClassRow, ...]:
        """One row a class; empty for regression."""

    def confusion(self) -> NDArray[Any] | None:
        """(K, K) counts, true class by predicted class."""


@dataclass(frozen=True)
class RowScores:
    """Of tasks with one answer a row."""

    task: Task
    predictions: NDArray[Any]
    targets: NDArray[Any]

    def metrics(self) -> Metrics:
        """As `measure`."""
        return measure(self.task, self.predictions, self.targets)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """By bootstrap over rows."""
        return intervals(self.task, self.predictions, self.targets)

    def per_class(self) -> tuple[ClassRow, ...]:
        """Precision, recall and F1 of each."""
        return per_class(self.task, self.predictions, self.targets)

    def confusion(self) -> NDArray[Any] | None:
        """Counts of rows."""
        return confusion(self.task, self.predictions, self.targets)


def score(
    trained: Trained, examples: Examples, *, batch_size: int, progress: Callable[[int], None] | None = None
) -> Scores:
    """Predict labelled rows and compare with their labels.

    Args:
        trained: the model, which keeps the mode it was in.
        examples: with targets.
        batch_size: rows at once.
        progress: called with the number of rows done since the last call.
    """
    if trained.task.kind == "detection":
        return box_scores(trained, examples, batch_size=batch_size, progress=progress)
    if trained.task.kind in DENSE:
        return dense_scores(trained, examples, batch_size=batch_size, progress=progress)
    assert examples.targets is not None
    if trained.task.kind == "pairs":
        found = predict_outputs(trained, examples, batch_size=batch_size, progress=progress)
        return pair_scores(found, examples.targets)
    predictions = predict_outputs(trained, examples, batch_size=batch_size, progress=progress)
    return RowScores(trained.task, predictions, examples.targets)
