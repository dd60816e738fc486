"""Objects: found in images, and measured against the true ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.data.batches import Loader
from zoo.data.boxes import Boxes, Frame
from zoo.data.decode import size_of
from zoo.data.types import Examples, Task
from zoo.transfer.metrics import ClassRow, Metrics
from zoo.transfer.precision import Evaluated
from zoo.transfer.predicting import Predictor

LIKELY = 0.5
"""The score from which on an object is drawn, and counts for precision and recall of its class."""


def find_boxes(
    trained: Predictor, examples: Examples, *, batch_size: int, progress: Callable[[int], None] | None = None
) -> NDArray[Any]:
    """(N,) `Boxes` in pixels of each image; the model keeps the mode it was in."""
    found = np.empty(len(examples), dtype=object)
    was_training = trained.model.training
    trained.model.eval()
    try:
        for batch in Loader(replace(examples, targets=None), trained.processors(), batch_size=batch_size).epoch(0):
            frames = batch.inputs["image"]["frame"].tolist()
            batch = batch.to(trained.device)
            with torch.inference_mode():
                outputs = trained.model(batch.inputs).float().cpu().numpy()  # (B, M, 6)
            for row, output, frame in zip(batch.rows.tolist(), outputs, frames, strict=True):
                there = output[output[:, 4] >= 0]
                found[row] = Boxes(
                    corners=there[:, :4],
                    labels=there[:, 4].astype(np.int64),
                    names=trained.task.classes,
                    size=size_of(examples.inputs["image"][row]),
                    scores=there[:, 5],
                ).off_canvas(Frame(*frame))
            if progress is not None:
                progress(len(batch.rows))
    finally:
        trained.model.train(was_training)
    return found


@dataclass(frozen=True)
class BoxScores:
    """Found objects beside the true ones, image by image."""

    task: Task
    predictions: Sequence[Boxes]
    targets: Sequence[Boxes]

    @cached_property
    def _evaluated(self) -> Evaluated:
        return Evaluated(self.predictions, self.targets)

    def metrics(self) -> Metrics:
        """Mean average precision as COCO defines it, and `ap.CLASS`, that of each class; None without true boxes."""
        by_class = {f"ap.{name}": each["map"] for name, each in self._evaluated.by_class().items()}
        return {**self._evaluated.metrics(), **{name: value for name, value in by_class.items() if value is not None}}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """By bootstrap over images."""
        return self._evaluated.intervals()

    def per_class(self) -> tuple[ClassRow, ...]:
        """Precision, recall and F1 of objects of a score of one half or more, at IoU 0.5."""
        rows = []
        for name, (right, said, true) in self._evaluated.counts(LIKELY).items():
            precision, recall = right / said if said else 0.0, right / true if true else 0.0
            rows.append(ClassRow(name, precision, recall, 2 * right / (said + true) if said + true else 0.0, true))
        return tuple(rows)

    def confusion(self) -> NDArray[Any] | None:
        """None: what was found need not be any object."""
        return None


def box_scores(
    trained: Predictor, examples: Examples, *, batch_size: int, progress: Callable[[int], None] | None = None
) -> BoxScores:
    """Find the objects of every row and hold them against its targets."""
    assert examples.targets is not None
    found = find_boxes(trained, examples, batch_size=batch_size, progress=progress)
    return BoxScores(trained.task, list(found), list(examples.targets))
