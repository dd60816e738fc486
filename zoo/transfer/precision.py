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


def measure_boxes(predictions: Sequence[Boxes], targets: Sequence[Boxes]) -> Metrics:
    """Mean average precision over the classes that have a box, None where none has.

    `map` is the mean over IoU 0.5 to 0.95 in steps of 0.05, `map_50` and `map_75` those at one IoU, `recall` the mean
    share of boxes found with at most 100 a picture over the same IoUs (Lin et al. 2014, https://arxiv.org/abs/1405.0312).

    Args:
        predictions: of each image.
        targets: of each image, in the same order; classes are numbered alike.
    """
    return _numbers(_evaluated(predictions, targets))


def intervals_of_boxes(predictions: Sequence[Boxes], targets: Sequence[Boxes]) -> dict[str, tuple[float, float]]:
    """95% percentile intervals of `map` and `map_50` over resampled images (Efron 1979); none for very large data."""
    count = len(targets)
    if count < 2 or count * len(targets[0].names) > BOOTSTRAP_LIMIT:
        return {}
    evaluator = _evaluated(predictions, targets)
    of_image = _by_image(evaluator, count)
    rng = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {"map": [], "map_50": []}
    for _ in range(DRAWS):
        rows = rng.integers(0, count, count)
        evaluator.evalImgs = [each for block in of_image for each in (block[row] for row in rows)]
        _quietly(evaluator.accumulate)
        found = _numbers(evaluator)
        for name, values in drawn.items():
            if (value := found[name]) is not None:
                values.append(value)
    pairs = {name: np.quantile(values, [0.025, 0.975]) for name, values in drawn.items() if values}
    return {name: (float(low), float(high)) for name, (low, high) in pairs.items() if low < high}


def average_precision_by_class(predictions: Sequence[Boxes], targets: Sequence[Boxes]) -> Mapping[str, Metrics]:
    """`map`, `map_50` and `recall` of each class; None for a class without a box."""
    evaluator = _evaluated(predictions, targets)
    names = targets[0].names if len(targets) else ()
    return {name: _numbers(evaluator, slice(place, place + 1)) for place, name in enumerate(names)}


def _numbers(evaluator: Any, classes: slice = slice(None)) -> Metrics:
    # (IoU, recall level, class, area, most a picture); area 0 is any, -1 stands for a class without a box.
    precision = evaluator.eval["precision"][:, :, classes, 0, -1]
    recall = evaluator.eval["recall"][:, classes, 0, -1]
    return {
        "map": _mean(precision),
        "map_50": _mean(precision[_HALF]),
        "map_75": _mean(precision[_THREE_QUARTERS]),
        "recall": _mean(recall),
    }


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _evaluated(predictions: Sequence[Boxes], targets: Sequence[Boxes]) -> Any:
    """pycocotools' evaluator after matching, over any area alone."""
    COCO, COCOeval = _coco()
    assert len(predictions) == len(targets)
    names = targets[0].names if len(targets) else ()
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
    _quietly(evaluator.accumulate)
    return evaluator


def _by_image(evaluator: Any, count: int) -> list[list[Any]]:
    """The matches in blocks, one a class, of one entry an image."""
    every = evaluator.evalImgs
    return [every[start : start + count] for start in range(0, len(every), count)]


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
