"""The k nearest training rows as a solved head: how many vote, how, and on which scaling, chosen by leaving one out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.data.types import Task
from zoo.models.solved_heads import of_length_one, votes
from zoo.transfer.metrics import measure_one
from zoo.transfer.solvers import Solution

Array = NDArray[Any]

KS = (1, 2, 5, 10, 20, 50, 100, 200)
TEMPERATURES = (math.inf, 0.07)
"""The weights of votes: all the same, or those of Wu et al. 2018."""
ASKED = 2_000
"""Rows, at most, that are left out in turn to choose by."""
SCALINGS = ("as they are", "standardised")


@dataclass(frozen=True)
class Scaling:
    """What is taken from features, and divided out of them, before they get length one."""

    name: str
    centre: NDArray[np.float32]
    spread: NDArray[np.float32]

    def __call__(self, features: NDArray[np.float32]) -> torch.Tensor:
        """(N, D) of length one."""
        return of_length_one(torch.from_numpy((features - self.centre) / self.spread))


def scalings(features: NDArray[np.float32]) -> Iterator[Scaling]:
    """Features as they are; and standardised, without which the wider part of `a+b` drowns the other.

    Args:
        features: (N, D).
    """
    dim = features.shape[1]
    yield Scaling(SCALINGS[0], np.zeros(dim, dtype=np.float32), np.ones(dim, dtype=np.float32))
    if len(features) > 1:
        mean, std = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
        std = np.where(std > 1e-7 * (1 + np.abs(mean)), std, 1.0)
        yield Scaling(SCALINGS[1], mean.astype(np.float32), std.astype(np.float32))


@dataclass(frozen=True)
class Candidate:
    """One way to ask the neighbours."""

    scaling: Scaling
    k: int
    temperature: float


def solve(features: NDArray[np.float32], targets: Array, task: Task, *, seed: int = 0) -> Solution:
    """The state of a `KnnHead`.

    Each of up to `ASKED` rows is answered by all others, and the scaling, k and temperature with the best accuracy
    (log-loss for labels, R2 for numbers; of equal accuracy the best log-loss) are taken; the first of equals.

    Args:
        features: (N, D).
        targets: as in `Examples`.
        task: what is predicted.
        seed: of the rows that are left out, where there are more.
    """
    asked = _asked(targets, task, seed)
    answers, prior = _answers(targets, task)
    best: Candidate | None = None
    highest: tuple[float, ...] = ()
    for scaling in scalings(features) if len(asked) else ():
        for candidate, found in _left_out(scaling, features, asked, answers, prior):
            score = _score(found, targets[asked], task)
            if best is None or score > highest:
                best, highest = candidate, score
    if best is None:  # one row a class: nothing can be left out, and the nearest row decides
        best = Candidate(next(scalings(features)), min(20, len(features)), TEMPERATURES[-1])
    weighted = math.isfinite(best.temperature)
    how = f", weighted at temperature {best.temperature:g}" if weighted else ""
    kept = f"the head keeps {len(features):,} rows, {4 * features.size / 1e6:.1f} MB"
    return Solution(
        state={
            "centre": best.scaling.centre,
            "spread": best.scaling.spread,
            "bank": best.scaling(features).numpy(),
            "answers": answers.numpy(),
            "prior": prior.numpy(),
            "k": np.array(best.k),
            "temperature": np.array(best.temperature, dtype=np.float32),
        },
        chosen={
            "k": best.k,
            "standardised": best.scaling.name == SCALINGS[1],
            **({"temperature": best.temperature} if weighted else {}),
        },
        said=f"k = {best.k}{how}, features {best.scaling.name}; {kept}",
    )


def _asked(targets: Array, task: Task, seed: int) -> Array:
    """Rows that others can answer: one whose class has no other row cannot be answered rightly."""
    rows = np.arange(len(targets))
    if task.kind in ("binary", "multiclass"):
        rows = rows[np.bincount(targets)[targets] > 1]
    if len(targets) < 2:
        return rows[:0]
    if len(rows) > ASKED:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:ASKED])
    return rows


def _answers(targets: Array, task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    """What each row votes for, and the share of each class or label with one more row of each."""
    count = len(targets)
    if task.kind == "regression":
        return torch.from_numpy(targets.astype(np.float32)), torch.full((task.num_outputs,), 0.5)
    if task.kind == "multilabel":
        shares = (targets.sum(0) + 1) / (count + 2)
        return torch.from_numpy(targets.astype(np.uint8)), torch.from_numpy(shares.astype(np.float32))
    shares = (np.bincount(targets, minlength=len(task.classes)) + 1) / (count + len(task.classes))
    return torch.from_numpy(targets.astype(np.int64)), torch.from_numpy(shares.astype(np.float32))


def _left_out(
    scaling: Scaling, features: NDArray[np.float32], asked: Array, answers: torch.Tensor, prior: torch.Tensor
) -> Iterator[tuple[Candidate, NDArray[np.float32]]]:
    """Each candidate with what the neighbours of each asked row say of it: probabilities, or numbers."""
    bank = scaling(features)
    rows = torch.from_numpy(asked)
    most = min(KS[-1], len(bank) - 1)
    cosine = bank[rows] @ bank.T  # (A, N)
    cosine[torch.arange(len(rows)), rows] = -math.inf
    nearest, found = cosine.topk(most, dim=1)
    said = answers[found]  # (A, most) or (A, most, K)
    for k in [each for each in KS if each <= most]:
        for temperature in TEMPERATURES if k > 1 else TEMPERATURES[:1]:
            shares = votes(nearest[:, :k], said[:, :k], temperature, len(prior))
            if not answers.is_floating_point():
                shares = (k * shares + prior) / (k + 1)
            yield Candidate(scaling, k, temperature), shares.numpy()


def _score(found: NDArray[np.float32], targets: Array, task: Task) -> tuple[float, ...]:
    """Greater is better."""
    if task.kind == "regression":
        return (_known(measure_one(task, "r2", found, targets)),)
    loss = -_known(measure_one(task, "log_loss", found, targets))
    if task.kind == "multilabel":
        return (loss,)
    return _known(measure_one(task, "accuracy", found, targets)), loss


def _known(value: float | None) -> float:
    return -math.inf if value is None else value
