"""Short fine-tuning of the best few that were ranked: those that fall behind are stopped, and time is shared."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo.data.splits import hold_out
from zoo.data.types import Dataset
from zoo.records.runs import RunFolder
from zoo.transfer.budget import AUTO, budget_seconds
from zoo.transfer.contest import HELD, JUDGES
from zoo.transfer.metrics import greater_is_better
from zoo.transfer.options import Training
from zoo.verbs.candidates import Candidate
from zoo.verbs.config import RunConfig
from zoo.verbs.opening import open_job
from zoo.verbs.ranking import Ranking, Tuned
from zoo.verbs.run import Event
from zoo.verbs.scoring import Job, said
from zoo.verbs.search import first
from zoo.verbs.session import Session

HALVED = 2
"""Of the candidates that reach an epoch 1, 2, 4, ... the better half goes on: they are few."""


def finetuned(ranking: Ranking, candidates: Mapping[str, Candidate], job: Job, *, count: int, budget: str) -> Ranking:
    """The ranking with its best `count` fine-tuned in turn, by successive halving (Li et al. 2018) within a budget.

    Each trains on four fifths of the rows that were ranked on, with the recipe that `zoo finetune --budget` would try
    first in its share of the time that is left, and is judged on the other fifth; no held-out row is looked at.

    Args:
        ranking: by scores.
        candidates: by name.
        job: the terms of the ranking.
        count: how many.
        budget: for all of them, such as "5m".
    """
    began, seconds = time.monotonic(), budget_seconds(budget)
    rows, judges = hold_out(job.rows, job.task, share=min(HELD, JUDGES / max(len(job.rows), 1)), seed=job.seed)
    data = Dataset(ranking.data, job.task, {"train": rows, "val": judges}, {})
    contest = _Contest(job, data, ranking.metric)
    chosen = [each.backbone for each in ranking.ranked[:count]]
    found: dict[str, Tuned] = {}
    for place, name in enumerate(chosen):
        share = (seconds - (time.monotonic() - began)) / (len(chosen) - place)
        found[name] = contest.tuned(candidates[name], share)
        job.watch(Event(note=f"{name}: {_shown(found[name], ranking.metric)}"))
    return replace(
        ranking,
        judges=len(judges),
        ranked=tuple(replace(each, tuned=found.get(each.backbone)) for each in ranking.ranked),
    )


def _shown(tuned: Tuned, metric: str) -> str:
    value = "no value" if tuned.value is None else f"{metric} {tuned.value:.3f}"
    how = f"after {tuned.epochs} epochs" if tuned.epochs or tuned.ended != "done" else "of a solved head"
    return f"{value} {how}, {tuned.seconds:.0f} s, {tuned.ended}"


class _OutOfTime(Exception):  # noqa: N818  (a state of the contest, not a fault)
    """A candidate has used its share."""


class _Contest:
    def __init__(self, job: Job, data: Dataset, metric: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.job = job
        self.data = data
        self.metric = metric
        self.epochs = 0
        """Of the candidate that is trained now."""
        self.study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(seed=job.seed),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=HALVED),
        )

    def tuned(self, candidate: Candidate, seconds: float) -> Tuned:
        """Train one for at most so many seconds; what goes wrong costs this one alone."""
        import optuna

        began = time.monotonic()
        trial = self.study.ask()
        scores: list[float] = []
        self.epochs, ended = 0, "done"
        try:
            if seconds <= 0:
                raise _OutOfTime
            self._train(candidate, seconds, trial, scores)
        except optuna.TrialPruned:
            ended = "pruned"
        except _OutOfTime:
            ended = "out of time"
        except Exception as error:  # noqa: BLE001  (one candidate costs a line, not the run)
            ended = said(error)
        best = [each for each in scores if math.isfinite(each)]
        complete = ended == "done" and best
        state = optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.PRUNED
        self.study.tell(trial, best[-1] if complete else None, state=state)
        value = (best[-1] if greater_is_better(self.metric) else -best[-1]) if best else None
        return Tuned(value, self.epochs, time.monotonic() - began, ended)

    def _train(self, candidate: Candidate, seconds: float, trial: Any, scores: list[float]) -> None:
        """Adds its scores on the judging rows, one an epoch, greater for better."""
        import optuna

        started = time.monotonic()
        training = Training(strategy=AUTO, budget=f"{seconds:.1f}s", device=self.job.device, seed=self.job.seed)
        training = replace(training, pooling=self.job.pooling)
        config = RunConfig(backbone=candidate.name, data=self.data.name, baseline="none", train=training)
        backbone, _ = self.job.opened(candidate)
        opened = first(open_job(config, backbone, self.data, lambda event: None), started)

        def watch(event: Event) -> None:
            if event.record is None:
                return
            if event.record.kind == "epoch" and event.record.epoch >= 0:
                self.epochs += 1
                scores.append(self._signed(event.record.metrics.get(self.metric)))
                trial.report(scores[-1], self.epochs)
                if self.epochs < (opened.training.epochs or 0) and trial.should_prune():
                    raise optuna.TrialPruned
            elif event.record.kind == "step":
                self.job.watch(Event(doing=f"tuning {candidate.title}", done=1, total=event.record.steps))
                if time.monotonic() - started > seconds:
                    raise _OutOfTime

        with tempfile.TemporaryDirectory() as folder:
            place = RunFolder(Path(folder) / "trial")
            place.path.mkdir()
            session = Session(replace(opened, watch=watch, notes=()))
            trained = session.train(place, lambda: False, resume=False)
            if not scores:
                scores.append(self._signed(session.measure(trained, place).metrics.get(self.metric)))

    def _signed(self, value: float | None) -> float:
        if value is None or not math.isfinite(value):
            return -math.inf
        return value if greater_is_better(self.metric) else -value
