"""What a choice of strategy rests on: data, backbone, a cheap probe, and seconds on this machine. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class StageSeen:
    """One stage as a look at the backbone found it."""

    name: str
    branch: str
    time: float
    """Share of the time of a forward pass."""
    params: float
    """Share of all parameters."""
    score: float | None = None
    """Cross-validated, of a probe on the mean of its output, on a sample of the training rows."""


@dataclass(frozen=True)
class Probed:
    """What a cross-validated probe on frozen features says, from training rows alone."""

    metric: str
    score: float
    half: float | None
    """The same from half as many rows."""
    floor: float
    """Of an answer that looks at no features: the majority class, the mean."""
    log_loss: float | None = None


@dataclass(frozen=True)
class Costs:
    """Seconds on this machine, measured on a sample and scaled to all rows."""

    opening: float
    """Until data were read and the backbone loaded."""
    looking: float
    """For the evidence, beyond what the probe itself needs."""
    extracting: float
    """A frozen pass over the training rows."""
    measuring: float
    """A frozen pass over the held-out rows."""
    solving: float
    """The probe, from features to the head."""
    reading: float
    """Of the training rows, decoded and batched, once an epoch."""
    forward: float
    """Of the training rows, once an epoch."""
    backward: float
    """Through every stage, once an epoch."""
    update: float
    """Of every parameter at each step, once an epoch."""

    @property
    def probe(self) -> float:
        """Of a linear probe from beginning to end."""
        return self.opening + self.extracting + self.solving + self.measuring


@dataclass(frozen=True)
class Evidence:
    """All that a choice rests on."""

    rows: int
    classes: int
    """1 where there are none."""
    dim: int
    params: int
    pretrained: bool
    solvable: bool
    """Whether the head can be solved instead of trained."""
    optimizer: str
    epochs: int
    """As many as a run without a limit takes."""
    batch_size: int
    costs: Costs
    shown: float = 1.0
    """Share of the held-out rows that are measured after each epoch."""
    normalised: bool = True
    """Whether every part of the backbone normalises what it computes."""
    replays: bool = False
    """Whether what frozen stages compute is kept from one epoch to the next."""
    probe: Probed | None = None
    """None: too few rows to tell, or the head cannot be solved."""
    stages: tuple[StageSeen, ...] = ()

    @property
    def per_class(self) -> float:
        """Training rows a class."""
        return self.rows / max(self.classes, 1)

    @property
    def depth(self) -> int:
        """Stages of the longest branch."""
        return max((len(names) for names in self.branches.values()), default=0)

    @property
    def branches(self) -> dict[str, list[StageSeen]]:
        """Stages by branch, from the stem to the top."""
        found: dict[str, list[StageSeen]] = {}
        for stage in self.stages:
            found.setdefault(stage.branch, []).append(stage)
        return found

    def top(self, depth: int) -> list[StageSeen]:
        """The upper stages of every branch."""
        return [stage for names in self.branches.values() for stage in names[-depth:] if depth > 0]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` gave, by way of JSON."""
        probe = value["probe"]
        return cls(
            **{
                **value,
                "costs": Costs(**value["costs"]),
                "probe": Probed(**probe) if probe else None,
                "stages": tuple(StageSeen(**each) for each in value["stages"]),
            }
        )
