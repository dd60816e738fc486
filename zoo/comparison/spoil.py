"""What a joint contender loses when one of its modalities tells nothing at test time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.comparison.statistics import Paired, paired
from zoo.data.types import Task
from zoo.transfer.metrics import greater_is_better

Array = NDArray[Any]


def dropped(features: Array, columns: slice, training: Array) -> Array:
    """Features in which one part says of every row what is average.

    The mean stands in for a modality that is missing. It may lie where no row lies, so that a head that is not linear
    meets what it never saw; `shuffled` keeps to features that occur.

    Args:
        features: (N, D) of the held-out rows, parts side by side.
        columns: of the part.
        training: (M, D) features of the training rows, of which the mean is taken: held-out rows must not tell it.
    """
    found = features.copy()
    found[:, columns] = training[:, columns].mean(0, dtype=np.float64)
    return found


def shuffled(features: Array, columns: slice, *, seed: int = 0) -> Array:
    """Features in which one part is that of another row, for every row.

    Permutation importance of a whole part (Breiman 2001, "Random Forests"; Fisher et al. 2019,
    https://arxiv.org/abs/1801.01489). What spoils an answer is not only that the part is silent: it speaks for another
    row, against the other part. So the loss is greater than that of `dropped`, and counts what both parts tell alike.

    Args:
        features: (N, D), parts side by side.
        columns: of the part.
        seed: which row's; the same for the same N.
    """
    found = features.copy()
    found[:, columns] = features[other_rows(len(features), seed), columns]
    return found


def other_rows(count: int, seed: int) -> NDArray[np.int64]:
    """(N,) a row for each row, never itself, each once; itself where there is but one."""
    order = np.random.default_rng(seed).permutation(count)
    found = np.empty(count, dtype=np.int64)
    found[order] = np.roll(order, 1)
    return found


def loss(
    task: Task, metric: str, whole: Sequence[Array], spoiled: Sequence[Array], targets: Array, *, seed: int = 0
) -> Paired | None:
    """How much worse the spoiled predictions are, above 0 whichever way the metric goes; as `paired` tells it.

    The model is the same, so that of one seed all is said by rows.

    Args:
        task: what was predicted.
        metric: one that the task has.
        whole: (N, K) predictions from all parts, one a seed.
        spoiled: as many, with one part spoiled.
        targets: as in `Examples`.
        seed: of the bootstrap.
    """
    found = paired(task, metric, whole, spoiled, targets, seed=seed)
    if found is None or greater_is_better(metric):
        return found
    return replace(found, value=-found.value, low=-found.high, high=-found.low)
