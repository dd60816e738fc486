"""Average precision of boxes as COCO defines it, by pycocotools; boxes in, plain numbers out."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.boxes import Boxes
from zoo.errors import UsageError

Metrics = dict[str, float | None]

DRAWS = 200
BOOTSTRAP_LIMIT = 20_000
"""Images times classes up to which resampling takes seconds; above it no interval is given."""
_HALF, _THREE_QUARTERS = 0, 5
"""Places of IoU 0.5 and 0.75 among COCO's ten, 0.5 to 0.95."""


def check_installed() -> None:
    """Raise where pycocotools is missing, before anything is trained.

    Raises:
        UsageError: it is not installed.
    """
    _coco()


class Evaluated:
    """Found objects matched with the true ones, as COCO does (Lin et al. 2014, https://arxiv.org/abs/1405.0312).

    Args:
        predictions: of each image, with scores.
        targets: of each image, in the same order; classes are numbered alike.
    """

    def __init__(self, predictions: Sequence[Boxes], targets: Sequence[Boxes]) -> None:
        assert len(predictions) == len(targets)
        self.images = len(targets)
        self.names = targets[0].names if len(targets) else ()
        self._evaluator = _matched(predictions, targets, self.names)
        self._matches = tuple(self._evaluator.evalImgs)
        _quietly(self._evaluator.accumulate)
        self._whole = self._evaluator.eval

    def metrics(self) -> Metrics:
        """Means over the classes that have a box; None where none has.

        `map` is the average precision over IoU 0.5 to 0.95 in steps of 0.05, `map_50` and `map_75` that at one IoU,
        `recall` the share of boxes found with at most 100 an image, over the same IoUs as `map`.
        """
        return _numbers(self._whole)

    def by_class(self) -> Mapping[str, Metrics]:
        """The same for each class alone."""
        return {name: _numbers(self._whole, slice(place, place + 1)) for place, name in enumerate(self.names)}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95% percentile intervals of `map` and `map_50` over resampled images (Efron 1979); none for large data."""
        if self.images < 2 or self.images * len(self.names) > BOOTSTRAP_LIMIT:
            return {}
        rng = np.random.default_rng(0)
        drawn: dict[str, list[float]] = {"map": [], "map_50": []}
        for _ in range(DRAWS):
            rows = rng.integers(0, self.images, self.images)
            self._evaluator.evalImgs = [block[row] for block in self._by_class() for row in rows]
            _quietly(self._evaluator.accumulate)
            found = _numbers(self._evaluator.eval)
            for name, values in drawn.items():
                if (value := found[name]) is not None:
                    values.append(value)
        pairs = {name: np.quantile(values, [0.025, 0.975]) for name, values in drawn.items() if values}
        return {name: (float(low), float(high)) for name, (low, high) in pairs.items() if low < high}

    def counts(self, score: float) -> Mapping[str, tuple[int, int, int]]:
        """Right, said and true objects of each class at IoU 0.5, of those with at least this score; without crowds."""
        found = {}
        for name, block in zip(self.names, self._by_class(), strict=True):
            right = said = true = 0
            for match in [each for each in block if each is not None]:
                counted = (np.asarray(match["dtScores"]) >= score) & ~match["dtIgnore"][_HALF].astype(bool)
                right += int((match["dtMatches"][_HALF] > 0)[counted].sum())
                said += int(counted.sum())
                true += int((~np.asarray(match["gtIgnore"], dtype=bool)).sum())
            found[name] = (right, said, true)
        return found

    def _by_class(self) -> list[tuple[Any, ...]]:
        """The matches in blocks, one a class, of one entry an image; None where there is nothing to match."""
        starts = range(0, len(self._matches), self.images) if self.images else []
        return [self._matches[start : start + self.images] for start in starts]


def _numbers(found: Mapping[str, Any], classes: slice = slice(None)) -> Metrics:
    # (IoU, recall level, class, area, most an image); area 0 is any, -1 stands for a class without a box.
    precision = found["precision"][:, :, classes, 0, -1]
    recall = found["recall"][:, classes, 0, -1]
    return {
        "map": _mean(precision),
        "map_50": _mean(precision[_HALF]),
        "map_75": _mean(precision[_THREE_QUARTERS]),
        "recall": _mean(recall),
    }


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _matched(predictions: Sequence[Boxes], targets: Sequence[Boxes], names: Sequence[str]) -> Any:
    """pycocotools' evaluator after matching, over any area alone."""
    COCO, COCOeval = _coco()
    data = {
        "images": [{"id": number} for number in range(len(targets))],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
    }
    true, found = COCO(), COCO()
    true.dataset = {**data, "annotations": _annotations(targets)}
    found.dataset = {**data, "annotations": _annotations(predictions)}
    _quietly(true.createIndex)
    _quietly(found.createIndex)
    evaluator = COCOeval(true, found, "bbox")
    evaluator.params.areaRng, evaluator.params.areaRngLbl = evaluator.params.areaRng[:1], ["all"]
    _quietly(evaluator.evaluate)
    return evaluator


def _annotations(rows: Sequence[Boxes]) -> list[dict[str, Any]]:
    """As COCO writes them, counted from 1: pycocotools takes number 0 for no match."""
    found: list[dict[str, Any]] = []
    for image, row in enumerate(rows):
        for index in range(len(row)):
            left, upper, right, lower = (float(value) for value in row.corners[index])
            found.append(
                {
                    "id": len(found) + 1,
                    "image_id": image,
                    "category_id": int(row.labels[index]),
                    "bbox": [left, upper, right - left, lower - upper],
                    "area": (right - left) * (lower - upper),
                    "iscrowd": int(row.crowd[index]) if row.crowd is not None else 0,
                    **({} if row.scores is None else {"score": float(row.scores[index])}),
                }
            )
    return found


def _coco() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise UsageError(
            "detection is measured by pycocotools, which is not installed", help='pip install "zoo[detection]"'
        ) from None
    return COCO, COCOeval


def _quietly(step: Any) -> None:
    """pycocotools prints its progress on standard output, where results go."""
    with contextlib.redirect_stdout(io.StringIO()):
        step()
