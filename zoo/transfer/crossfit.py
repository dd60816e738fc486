"""Answers of a linear probe to the rows it was solved on, each by one that has not seen the row's label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import Task
from zoo.transfer.probe import ProbeSolution, folds_of, solve


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
        solution: the probe of all rows, whose penalty and length of weights the others have.
        seed: of the folds.
    """
    outputs = (features @ solution.weight.T + solution.bias).astype(np.float32)
    for kept, held in folds_of(targets, task, seed):
        own = solve(features[kept], targets[kept], task, seed=seed, grid=(solution.C,), length=solution.length)
        outputs[held] = features[held] @ own.weight.T + own.bias
    return outputs
