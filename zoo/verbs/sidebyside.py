"""Several models on the same held-out rows, with how sure their differences are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import Examples, Task
from zoo.records.plain import json_safe
from zoo.transfer.metrics import intervals, measure, primary
from zoo.transfer.paired import Difference, difference


@dataclass(frozen=True)
class Side:
    """One of the models."""

    title: str
    """What it is here, such as "student alone"."""
    backbone: str
    params: int
    """Of the backbone."""
    run: Path | None
    """None: it was not trained for this."""
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]]
    """95% intervals of the main metrics, by bootstrap."""


@dataclass(frozen=True)
class Candidate:
    """A model that is to be set beside others."""

    title: str
    backbone: str
    params: int
    run: Path | None
    predictions: NDArray[np.float32]
    """(N, K) as `Trained.predict` gives them."""


@dataclass(frozen=True)
class SideBySide:
    """Models, the first of them what the others are meant to reach, and the differences of interest."""

    split: str
    rows: int
    metric: str
    """The task's main one."""
    sides: tuple[Side, ...]
    differences: tuple[tuple[str, str, Difference], ...]
    """Title, title, and the first's metric less the second's."""

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints."""
        return {
            "split": self.split,
            "rows": self.rows,
            "metric": self.metric,
            "sides": [
                {
                    "title": side.title,
                    "backbone": side.backbone,
                    "params": side.params,
                    "run": None if side.run is None else str(side.run),
                    "metrics": dict(side.metrics),
                    "intervals": {name: list(pair) for name, pair in side.intervals.items()},
                }
                for side in self.sides
            ],
            "differences": [
                {"of": one, "from": other, **{k: v for k, v in asdict(found).items() if k != "metric"}}
                for one, other, found in self.differences
            ],
        }


def side_by_side(
    task: Task, split: str, held: Examples, candidates: Sequence[Candidate], pairs: Sequence[tuple[str, str]]
) -> SideBySide:
    """The models on the same rows.

    Args:
        task: what was predicted.
        split: whose rows these are.
        held: the rows, with targets.
        candidates: the models.
        pairs: titles of those whose difference is of interest.
    """
    assert held.targets is not None
    sides = tuple(
        Side(
            each.title,
            each.backbone,
            each.params,
            each.run,
            json_safe(measure(task, each.predictions, held.targets)),
            intervals(task, each.predictions, held.targets),
        )
        for each in candidates
    )
    found = {each.title: each.predictions for each in candidates}
    apart = [(one, other, difference(task, found[one], found[other], held.targets)) for one, other in pairs]
    known = tuple((one, other, each) for one, other, each in apart if each is not None)
    return SideBySide(split, len(held), primary(task), sides, known)
