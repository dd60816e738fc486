"""What a choice of strategy rests on: data, backbone, a cheap probe, and seconds on this machine. No torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
    normalised: bool = True
    """Whether the backbone that it is of normalises what it computes."""


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
    replays: bool = False
    """Whether what frozen stages compute is kept from one epoch to the next."""
    augmented: tuple[str, ...] = ()
    """Branches that see an input otherwise in each epoch, where nothing is said of how many versions there are."""
    probe: Probed | None = None
    """None: too few rows to tell, or the head cannot be solved."""
    stages: tuple[StageSeen, ...] = ()
    frozen: tuple[str, ...] = ()
    """Stages that the user keeps as they are."""

    @property
    def per_class(self) -> float:
        """Training rows a class."""
        return self.rows / max(self.classes, 1)

    @property
    def depth(self) -> int:
        """Stages of the longest branch."""
        return self.reach()

    def reach(self, locked: Collection[str] = ()) -> int:
        """Stages of the longest branch that is not locked."""
        return max((len(stages) for branch, stages in self.branches.items() if branch not in locked), default=0)

    @property
    def branches(self) -> dict[str, list[StageSeen]]:
        """Stages by branch, from the stem to the top."""
        found: dict[str, list[StageSeen]] = {}
        for stage in self.stages:
            found.setdefault(stage.branch, []).append(stage)
        return found

    @property
    def moving(self) -> list[str]:
        """Branches that run and can learn."""
        return [
            branch
            for branch, stages in self.branches.items()
            if any(stage.time > 0 and stage.params > 0 and stage.name not in self.frozen for stage in stages)
        ]

    @property
    def locks(self) -> list[tuple[str, ...]]:
        """Branches that may be left as they are: none of them, and where several can learn, all but one of these."""
        alone = [tuple(other for other in self.branches if other != each) for each in self.moving]
        return [(), *(alone if len(alone) > 1 else [])]

    def top(self, depth: int, locked: Collection[str] = ()) -> list[StageSeen]:
        """The upper stages of every branch that is not locked, without those that stay as they are."""
        return [
            stage
            for branch, stages in self.branches.items()
            for stage in stages[max(len(stages) - depth, 0) :]
            if branch not in locked and stage.name not in self.frozen
        ]

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
                "augmented": tuple(value["augmented"]),
                "frozen": tuple(value["frozen"]),
            }
        )
