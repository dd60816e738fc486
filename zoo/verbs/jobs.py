"""What is left of a comparison or a ranking as jobs that a scheduler such as Slurm can carry out one by one."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from zoo.comparison.work import Group
from zoo.errors import UsageError
from zoo.records.home import cache_home
from zoo.transfer.devices import choose_device
from zoo.transfer.options import usual_epochs
from zoo.transfer.sweep import drawn
from zoo.verbs.cells import Work
from zoo.verbs.rank import Field

Words = Callable[[str | None], tuple[str, ...]]
"""The command line that carries out the job of this name; of None, that which makes the whole of what is kept."""


@dataclass(frozen=True)
class Job:
    """A piece of work that nothing else waits for."""

    name: str
    """As `--only` takes it."""
    argv: tuple[str, ...]
    """The command that carries out this piece and keeps what comes of it."""
    gpus: int
    results: int
    """Heads, trainings, or sets of features that come of it."""
    rows: int | None
    """That pass through the backbone, about; None: a budget decides."""


@dataclass(frozen=True)
class Counted:
    """How far a contender is on one data set, or a candidate."""

    name: str
    known: int
    """Results that are kept."""
    left: int


@dataclass(frozen=True)
class Jobs:
    """What `--dry-run` prints."""

    whole: str
    """"comparison" or "ranking"."""
    contenders: tuple[Counted, ...]
    jobs: tuple[Job, ...]
    """Those that are left."""
    final: tuple[str, ...]
    """The command that makes the whole of what the jobs have kept."""
    costs: tuple[str, ...] = ()
    """Contenders that only costs are lacking of, which the final command measures on its own machine."""

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--dry-run --json` prints."""
        return {
            "whole": self.whole,
            "home": str(cache_home()),
            "known": sum(each.known for each in self.contenders),
            "left": sum(each.left for each in self.contenders),
            "contenders": [asdict(each) for each in self.contenders],
            "jobs": [{**asdict(each), "argv": list(each.argv), "shell": shlex.join(each.argv)} for each in self.jobs],
            "costs": list(self.costs),
            "final": {"argv": list(self.final), "shell": shlex.join(self.final)},
        }


def device_elsewhere(name: str) -> str:
    """The device that a job will find: a card may be asked for where this machine has none."""
    try:
        return str(choose_device(name))
    except UsageError:
        if name.partition(":")[0] != "cuda":
            raise
        return name


def of_comparison(work: Work, words: Words) -> Jobs:
    """One job for all heads of a contender on one data set, or for one of its trainings."""
    gpus = 1 if work.device.startswith("cuda") else 0
    jobs = [
        Job(group.job, words(group.job), gpus, len(group.orders), _rows(work, group))
        for group in work.left
        if group.orders
    ]
    return Jobs(
        whole="comparison",
        contenders=tuple(
            Counted(name, known, sum(len(group.orders) for group in work.left if group.name == name))
            for name, known in work.known().items()
        ),
        jobs=tuple(jobs),
        final=words(None),
        costs=tuple(group.name for group in work.left if not group.orders),
    )


def of_ranking(field: Field, words: Words) -> Jobs:
    """One job for the features of each candidate; scores of them are a matter of the final command."""
    gpus = 1 if device_elsewhere(field.job.device).startswith("cuda") else 0
    kept = {each.name: field.job.is_kept(each) for each in field.candidates}
    return Jobs(
        whole="ranking",
        contenders=tuple(Counted(name, int(known), int(not known)) for name, known in kept.items()),
        jobs=tuple(Job(name, words(name), gpus, 1, len(field.job.rows)) for name, known in kept.items() if not known),
        final=words(None),
    )


def _rows(work: Work, group: Group) -> int | None:
    """A solved head takes each row once; a training takes its own once an epoch."""
    data, training = work.data[group.source.title], group.training
    train, held = data.splits["train"], len(data.splits[data.held_out])
    if group.entry.solved:
        return len(train) + held
    if training.budget is not None:
        return None
    assert train.targets is not None
    order = group.orders[0]
    rows = len(drawn(train.names, train.targets, data.task, order.shots, order.seed))
    return rows * (training.epochs or usual_epochs(rows)) + held
