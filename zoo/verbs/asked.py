"""What a comparison is asked to be, as a value; and what follows from it before any data are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from zoo.catalog.spec import fingerprint
from zoo.comparison.result import Shots
from zoo.comparison.work import PROBE, Entry, Source
from zoo.data.types import Dataset, ReadOptions
from zoo.errors import UsageError
from zoo.records.runs import slug
from zoo.transfer.budget import AUTO, check_budget
from zoo.transfer.options import Training
from zoo.transfer.strategies import strategy_named
from zoo.verbs.config import Output
from zoo.verbs.contenders import entries

SEEDS = 3
FOLDER = "comparisons"
Given = str | Path | Dataset


@dataclass(frozen=True)
class Asked:
    """What a comparison is asked to be."""

    backbones: tuple[str, ...]
    data: tuple[str, ...]
    strategies: tuple[str, ...] = (PROBE,)
    shots: tuple[Shots, ...] = ("all",)
    seeds: int = SEEDS
    floors: bool = True
    reference: str | None = None
    weights: str | None = None
    offline: bool = False
    read: ReadOptions = field(default_factory=ReadOptions)
    training: Training = field(default_factory=Training)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(range(self.training.seed, self.training.seed + self.seeds))


def asked_for(
    backbones: Sequence[str],
    data: Sequence[Given],
    *,
    strategies: Sequence[str] | None = None,
    shots: Sequence[Shots] = ("all",),
    seeds: int = SEEDS,
    reference: str | None = None,
    floors: bool = True,
    weights: str | None = None,
    training: Training | None = None,
    read: ReadOptions | None = None,
    offline: bool = False,
) -> Asked:
    """The question, with what is left open filled in; arguments are those of `compare`.

    Raises:
        UsageError: a choice that cannot be meant.
    """
    train = training or Training()
    asked = Asked(
        backbones=tuple(backbones),
        data=tuple(each.name if isinstance(each, Dataset) else str(each) for each in data),
        strategies=tuple(dict.fromkeys(strategies or (PROBE if train.budget is None else AUTO,))),
        shots=tuple(shots),
        seeds=seeds,
        floors=floors,
        reference=reference,
        weights=weights,
        offline=offline,
        read=replace(read or ReadOptions(), seed=train.seed),
        training=replace(train, strategy=None),
    )
    check(asked)
    return asked


def check(asked: Asked) -> None:
    """Refuse what would fail after hours.

    Raises:
        UsageError: a choice that cannot be meant.
    """
    if asked.seeds < 1:
        raise UsageError(f"--seeds {asked.seeds} is not above 0", help="give a positive number such as 3")
    if len(set(asked.data)) < len(asked.data):
        raise UsageError("a data set is named twice", help="leave one of them out")
    if asked.training.budget is not None:
        for strategy in asked.strategies:
            check_budget(asked.training.budget, strategy)
    for strategy in set(asked.strategies) - {AUTO}:
        strategy_named(strategy, unfreeze=1, backbone_lr=1.0, options=asked.training.strategy_options)


def sources_of(asked: Asked, given: Sequence[Given]) -> tuple[Source, ...]:
    """The data sets, each by the end of its name where that tells it from the others."""
    ends = [Path(name).name or name for name in asked.data]
    titles = [name if ends.count(end) > 1 else end for name, end in zip(asked.data, ends, strict=True)]
    rows = [each if isinstance(each, Dataset) else None for each in given]
    return tuple(
        Source(name, asked.read, own, title) for name, own, title in zip(asked.data, rows, titles, strict=True)
    )


def contenders_of(asked: Asked) -> tuple[Entry, ...]:
    """Everyone who takes part.

    Raises:
        UsageError: the same one twice, no such name, or a reference that is none of them.
    """
    who = entries(asked.backbones, asked.strategies, weights=asked.weights, offline=asked.offline, floors=asked.floors)
    if asked.reference is not None and asked.reference not in {each.title for each in who}:
        titles = ", ".join(each.title for each in who if each.floor_of is None)
        raise UsageError(f"no contender is titled '{asked.reference}'", help=f"the titles are {titles}")
    return who


def folder_of(out: Output, asked: Asked, who: Sequence[Entry]) -> Path:
    """Where this comparison is kept: the same for the same question."""
    question = fingerprint([[[each.title, each.backbone, each.strategy] for each in who], vars(asked)])
    name = out.name or f"{slug(Path(asked.data[0]).stem or asked.data[0])}-{question[:6]}"
    return Path(out.dir if out.dir != Output().dir else FOLDER) / name


def made(folder: Path) -> Path:
    """The folder, made if it is missing.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"a comparison cannot be kept in {folder}: {error.strerror}", help="choose a folder with --out"
        ) from error
    return folder
