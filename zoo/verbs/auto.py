"""`--strategy auto`: a look first, then the choice, written down with its reasons."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from zoo.data.types import MANY_ANSWERS
from zoo.transfer.auto import decide
from zoo.transfer.budget import AUTO
from zoo.transfer.devices import choose_device
from zoo.transfer.options import Training
from zoo.transfer.recipes import Given
from zoo.transfer.solvers import only_solved
from zoo.verbs.known import Known
from zoo.verbs.looking import look
from zoo.verbs.opening import Opened, settled

FILE = "auto.json"
"""In a run's folder: what was seen, considered and chosen."""


def choose(opened: Opened, started: float) -> tuple[Opened, dict[str, Any] | None]:
    """The job with its strategy settled, and what goes to `auto.json`; unchanged where a strategy was given.

    Args:
        opened: the job.
        started: when it began, by `time.monotonic`.
    """
    if opened.config.train.strategy != AUTO:
        return opened, None
    # A head that is solved anyhow, or answers that cannot be probed, leave nothing to measure.
    if opened.data.task.kind in MANY_ANSWERS or only_solved(str(opened.training.head)):
        return settle(opened, replace(opened.config.train, strategy=None), ()), None
    opened = with_known(opened)
    evidence = look(opened, started)
    decision = decide(evidence, given(opened.config.train))
    record = {"seen": asdict(evidence), **decision.to_json()}
    return settle(opened, decision.recipe.applied(opened.config.train), (decision.why,)), record


def with_known(opened: Opened) -> Opened:
    """The job with the frozen features of its training rows at hand."""
    device = str(choose_device(opened.training.device))
    return replace(opened, known=Known(opened.backbone, opened.data.splits["train"], device))


def settle(opened: Opened, training: Training, notes: tuple[str, ...]) -> Opened:
    """The job with these choices, and what they leave open filled in."""
    whole, reasons = settled(training, opened.data, opened.backbone)
    config = replace(opened.config, train=training)
    known = (*opened.notes, *(reason for reason in reasons if reason not in opened.notes))
    return replace(opened, config=config, training=whole, notes=(*known, *notes))


def given(training: Training) -> Given:
    """What the user fixed."""
    return Given(training.epochs, training.lr, training.backbone_lr, training.batch_size)
