"""Heads that are solved on frozen features: which can be, by what, and how to use the solution."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import Task
from zoo.errors import DataError, UnknownNameError, UsageError

if TYPE_CHECKING:
    import torch

    from zoo.catalog.spec import HeadSpec
    from zoo.models.heads import Head
    from zoo.transfer.zeroshot import ClassTexts

Array = NDArray[Any]


@dataclass(frozen=True)
class Solution:
    """What makes a fresh head the solved one."""

    state: Mapping[str, Array]
    """Of the head's state_dict, every key."""
    chosen: Mapping[str, float]
    """What validation chose, as {"C": 0.1}."""
    said: str
    """The same in words, such as "C = 0.1"."""
    seconds: float = 0.0


class Solver(Protocol):
    """Solves a head; the same rows and seed give the same solution."""

    def __call__(
        self, features: NDArray[np.float32], targets: Array, task: Task, *, seed: int, class_weights: Array | None
    ) -> Solution:
        """The head's state.

        Args:
            features: (N, D), finite.
            targets: as in `Examples`.
            task: what is predicted.
            seed: of every choice by chance.
            class_weights: (K,) how much the rows of each class count; None: alike.
        """


def solvable(task: str | None = None) -> tuple[str, ...]:
    """Names of the heads that can be solved, and answer this kind of task."""
    from zoo.catalog.discovery import default_catalog

    heads = default_catalog().heads.items()
    return tuple(name for name, spec in heads if spec.solver and (task is None or task in spec.tasks))


def by_features(task: str) -> tuple[str, ...]:
    """Names of the heads that can be solved for this kind of task from nothing but features and targets."""
    return tuple(name for name in solvable(task) if not _spec(name).names)


def only_solved(head: str) -> bool:
    """Whether this head can be solved and nothing else: no step could train it."""
    from zoo.catalog.discovery import default_catalog

    spec = default_catalog().heads.get(head)
    return spec is not None and not spec.trainable


def check_solvable(heads: Sequence[str], task: str) -> None:
    """Refuse heads that cannot be solved, or not for this kind of task.

    Raises:
        UnknownNameError: no head has that name.
        UsageError: a head that is trained by steps, or that is for other tasks.
    """
    names = ", ".join(solvable(task)) or "none"
    for head in heads:
        spec = _spec(head)
        if spec.solver is None:
            raise UsageError(
                f"the head {head} cannot be solved, it is trained by steps", help=f"heads that can be solved: {names}"
            )
        if task not in spec.tasks:
            raise UsageError(
                f"the head {head} is not for a task of {task}", help=f"heads that can be solved for it: {names}"
            )


def solve_head(
    head: str,
    features: NDArray[np.float32],
    targets: Array,
    task: Task,
    *,
    seed: int = 0,
    class_weights: Array | None = None,
    texts: ClassTexts | None = None,
) -> Solution:
    """Solve the head of this name.

    Args:
        head: such as "knn".
        features: (N, D).
        targets: as in `Examples`.
        task: what is predicted.
        seed: of folds and samples.
        class_weights: (K,) how much the rows of each class count.
        texts: the classes by their names, for heads that begin with them.

    Raises:
        DataError: features that are not finite.
        UsageError: a head that cannot be solved, or not without the names of the classes.
    """
    from zoo.catalog.factories import import_factory

    check_solvable([head], task.kind)
    if not np.isfinite(features).all():
        rows = np.flatnonzero(~np.isfinite(features).all(1))
        raise DataError(f"{len(rows)} rows have features that are not finite, the first is row {rows[0]}")
    started = time.perf_counter()
    solver: Solver = import_factory(str(_spec(head).solver), f"solver of head {head}")
    if _spec(head).names:
        if texts is None:
            raise UsageError(
                f"the head {head} begins with the names of the classes, which are not at hand here",
                help=f"use  zoo finetune BACKBONE DATA --head {head} --strategy linear-probe",
            )
        named: Any = solver  # which takes the names beside what every solver takes
        solver = functools.partial(named, texts=texts)
    found = solver(features, targets, task, seed=seed, class_weights=class_weights)
    return Solution(found.state, found.chosen, found.said, time.perf_counter() - started)


def put_into(head: Head, solution: Solution) -> Head:
    """The head, in eval mode, with the solution as its state."""
    import torch

    state = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in solution.state.items()}
    head.load_state_dict({name: value.reshape(solution.state[name].shape) for name, value in state.items()})
    return head.eval()


def solved_head(head: str, solution: Solution, task: Task, dim: int) -> Head:
    """A new head on features (B, dim) that is the solved one."""
    from zoo.models.heads import build_head

    return put_into(build_head(head, dim=dim, token_dim=dim, outputs=task.num_outputs), solution)


def decide(
    head: Head, task: Task, features: NDArray[np.float32], device: torch.device | str = "cpu"
) -> NDArray[np.float32]:
    """(N, K) class probabilities, or numbers, of a head on pooled features (N, D)."""
    import torch

    from zoo.models.features import Features
    from zoo.transfer.tasks import probabilities

    pooled = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)).to(device)
    with torch.inference_mode():
        outputs = head(Features(pooled=pooled, tokens=pooled.unsqueeze(1)))
        found: NDArray[np.float32] = probabilities(task, outputs.float()).cpu().numpy()
    return found


def linear(
    features: NDArray[np.float32], targets: Array, task: Task, *, seed: int, class_weights: Array | None
) -> Solution:
    """The head `linear`: logistic regression, or ridge for numbers."""
    from zoo.transfer.probe import solve

    found = solve(features, targets, task, seed=seed, class_weights=class_weights)
    edge = ", the last that was tried" if found.at_edge else ""
    state = {"linear.weight": found.weight, "linear.bias": found.bias}
    chosen = {"C": found.C}
    said = f"C = {found.C:g}{edge}"
    if found.length != 1:
        chosen["length"] = found.length
        said += f"; weights times {found.length:.2g}"
    return Solution(state, chosen, said)


def knn(
    features: NDArray[np.float32], targets: Array, task: Task, *, seed: int, class_weights: Array | None
) -> Solution:
    """The head `knn`: every training row, and how many of them vote."""
    from zoo.transfer.neighbours import solve

    _refuse_weights("knn", class_weights)
    return solve(features, targets, task, seed=seed)


def prototypes(
    features: NDArray[np.float32], targets: Array, task: Task, *, seed: int, class_weights: Array | None
) -> Solution:
    """The head `prototypes`: a mean for each class, and how sharply they are told apart."""
    from zoo.transfer.prototypes import solve

    _refuse_weights("prototypes", class_weights)
    return solve(features, targets, task)


def _spec(head: str) -> HeadSpec:
    from zoo.catalog.discovery import default_catalog

    heads = default_catalog().heads
    if head not in heads:
        raise UnknownNameError("head", head, heads)
    return heads[head]


def _refuse_weights(head: str, class_weights: Array | None) -> None:
    if class_weights is not None:
        raise UsageError(
            f"--class-weights are weights in a loss, and the head {head} has none",
            help="leave them out, or --head linear",
        )
