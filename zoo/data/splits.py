"""Which row is used for what: seeded, stratified, the same for every backbone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import MANY_ANSWERS, Examples, Task
from zoo.errors import UsageError

Rows = NDArray[np.int64]


def hold_out(examples: Examples, task: Task, *, share: float, seed: int) -> tuple[Examples, Examples]:
    """The examples without a held-out share, and the share; each class is split alike where there are classes."""
    kept, held = split_rows(examples, task, share=share, seed=seed)
    return examples.select(kept), examples.select(held)


def split_rows(examples: Examples, task: Task, *, share: float, seed: int) -> tuple[Rows, Rows]:
    """Row numbers that stay, and row numbers that are held out.

    Rows with the same content stay together, so that a split never makes a leak.
    """
    rng = np.random.default_rng(seed)
    groups = _groups(examples.ids)
    first = np.array([rows[0] for rows in groups])
    strata = _strata(examples, task)[first]
    held_groups: set[int] = set()
    for stratum in np.unique(strata):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        # At least one row of every class stays to learn from.
        count = min(round(share * len(members)), len(members) - 1)
        held_groups.update(int(i) for i in members[:count])
    if not held_groups and len(groups) > 1:
        # Too few of each class for the share: one row of the greatest class, which can spare it best.
        found, counts = np.unique(strata, return_counts=True)
        held_groups.add(int(rng.choice(np.flatnonzero(strata == found[counts.argmax()]))))
    held = sorted(row for index in held_groups for row in groups[index])
    kept = sorted(set(range(len(examples))) - set(held))
    return np.array(kept, dtype=np.int64), np.array(held, dtype=np.int64)


def few_shot(examples: Examples, task: Task, *, shots: int, seed: int) -> Rows:
    """Row numbers of `shots` rows of each class, fewer where a class has fewer.

    Where a row has several labels, enough rows for each label; one row may serve several.

    Raises:
        UsageError: numbers have no classes; pixels and words have one each.
    """
    rng = np.random.default_rng(seed)
    if task.kind == "regression":
        raise UsageError(f"{shots} shots a class were asked for, and numbers have no classes", help="use --limit")
    if task.kind == "pairs":
        raise UsageError(f"{shots} shots a class were asked for, and pairs have no classes", help="use --limit")
    if task.kind in MANY_ANSWERS:
        raise UsageError(f"{shots} shots a class were asked for, and a row has many labels", help="use --limit")
    if task.kind == "multilabel" and examples.targets is not None:
        chosen: set[int] = set()
        for column in np.asarray(examples.targets).T:
            having = rng.permutation(np.flatnonzero(column))
            short = shots - sum(int(row) in chosen for row in having)
            chosen.update([int(row) for row in having if int(row) not in chosen][: max(short, 0)])
        return np.array(sorted(chosen), dtype=np.int64)
    strata = _strata(examples, task)
    picked = [rng.permutation(np.flatnonzero(strata == stratum))[:shots] for stratum in np.unique(strata)]
    return np.sort(np.concatenate(picked))


def sample(count: int, limit: int, *, seed: int) -> Rows:
    """`limit` of `count` row numbers."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:limit])


def _groups(ids: Sequence[str]) -> list[list[int]]:
    found: dict[str, list[int]] = {}
    for row, each in enumerate(ids):
        found.setdefault(each, []).append(row)
    return list(found.values())


def _strata(examples: Examples, task: Task) -> Rows:
    targets = examples.targets
    if targets is None or task.kind not in ("binary", "multiclass"):
        return np.zeros(len(examples), dtype=np.int64)
    return np.asarray(targets, dtype=np.int64)
