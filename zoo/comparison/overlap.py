"""Where the errors of two contenders fall, and the rows that tell modalities apart."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.comparison.result import Overlap
from zoo.data.types import Task

Array = NDArray[Any]
Booleans = NDArray[np.bool_]


def right(task: Task, predictions: Array, targets: Array) -> Booleans | None:
    """(N,) whether each row is answered rightly; of labels, whether every one is. None: numbers are never just right.

    Args:
        task: what was predicted.
        predictions: (N, K), as `Trained.predict` gives them; a label is given from one half on.
        targets: as in `Examples`.
    """
    if task.kind in ("binary", "multiclass"):
        return np.asarray(predictions.argmax(1) == targets)
    if task.kind == "multilabel":
        return np.asarray(((predictions >= 0.5) == targets.astype(bool)).all(1))
    return None


def overlap(data: str, one: str, other: str, one_right: Booleans, other_right: Booleans) -> Overlap:
    """How often two contenders are right on the same rows.

    Kappa (Cohen 1960) sets the agreement beside what chance would give two contenders as often right as these: 1, the
    same rows are wrong; 0, no more in common than chance; below 0, each is right where the other is not. `either` is
    what a choice between the two could reach at best. Kappa falls towards 0 where nearly all rows are right, whatever
    the contenders have in common, and is None where both have all rows right, or all wrong.

    Args:
        data: name of the data set.
        one: a contender.
        other: another.
        one_right: (N,) as `right` gives it.
        other_right: of the other contender, for the same rows.
    """
    return Overlap(
        data=data,
        one=one,
        other=other,
        both_right=int((one_right & other_right).sum()),
        only_one=int((one_right & ~other_right).sum()),
        only_other=int((~one_right & other_right).sum()),
        both_wrong=int((~one_right & ~other_right).sum()),
        kappa=_kappa(one_right, other_right),
        either=float((one_right | other_right).mean()),
    )


def _kappa(one: Booleans, other: Booleans) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a single label: undefined, and said by None
        found = float(cohen_kappa_score(one, other))
    return found if np.isfinite(found) else None


def telling(task: Task, one: Sequence[Array], other: Sequence[Array], targets: Array) -> NDArray[np.int64]:
    """Rows that most of one modality's contenders have right and most of the other's wrong, the most telling first.

    A row tells more the greater the probability that the first give to what is true, less what the second give;
    of labels, the mean of that over the labels. Empty where rows are never just right.

    Args:
        task: what was predicted.
        one: (N, K) predictions of each contender of one modality.
        other: of those of the other, for the same rows.
        targets: as in `Examples`.

    Returns:
        Row numbers.
    """
    ours, theirs = _share_right(task, one, targets), _share_right(task, other, targets)
    if ours is None or theirs is None:
        return np.empty(0, dtype=np.int64)
    rows = np.flatnonzero((ours > 0.5) & (theirs < 0.5))
    margin = _belief(task, one, targets) - _belief(task, other, targets)
    return rows[np.argsort(-margin[rows], kind="stable")]


def _share_right(task: Task, predictions: Sequence[Array], targets: Array) -> NDArray[np.float64] | None:
    """(N,) of the contenders."""
    found = [each for each in (right(task, one, targets) for one in predictions) if each is not None]
    return np.stack(found).mean(0) if found else None


def _belief(task: Task, predictions: Sequence[Array], targets: Array) -> NDArray[np.float64]:
    """(N,) probability of what is true, mean over the contenders."""
    mean = np.stack(predictions).mean(0, dtype=np.float64)
    if task.kind == "multilabel":
        return np.asarray(np.where(targets.astype(bool), mean, 1 - mean).mean(1))
    return np.asarray(mean[np.arange(len(targets)), targets])
