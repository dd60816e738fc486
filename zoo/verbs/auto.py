"""`--strategy auto`: a look first, then the choice, written down with its reasons."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from zoo.data.types import MANY_ANSWERS
from zoo.transfer.auto import Given, decide
from zoo.transfer.budget import AUTO
from zoo.transfer.options import Training
from zoo.transfer.solvers import only_solved
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
    evidence = look(opened, started).evidence
    decision = decide(evidence, given(opened.config.train))
    record = {"seen": asdict(evidence), **decision.to_json()}
    return settle(opened, decision.recipe.applied(opened.config.train), (decision.why,)), record


def settle(opened: Opened, training: Training, notes: tuple[str, ...]) -> Opened:
    """The job with these choices, and what they leave open filled in."""
    whole, reasons = settled(training, opened.data, opened.backbone)
    config = replace(opened.config, train=training)
    known = (*opened.notes, *(reason for reason in reasons if reason not in opened.notes))
    return replace(opened, config=config, training=whole, notes=(*known, *notes))


def given(training: Training) -> Given:
    """What the user fixed."""
    return Given(epochs=training.epochs, lr=training.lr, backbone_lr=training.backbone_lr)
