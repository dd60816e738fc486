"""The work of a comparison as values: who, on what rows, how; and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.comparison.result import Shots
from zoo.data.types import Dataset, ReadOptions
from zoo.records.cache import key_of
from zoo.transfer.options import Training

Array = NDArray[Any]
PROBE = "linear-probe"
"""The strategy whose heads are solved: one extraction serves every number of rows and every seed."""
SAMPLE = 2_000
"""Held-out rows whose features are kept, for likeness and maps."""


@dataclass(frozen=True)
class Entry:
    """A contender as it is carried out."""

    title: str
    backbone: str
    """In full, as it can be typed; with weights and towers."""
    modalities: tuple[str, ...]
    """That it can take."""
    strategy: str
    identity: str
    """Of code, weights and files; another one makes another result."""
    parts: tuple[str, ...] = ()
    """Titles of those that it joins."""
    floor_of: str | None = None
    licence: str | None = None
    random: bool = False
    """Whether some of its weights are random: a solved head then depends on the seed that they came from."""

    @property
    def solved(self) -> bool:
        """Whether its heads are solved on features that are computed once."""
        return self.strategy == PROBE


@dataclass(frozen=True)
class Source:
    """One of the data sets, which a worker can read by itself."""

    name: str
    read: ReadOptions
    given: Dataset | None = None
    """Rows that came from Python."""
    title: str = ""
    """For people."""


@dataclass(frozen=True)
class Order:
    """One head to solve, or one training."""

    shots: Shots
    seed: int
    key: str
    """Where the outcome is kept."""


@dataclass(frozen=True)
class Group:
    """What one worker does at once: heads on the same features, or one training."""

    entry: Entry
    source: Source
    orders: tuple[Order, ...]
    facts: str | None
    """Where the facts of the contender on these data are to be kept; None: they are there."""
    training: Training
    offline: bool
    runs: str
    """Folder for the runs of trainings."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.entry.title} on {self.source.title}"

    @property
    def job(self) -> str:
        """As `--only` takes it: the same whatever is known already."""
        if not self.orders:
            return self.name
        return job_name(self.entry, self.source, self.orders[0].shots, self.orders[0].seed)


def job_name(entry: Entry, source: Source, shots: Shots, seed: int) -> str:
    """Of what one worker does at once: all heads of a contender on the same data, or one of its trainings."""
    whole = f"{entry.title} on {source.title}"
    return whole if entry.solved else f"{whole}, {shots} shots, seed {seed}"


@dataclass(frozen=True)
class Outcome:
    """What came of an order."""

    predictions: Array
    """(N, K) of the held-out rows, as `Trained.predict` gives them; objects have no place here."""
    rows: int
    """It was trained on."""
    seconds: float
    memory: int | None
    """Peak bytes; None for a solved head, whose backbone takes more than the solving."""
    trained: int | None
    """Parameters."""
    chosen: str = ""
    """What validation chose, in words."""
    run: str | None = None
    """The run's folder."""
    spoiled: Mapping[str, Array] = field(default_factory=dict)
    """"image dropped" and the like: predictions with a modality that tells nothing."""


@dataclass(frozen=True)
class Facts:
    """What a contender is and costs on one data set, whatever it is trained on."""

    params: int
    dim: int
    flops: int | None
    """Of one row; None: not countable."""
    ms_per_row: float
    features: Array
    """(n, D) frozen, of the first held-out rows."""
    memory: int | None = None
    """Peak bytes of loading the backbone and of passes over rows."""
    shared: Mapping[str, float] = field(default_factory=dict)
    """Of a space of images and texts: "gap", "image to text" (trained on images, tested on texts) and the reverse."""


@dataclass(frozen=True)
class Done:
    """What a worker gives back."""

    outcomes: Mapping[str, Outcome]
    """By key."""
    facts: Facts | None


def order_key(entry: Entry, fingerprint: str, training: Training, shots: Shots, seed: int) -> str:
    """sha256 over everything that decides an outcome: contender, rows, training, draw."""
    import zoo

    return key_of(
        outcome=3,
        zoo=zoo.__version__,
        backbone=entry.backbone,
        identity=entry.identity,
        strategy=entry.strategy,
        data=fingerprint,
        training={name: value for name, value in vars(training).items() if name not in ("device", "seed", "strategy")},
        shots=shots,
        seed=seed,
        weights_seed=training.seed if entry.random and entry.solved else None,
    )


def facts_key(entry: Entry, fingerprint: str, training: Training, device: str) -> str:
    """sha256 likewise; what it costs depends on the machine."""
    import platform

    import zoo

    return key_of(
        facts=3,
        zoo=zoo.__version__,
        backbone=entry.backbone,
        identity=entry.identity,
        data=fingerprint,
        weights_seed=training.seed if entry.random else None,
        inputs=[training.pooling, training.image_size, training.channels],
        machine=[platform.node(), device],
    )


def as_arrays(done: Outcome | Facts) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and plain values, to be kept."""
    if isinstance(done, Facts):
        plain = {name: value for name, value in vars(done).items() if name != "features"}
        return {"features": done.features.astype(np.float32)}, plain
    plain = {name: value for name, value in vars(done).items() if name not in ("predictions", "spoiled")}
    spoiled = {f"spoiled/{name}": value.astype(np.float32) for name, value in done.spoiled.items()}
    return {"predictions": done.predictions.astype(np.float32), **spoiled}, plain


def outcome_of(arrays: Mapping[str, Array], plain: Mapping[str, Any]) -> Outcome:
    """As it was kept."""
    begin = "spoiled/"
    spoiled = {name.removeprefix(begin): value for name, value in arrays.items() if name.startswith(begin)}
    return Outcome(predictions=arrays["predictions"], spoiled=spoiled, **plain)


def facts_of(arrays: Mapping[str, Array], plain: Mapping[str, Any]) -> Facts:
    """As they were kept."""
    return Facts(features=arrays["features"], **plain)
