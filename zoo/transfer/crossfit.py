"""Answers of a linear probe to the rows it was solved on, each by one that has not seen the row's label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import Task
from zoo.transfer.probe import ProbeSolution, solve

FOLDS = 5


def cross_fitted(
    features: NDArray[np.float32], targets: NDArray[Any], task: Task, solution: ProbeSolution, *, seed: int
) -> NDArray[np.float32]:
    """(N, K) outputs, each row's by a probe solved without its fold (Dao et al. 2021, https://arxiv.org/abs/2104.09732).

    A probe knows the labels of its own rows almost by heart, and what it says of them is little more than the labels.
    Where a class has a single row, or there are fewer than four rows, there are no folds: the probe itself answers.

    Args:
        features: (N, D).
        targets: as in `Examples`.
        task: what is predicted.
        solution: the probe of all rows, whose penalty the others have.
        seed: of the folds.
    """
    outputs = (features @ solution.weight.T + solution.bias).astype(np.float32)
    for kept, held in _folds(targets, task, seed):
        own = solve(features[kept], targets[kept], task, seed=seed, grid=(solution.C,))
        outputs[held] = features[held] @ own.weight.T + own.bias
    return outputs


def _folds(targets: NDArray[Any], task: Task, seed: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    from sklearn.model_selection import KFold, StratifiedKFold

    count = len(targets)
    if task.kind in ("binary", "multiclass"):
        smallest = int(np.unique(targets, return_counts=True)[1].min())
        if smallest < 2:
            return []
        splitter: Any = StratifiedKFold(min(FOLDS, smallest), shuffle=True, random_state=seed)
        return list(splitter.split(np.zeros(count), targets))
    if count < 4:
        return []
    return list(KFold(min(FOLDS, count), shuffle=True, random_state=seed).split(np.zeros(count)))
