"""Answers to every pixel or word: decided, counted against the truth, and measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.data.aligned import locates_tokens, moves_masks
from zoo.data.batches import Batch, Loader
from zoo.data.decode import size_of
from zoo.data.tags import OUTSIDE, first_pieces
from zoo.data.types import Examples, Task
from zoo.transfer.metrics import ClassRow, Metrics, has_spans, shown
from zoo.transfer.predicting import Predictor

Counts = NDArray[np.int64]
DRAWS = 1000
_IOB = {"S": "B", "U": "B", "E": "I", "L": "I"}
"""Other letters for the first and the last word of an entity."""
UNSEEN = -1
"""The answer to a word that was cut off with the end of its text."""


@dataclass(frozen=True)
class Entity:
    """Neighbouring words that are one thing."""

    kind: str
    first: int
    """Index of its first word."""
    end: int
    """Index of the word after its last."""


def decide(
    trained: Predictor, examples: Examples, *, batch_size: int, progress: Callable[[int], None] | None = None
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Each row with its answer, in no order; the model is in eval mode until the last one is taken.

    Segmentation gives (H, W) uint8 class numbers at the size of the image; tokens give (W,) int64 class indices,
    `UNSEEN` for words that were cut off.
    """
    was_training = trained.model.training
    trained.model.eval()
    loader = Loader(replace(examples, targets=None), trained.processors(), batch_size=batch_size)
    answers = _masks if trained.task.kind == "segmentation" else _words
    try:
        for batch in loader.epoch(0):
            batch = batch.to(trained.device)
            with torch.inference_mode():
                outputs = trained.model(batch.inputs)
            yield from answers(outputs, batch, examples)
            if progress is not None:
                progress(len(batch.rows))
    finally:
        trained.model.train(was_training)


def _masks(outputs: torch.Tensor, batch: Batch, examples: Examples) -> Iterator[tuple[int, NDArray[Any]]]:
    processor = moves_masks(batch.processors["image"])
    numbers = outputs.argmax(1).to(torch.uint8).cpu().numpy()  # (B, H, W)
    for row, each in zip(batch.rows.tolist(), numbers, strict=True):
        yield row, processor.unmask(each, size_of(examples.inputs["image"][row]))


def _words(outputs: torch.Tensor, batch: Batch, examples: Examples) -> Iterator[tuple[int, NDArray[Any]]]:
    processor = locates_tokens(batch.processors["text"])
    decided = outputs.argmax(2).cpu()  # (B, T)
    mask = batch.inputs["text"]["mask"].cpu()
    for row, each, real in zip(batch.rows.tolist(), decided, mask, strict=True):
        text = examples.inputs["text"][row]
        first = first_pieces(text, processor.spans(text))
        of_tokens = each[real].numpy()  # without padding, on whichever side
        yield row, np.where(first >= 0, of_tokens[np.maximum(first, 0)], UNSEEN)


@dataclass(frozen=True)
class DenseScores:
    """How many pixels or words of each class every row has, was said to have, and had rightly."""

    task: Task
    rows: Counts
    """(N, K, 3): right, said, true."""
    table: Counts
    """(K, K) of all rows, true class by predicted class."""
    kinds: tuple[str, ...] = ()
    """Of entities, such as PER; empty where tags mark none."""
    entities: Counts | None = None
    """(N, E, 3) like `rows`, of whole entities."""

    def metrics(self) -> Metrics:
        """Every metric of the task."""
        return self._of(self.rows.sum(0), None if self.entities is None else self.entities.sum(0), per_class=True)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95% percentile intervals of the metrics that are shown, over resampled rows (Efron 1979)."""
        rng = np.random.default_rng(0)
        count = len(self.rows)
        names = shown(self.task)
        values: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(DRAWS if count else 0):
            picked = rng.multinomial(count, np.full(count, 1 / count))
            rows = np.tensordot(picked, self.rows, axes=1)
            entities = None if self.entities is None else np.tensordot(picked, self.entities, axes=1)
            found = self._of(rows, entities)
            for name in names:
                if (value := found[name]) is not None:
                    values[name].append(value)
        # Where every resample agrees, they do not tell how far the metric may be off.
        pairs = {name: np.quantile(each, [0.025, 0.975]) for name, each in values.items() if len(set(each)) > 1}
        return {name: (float(low), float(high)) for name, (low, high) in pairs.items()}

    def per_class(self) -> tuple[ClassRow, ...]:
        """One row a class; of entities where tags mark them."""
        names, counts = self.task.classes, self.rows.sum(0)
        if self.entities is not None:
            names, counts = self.kinds, self.entities.sum(0)
        return tuple(
            ClassRow(name, _share(right, said), _share(right, true), _share(2 * right, said + true), int(true))
            for name, (right, said, true) in zip(names, counts.tolist(), strict=True)
        )

    def confusion(self) -> Counts | None:
        """(K, K) counts of pixels or words, true class by predicted class."""
        return self.table

    def _of(self, rows: Counts, entities: Counts | None, *, per_class: bool = False) -> Metrics:
        if self.task.kind == "segmentation":
            return _of_pixels(rows, self.task.classes if per_class else ())
        metrics = _of_words(rows)
        return metrics if entities is None else {**_of_entities(entities, self.kinds if per_class else ()), **metrics}


def dense_scores(
    trained: Predictor, examples: Examples, *, batch_size: int, progress: Callable[[int], None] | None = None
) -> DenseScores:
    """Decide every row and count it against its targets."""
    task, targets = trained.task, examples.targets
    assert targets is not None
    size = len(task.classes)
    kinds = _kinds(task) if has_spans(task) else ()
    rows = np.zeros((len(examples), size, 3), dtype=np.int64)
    table = np.zeros((size, size), dtype=np.int64)
    entities = np.zeros((len(examples), len(kinds), 3), dtype=np.int64) if kinds else None
    for row, said in decide(trained, examples, batch_size=batch_size, progress=progress):
        true = targets[row].numbers() if task.kind == "segmentation" else targets[row].indices
        rows[row], counted = count_classes(said, true, size)
        table += counted
        if entities is not None:
            entities[row] = count_entities(_tags(task, said), _tags(task, true), kinds)
    return DenseScores(task, rows, table, kinds, entities)


def count_classes(said: NDArray[Any], true: NDArray[Any], size: int) -> tuple[Counts, Counts]:
    """(K, 3) right, said and true of each class, and (K, K) true by predicted; unlabelled places do not count."""
    known = (true >= 0) & (true < size)  # 255 and -100 are outside
    said, true = said[known].astype(np.int64), true[known].astype(np.int64)
    seen = said >= 0
    table = np.bincount(true[seen] * size + said[seen], minlength=size * size).reshape(size, size)
    truth = np.bincount(true, minlength=size)
    return np.stack([table.diagonal(), table.sum(0), truth], axis=1), table


def count_entities(said: Sequence[str], true: Sequence[str], kinds: Sequence[str]) -> Counts:
    """(E, 3) right, said and true entities of each kind; one is right if its kind and all its words are."""
    found, truth = set(entities_of(said)), set(entities_of(true))
    return np.array(
        [[sum(each.kind == kind for each in group) for group in (found & truth, found, truth)] for kind in kinds],
        dtype=np.int64,
    ).reshape(len(kinds), 3)


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """The entities that IOB tags mark, as the CoNLL evaluation reads them.

    B-X begins one; I-X goes on with one of its kind, and begins one where there is none (Tjong Kim Sang and De Meulder
    2003, https://aclanthology.org/W03-0419). S-X and U-X are read as B-X, E-X and L-X as I-X.
    """
    found: list[Entity] = []
    kind, first = "", 0
    for place, tag in enumerate([*tags, OUTSIDE]):
        prefix, _, of = tag.partition("-")
        prefix = _IOB.get(prefix, prefix)
        goes_on = prefix == "I" and of == kind
        if kind and not goes_on:
            found.append(Entity(kind, first, place))
        if prefix in ("B", "I") and not goes_on:
            first = place
        kind = of if prefix in ("B", "I") else ""
    return found


def _of_pixels(counts: Counts, classes: Sequence[str]) -> Metrics:
    right, said, true = counts.T.astype(np.float64)
    present = true > 0
    if not present.any():
        return {"miou": None, "pixel_accuracy": None}
    iou = right[present] / (said + true - right)[present]
    metrics: Metrics = {
        "miou": float(iou.mean()),
        "pixel_accuracy": float(right.sum() / true.sum()),
        "mean_accuracy": float((right[present] / true[present]).mean()),
        "majority": float(true.max() / true.sum()),
    }
    for k, value in zip(np.flatnonzero(present).tolist(), iou.tolist(), strict=True):
        if classes:
            metrics[f"iou.{classes[k]}"] = value
    return metrics


def _of_words(counts: Counts) -> Metrics:
    right, said, true = counts.T.astype(np.float64)
    present = true > 0
    if not present.any():
        return {"macro_f1": None, "token_accuracy": None}
    return {
        "macro_f1": float((2 * right[present] / (said + true)[present]).mean()),
        "token_accuracy": float(right.sum() / true.sum()),
        "majority": float(true.max() / true.sum()),
    }


def _of_entities(counts: Counts, kinds: Sequence[str]) -> Metrics:
    right, said, true = (int(each) for each in counts.sum(0))
    metrics: Metrics = {
        "span_f1": _share(2 * right, said + true) if true else None,
        "span_precision": _share(right, said),
        "span_recall": _share(right, true) if true else None,
    }
    for kind, (r, s, t) in zip(kinds, counts.tolist(), strict=False):
        if t:
            metrics[f"f1.{kind}"] = _share(2 * r, s + t)
    return metrics


def _kinds(task: Task) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each[2:] for each in task.classes if each[1:2] == "-" and each[0] in "BISUEL"))


def _tags(task: Task, indices: NDArray[Any]) -> list[str]:
    return [task.classes[index] if index >= 0 else OUTSIDE for index in indices.tolist()]


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
