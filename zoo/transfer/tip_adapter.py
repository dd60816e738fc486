"""What Tip-Adapter has to choose: how much the training rows count, and how near they must be. Arrays, no torch."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import Task
from zoo.errors import UsageError
from zoo.transfer.solvers import Solution
from zoo.transfer.zeroshot import ClassTexts, unit

ALPHAS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
"""How much the votes of the training rows count; 0 is zero-shot classification."""
BETAS = (1.0, 2.0, 3.5, 5.5, 8.0, 12.0, 20.0, 40.0)
"""How fast a vote fades with distance; 5.5 is the paper's."""
TRIED = 2_000
"""Rows that alpha and beta are chosen on."""
MARGIN = 1e-3
"""Share of the best score by which another must be better, so that of equals the smaller alpha is taken."""


def solve(
    features: NDArray[np.float32],
    targets: NDArray[Any],
    task: Task,
    *,
    seed: int,
    class_weights: NDArray[Any] | None,
    texts: ClassTexts,
) -> Solution:
    """The head `tip-adapter`: every training row, with alpha and beta by log-loss where each row is left out once.

    The paper chooses them by accuracy on a validation set, which few shots rarely have.

    Args:
        features: (N, D) embeddings of the training rows, of whatever length.
        targets: (N,) class indices.
        task: what is predicted.
        seed: of the rows tried where there are many.
        class_weights: there is no loss that they could weigh.
        texts: the classes in the space of the features.

    Raises:
        UsageError: class weights were given.

    Reference: Zhang et al. 2022, https://arxiv.org/abs/2111.03930
    """
    if class_weights is not None:
        raise UsageError(
            "--class-weights are weights in a loss, and the head tip-adapter has none", help="leave them out"
        )
    keys, labels = unit(features), targets.astype(np.int64)
    alpha, beta, loss = choose(keys, labels, texts, seed=seed)
    state = {
        "keys": keys,
        "labels": labels,
        "classes": texts.embeddings,
        "log_scale": np.float32(texts.log_scale),
        "alpha": np.float32(alpha),
        "beta": np.float32(beta),
    }
    said = f"alpha = {alpha:g}, beta = {beta:g}, log-loss {loss:.3f} on rows left out"
    return Solution({name: np.asarray(value) for name, value in state.items()}, {"alpha": alpha, "beta": beta}, said)


def choose(
    keys: NDArray[np.float32], labels: NDArray[np.int64], texts: ClassTexts, *, seed: int
) -> tuple[float, float, float]:
    """alpha, beta and the mean log-loss of each row by all others.

    Args:
        keys: (N, D) of length one.
        labels: (N,) class indices.
        texts: the classes.
        seed: of the rows tried where there are many.
    """
    tried = np.sort(np.random.default_rng(seed).permutation(len(keys))[:TRIED])
    likeness = keys[tried] @ keys.T
    zero = texts.logits(keys[tried])
    one_hot = np.eye(len(texts.embeddings), dtype=np.float32)[labels]
    votes = {}
    for beta in BETAS:
        near = np.exp(beta * (likeness - 1))
        near[np.arange(len(tried)), tried] = 0.0  # a row must not vote for itself
        votes[beta] = near @ one_hot
    scored = [(_log_loss(zero + a * votes[b], labels[tried]), a, b) for a, b in product(ALPHAS, BETAS)]
    best = scored[0]
    for each in scored[1:]:
        best = each if each[0] < best[0] - MARGIN * abs(best[0]) else best
    return best[1], best[2], best[0]


def _log_loss(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    picked = shifted[np.arange(len(labels)), labels]
    return float((np.log(np.exp(shifted).sum(1)) - picked).mean())
