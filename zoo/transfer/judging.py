"""Held-out rows that are judged after each epoch, without computing twice what does not change."""

from __future__ import annotations

from zoo.data.batches import Loader
from zoo.data.types import Examples
from zoo.transfer.replay import Replay
from zoo.transfer.scores import RowScores, Scores, score
from zoo.transfer.trained import Trained, loaded_outputs


class Judge:
    """Scores of the same rows again and again while a model learns.

    Args:
        trained: the model.
        examples: with targets.
        batch_size: rows at once.
    """

    def __init__(self, trained: Trained, examples: Examples, *, batch_size: int) -> None:
        self.trained = trained
        self.examples = examples
        self.batch_size = batch_size
        self.loader: Loader | None = None

    def __call__(self, replay: Replay | None = None) -> Scores:
        """Of the model as it stands; what its frozen stages say of these rows is computed once in a phase."""
        task = self.trained.task
        if task.kind not in ("binary", "multiclass", "multilabel", "regression"):
            return score(self.trained, self.examples, batch_size=self.batch_size)
        if self.loader is None:  # texts are turned into ids once
            self.loader = Loader(
                self.examples,
                self.trained.processors(),
                batch_size=self.batch_size,
                pinned=self.trained.device.type == "cuda",
            )
        assert self.examples.targets is not None
        return RowScores(task, loaded_outputs(self.trained, self.loader, replay=replay), self.examples.targets)
