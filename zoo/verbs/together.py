"""What the processes of one run settle before it begins: the same data and choices in each, one folder for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from zoo.data.types import Dataset
from zoo.errors import UsageError
from zoo.models.backbone import Backbone
from zoo.models.heads import LossHead
from zoo.records.runs import RunFolder
from zoo.transfer.strategies import Strategy
from zoo.transfer.team import Team, current
from zoo.transfer.terms import Guided, Term
from zoo.transfer.texts import Reading
from zoo.verbs.config import RunConfig
from zoo.verbs.opening import Opened, open_job
from zoo.verbs.run import Watch

Settled = tuple[Opened, Mapping[str, Any] | None]
"""The job, and what `auto` wrote down of its choice."""


@dataclass(frozen=True)
class Followed(RunFolder):
    """A run's folder in a process that only reads it."""

    def log(self, record: Mapping[str, Any]) -> None:
        """Left to the first process."""

    def write_json(self, name: str, value: Any) -> None:
        """Left to the first process."""

    def write_text(self, name: str, text: str) -> None:
        """Left to the first process."""

    def finish(self, status: str, **more: Any) -> None:
        """Left to the first process."""


def followed(path: Path) -> RunFolder:
    """The folder of a run, for the first process to write and for the others to read."""
    return RunFolder(path) if current().leads else Followed(path)


def open_together(config: RunConfig, backbone: Backbone | None, data: Dataset | None, watch: Watch) -> Opened:
    """The job, opened by the first process and then by the others; see `open_job`.

    Raises:
        DataError, UsageError, WeightsError: bad input, in whichever process.
    """
    team = current()
    opened = team.in_turn(lambda: open_job(config, backbone, data, watch))
    if team.size == 1:
        return opened
    team.agree("the data", opened.data.fingerprint)
    training = team.lead(lambda: opened.training)
    _check_batch(team, training.batch_size or 1)
    if not team.leads:
        opened = replace(opened, config=replace(opened.config, out=replace(opened.config.out, tensorboard=False)))
    note = f"{team.size} processes share every batch of {training.batch_size} rows"
    if team.parallel == "fsdp":
        note = f"{note}, and the weights"
        # What one process finds no room for all would have to compute anew, as they gather the weights together.
        training = replace(training, replay="off")
    return replace(opened, training=training, notes=(*opened.notes, note))


def settled_by(opened: Opened, choose: Callable[[], Settled]) -> Settled:
    """The job as the first process settles it, by its own clock; the others follow.

    Args:
        opened: the job.
        choose: settles its strategy.
    """
    team = current()
    if team.size == 1:
        return choose()

    def chosen() -> tuple[Any, ...]:
        found, choice = choose()
        return found.config.train, found.training, found.notes, choice

    train, training, notes, choice = team.lead(chosen)
    config = replace(opened.config, train=train)
    # The features that a look has cached are found again by all.
    return replace(opened, config=config, training=training, notes=notes, known=None), choice


def check_terms(team: Team, terms: tuple[Term, ...]) -> None:
    """Refuse terms that compare the rows of a batch with each other, where no process has them all.

    Raises:
        UsageError: one of them does.
    """
    for term in terms:
        if term.compares and team.size > 1:
            refuse(team, f"a term of this loss ({type(term).__name__}) compares the rows of a batch with each other")


def check_spread(team: Team, strategy: Strategy, head: nn.Module, guides: Sequence[Guided]) -> None:
    """Refuse what needs the weights whole while it trains.

    Raises:
        UsageError: something does, and each process has only a share of them.
    """
    if team.parallel == "ddp":
        return
    found = {
        f"--strategy {strategy.name} adds to the loss of the task": isinstance(strategy, Guided),
        f"--strategy {strategy.name} reads the classes with the backbone": isinstance(strategy, Reading),
        "a teacher is asked in every step": bool(guides),
        f"the head {type(head).__name__} has a loss of its own": isinstance(head, LossHead),
    }
    for what, holds in found.items():
        if holds:
            raise UsageError(
                f"{what}, for which zoo needs the whole weights; with FSDP each of {team.size} processes has a share",
                help="take --parallel ddp, or --strategy full, partial, lora or lp-ft with a head such as linear",
            )


def refuse(team: Team, what: str) -> None:
    """Say that this needs whole batches.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        f"{what}, and {team.size} processes would each see only their share of it",
        help="run it in one process, without torchrun or accelerate launch",
    )


def _check_batch(team: Team, batch_size: int) -> None:
    if batch_size < team.size:
        raise UsageError(
            f"{team.size} processes cannot share batches of {batch_size} rows",
            help=f"give --batch-size {team.size} or more: it is the size of the whole batch",
        )
