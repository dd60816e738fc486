"""Means of classes as a solved head: each row judged by the means of the others tells how sharp the answers may be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import Task
from zoo.models.solved_heads import START_SCALE
from zoo.transfer.neighbours import SCALINGS, Scaling, scalings
from zoo.transfer.solvers import Solution

Array = NDArray[Any]

SCALES = (0.1, 1000.0)
"""Least and greatest scale of the logits."""
UNKNOWN = 20.0
"""Nats by which a class without training rows lies below every other."""


@dataclass(frozen=True)
class Means:
    """The means of one group of rows for each class or label, and the distance of every row to them."""

    mean: Array
    """(K, D)."""
    score: Array
    """(N, K) x c - |c|^2 / 2."""
    others: Array
    """The same, where a row belongs to the group with the mean of the others; NaN where there are none."""

    @classmethod
    def of(cls, x: Array, members: Array) -> Means:
        """Of rows of length one.

        Args:
            x: (N, D).
            members: (N, K) True where a row is in the group.
        """
        counts = members.sum(0)
        mean = members.T.astype(np.float64) @ x / np.maximum(counts, 1)[:, None]
        along, length, own = x @ mean.T, (mean**2).sum(1), (x**2).sum(1, keepdims=True)
        # The mean without the row itself is (n c - x) / (n - 1).
        rest = np.where(counts > 1, counts - 1, np.nan)
        along_rest = (counts * along - own) / rest
        length_rest = (counts**2 * length - 2 * counts * along + own) / rest**2
        score = along - length / 2
        return cls(mean, score, np.where(members, along_rest - length_rest / 2, score))


@dataclass(frozen=True)
class Fitted:
    """A head on features of one scaling, and how well it answers for rows that were left out."""

    scaling: Scaling
    weight: Array
    bias: Array
    scale: float
    judged: tuple[float, ...]
    """Accuracy where there is one, then minus log-loss; empty if nothing could be left out."""


def solve(features: NDArray[np.float32], targets: Array, task: Task) -> Solution:
    """The state of a `PrototypeHead`.

    The scale of the logits, and for labels their offset, minimise the log-loss of each row under the means of all
    others; standardised features are taken where rows that were left out are answered better for it.

    Args:
        features: (N, D).
        targets: as in `Examples`; classes or labels.
        task: what is predicted.
    """
    fit = _labels if task.kind == "multilabel" else _classes
    found = [fit(scaling, features, targets, task) for scaling in scalings(features)]
    best = found[0]
    for each in found[1:]:
        best = each if each.judged > best.judged else best
    return Solution(
        state={
            "centre": best.scaling.centre,
            "spread": best.scaling.spread,
            "weight": best.weight.astype(np.float32),
            "bias": best.bias.astype(np.float32),
            "log_scale": np.array(math.log(best.scale), dtype=np.float32),
        },
        chosen={"scale": best.scale, "standardised": best.scaling.name == SCALINGS[1]},
        said=f"scale = {best.scale:.3g}, features {best.scaling.name}",
    )


def _classes(scaling: Scaling, features: NDArray[np.float32], targets: Array, task: Task) -> Fitted:
    x = scaling(features).numpy().astype(np.float64)
    size = len(task.classes)
    members = targets[:, None] == np.arange(size)
    found = Means.of(x, members)
    present = members.any(0)
    judged = np.flatnonzero(np.isfinite(found.others).all(1))  # rows whose class has others
    scale = START_SCALE
    quality: tuple[float, ...] = ()
    if len(judged):
        logits, right = found.others[judged], targets[judged]
        scale = _scale_of(logits[:, present], np.searchsorted(np.flatnonzero(present), right))
        logits = np.where(present, logits, -np.inf)
        loss = _log_loss(scale * logits[:, present], np.searchsorted(np.flatnonzero(present), right))
        quality = (float((logits.argmax(1) == right).mean()), -loss)
    bias = -(found.mean**2).sum(1) / 2
    bias[~present] = -1.5 - UNKNOWN / scale  # every other score is at least -1.5
    weight = found.mean
    if task.kind == "binary":
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    return Fitted(scaling, weight, bias, scale, quality)


def _scale_of(scores: Array, right: Array) -> float:
    """The scale at which scores, as logits, have the least log-loss, which is convex in it."""
    from scipy.optimize import minimize_scalar

    low, high = (math.log(each) for each in SCALES)
    found = minimize_scalar(
        lambda log: _log_loss(math.exp(log) * scores, right),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return math.exp(float(found.x))


def _log_loss(logits: Array, right: Array) -> float:
    from scipy.special import logsumexp

    return float((logsumexp(logits, axis=1) - logits[np.arange(len(right)), right]).mean())


def _labels(scaling: Scaling, features: NDArray[np.float32], targets: Array, task: Task) -> Fitted:
    x = scaling(features).numpy().astype(np.float64)
    having = targets > 0.5
    yes, no = Means.of(x, having), Means.of(x, ~having)
    told: Array = np.asarray(having.any(0) & (~having).any(0))
    odds = (having.sum(0) + 1) / ((~having).sum(0) + 1)
    offsets, scale = np.log(odds), START_SCALE
    quality: tuple[float, ...] = ()
    left_out = yes.others - no.others
    judged = (having.sum(0) > 1) & ((~having).sum(0) > 1)
    if judged.any():
        scale, offsets[judged], loss = _scale_and_offsets(left_out[:, judged], having[:, judged], offsets[judged])
        quality = (-loss,)
    weight = np.where(told[:, None], yes.mean - no.mean, 0.0)
    bias = np.where(told, ((no.mean**2).sum(1) - (yes.mean**2).sum(1)) / 2, 0.0)
    return Fitted(scaling, weight, bias + offsets / scale, scale, quality)


def _scale_and_offsets(scores: Array, having: Array, start: Array) -> tuple[float, Array, float]:
    """The scale of all scores and the offset of each label at which the log-loss, convex in them, is least."""
    from scipy.optimize import minimize

    def loss(flat: Array) -> tuple[float, Array]:
        logits = flat[0] * scores + flat[1:]
        error = (1 / (1 + np.exp(-np.clip(logits, -60, 60))) - having) / scores.size
        value = (np.logaddexp(0, logits) - having * logits).mean()
        return float(value), np.concatenate([[(error * scores).sum()], error.sum(0)])

    found = minimize(
        loss,
        np.concatenate([[START_SCALE], start]),
        jac=True,
        method="L-BFGS-B",
        bounds=[SCALES] + [(-UNKNOWN, UNKNOWN)] * len(start),
        options={"maxiter": 500, "gtol": 1e-6},
    )
    return float(found.x[0]), found.x[1:], float(found.fun)
