"""`--budget`: recipes compete on a part of the training rows, and the winner trains on all of them."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from zoo.data.splits import hold_out
from zoo.data.types import MANY_ANSWERS, Dataset
from zoo.errors import DivergedError, UsageError
from zoo.models.backbone import Backbone
from zoo.records.runs import RunFolder
from zoo.transfer.auto import findings
from zoo.transfer.budget import budget_seconds
from zoo.transfer.contest import REDUCTION, Contest, Tried, contest, final_epochs, trial_seconds, winner
from zoo.transfer.evidence import Evidence
from zoo.transfer.metrics import greater_is_better, primary
from zoo.transfer.recipes import Recipe
from zoo.transfer.terms import Finishing
from zoo.verbs.auto import given, settle, with_known
from zoo.verbs.looking import look
from zoo.verbs.opening import Opened
from zoo.verbs.run import Event, Interrupted
from zoo.verbs.session import Session

STATE = "search.json"
"""In a run's folder while it searches: the contest, what was seen, and the seconds that are used."""
JOURNAL = "search.log"
"""Optuna's study: every trial with its scores."""
SHARES = ("accuracy", "micro_f1")
"""Metrics that are shares of rows, whose error is known."""


def search(
    opened: Opened, folder: RunFolder, stop: Callable[[], bool], started: float
) -> tuple[Opened, dict[str, Any]]:
    """The job with the winner's recipe, and what goes to `auto.json`; goes on where it was interrupted.

    Args:
        opened: the job; its training rows alone are looked at.
        folder: of the run.
        stop: asked after every step.
        started: when this process began, by `time.monotonic`.

    Raises:
        Interrupted: `stop` said so; what has ended is kept.
        UsageError: a task with many answers a row.
    """
    _check(opened)
    return _Search(with_known(opened), folder, stop, started).result()


def first(opened: Opened, started: float) -> Opened:
    """The job with the recipe that would be tried first; nothing is searched."""
    _check(opened)
    opened = with_known(opened)
    evidence = look(opened, started)
    budget = budget_seconds(str(opened.config.train.budget))
    entered = contest(evidence, given(opened.config.train), budget, time.monotonic() - started)
    others = "; ".join(str(each) for each in entered.recipes)
    what = f"try on {entered.rows} training rows:" if len(entered.recipes) > 1 else "search for nothing, and take"
    note = f"within {opened.config.train.budget} a run would {what} {others}"
    return settle(opened, _open(entered.recipes[0].applied(opened.config.train)), (note,))


class _OutOfTime(Exception):  # noqa: N818  (a state of the search, not a fault)
    """The search has used its share of the budget."""


class _Search:
    def __init__(self, opened: Opened, folder: RunFolder, stop: Callable[[], bool], started: float) -> None:
        self.opened = opened
        self.folder = folder
        self.stop = stop
        self.started = started
        self.task = opened.data.task
        self.metric = primary(self.task)
        self.budget = budget_seconds(str(opened.config.train.budget))
        state = folder.read_json(STATE)
        self.before = float(state.get("used", 0.0))
        """Seconds that an earlier process used."""
        self.evidence = Evidence.from_json(state["seen"]) if state else look(opened, started)
        self.contest = Contest.from_json(state["contest"]) if state else self._contest()
        self._keep()
        self.backbone = _Weights(opened.backbone)
        self.data = self._data()
        self.study = self._study()

    def used(self) -> float:
        """Seconds of the budget."""
        return self.before + time.monotonic() - self.started

    def result(self) -> tuple[Opened, dict[str, Any]]:
        self._compete()
        tried = self._tried()
        judges = len(self.data.splits["val"])
        best = winner(tried, judges, share=self.metric in SHARES)
        chosen = self.contest.recipes[best if best is not None else 0]
        epochs = final_epochs(
            chosen, self.evidence, given(self.opened.config.train), self.budget - self.used(), self._slower()
        )
        if chosen.epochs and epochs:
            chosen = replace(chosen, epochs=epochs)
        elif chosen.epochs:
            chosen = Recipe("linear-probe") if self.evidence.solvable else replace(chosen, epochs=1)
        trials = self._trials()
        why = self._why(chosen, trials)
        record = {
            "budget": self.budget,
            "seen": asdict(self.evidence),
            "chosen": asdict(chosen),
            "why": why,
            "trial_rows": len(self.data.splits["train"]),
            "judging_rows": judges,
            "metric": self.metric,
            "trials": trials,
            "search_seconds": round(self.used(), 1),
        }
        self._keep()
        return settle(self.opened, _open(chosen.applied(self.opened.config.train)), (why,)), record

    def _contest(self) -> Contest:
        return contest(self.evidence, given(self.opened.config.train), self.budget, self.used())

    def _keep(self) -> None:
        state = {"contest": self.contest.to_json(), "seen": asdict(self.evidence), "used": self.used()}
        self.folder.write_json(STATE, state)

    def _data(self) -> Dataset:
        """Trials and their judges, both from the training rows."""
        train, seed = self.opened.data.splits["train"], self.opened.training.seed
        rest, judged = hold_out(train, self.task, share=self.contest.judges / len(train), seed=seed)
        if self.contest.rows < len(rest):
            rest, _ = hold_out(rest, self.task, share=1 - self.contest.rows / len(rest), seed=seed + 1)
        return replace(self.opened.data, splits={"train": rest, "val": judged})

    def _study(self) -> Any:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = str(self.folder.path / JOURNAL)
        storage = optuna.storages.JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))
        study = optuna.create_study(
            storage=storage,
            study_name="strategies",
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(seed=self.opened.training.seed),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION),
            load_if_exists=True,
        )
        for each in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):  # a process was killed in it
            study.tell(each.number, state=optuna.trial.TrialState.FAIL)
        return study

    def _compete(self) -> None:
        from optuna.trial import TrialState

        recipes = self.contest.recipes
        if len(recipes) == 1:
            return
        say = self.opened.watch
        say(
            Event(
                note=f"search: {len(recipes)} recipes on {len(self.data.splits['train'])} training rows, "
                f"judged on {len(self.data.splits['val'])} others, for at most "
                f"{max(self.contest.until - self.used(), 0):.0f} s"
            )
        )
        for index in range(len(recipes)):
            if index in {each["recipe_index"] for each in self._trials()}:
                continue
            if self.used() > self.contest.until:
                say(Event(note="search: out of time, the remaining recipes are left out"))
                return
            # One at a time, so that a trial that was interrupted comes again in its place.
            if not self.study.get_trials(states=[TrialState.WAITING]):
                self.study.enqueue_trial({"recipe": index})
            trial = self.study.ask()
            self._try(trial, trial.suggest_int("recipe", 0, len(recipes) - 1))
            self._keep()

    def _try(self, trial: Any, index: int) -> None:
        import optuna

        recipe, began = self.contest.recipes[index], time.monotonic()
        scores: list[float] = []

        def report(value: float | None) -> None:
            scores.append(value if value is not None and math.isfinite(value) else -math.inf)
            trial.report(scores[-1], len(scores))
            if len(scores) < recipe.epochs and trial.should_prune():
                raise optuna.TrialPruned

        ended, state = "done", optuna.trial.TrialState.COMPLETE
        try:
            value = self._trained(recipe, report)
            if value is not None:
                scores.append(value)
        except optuna.TrialPruned:
            ended, state = "pruned", optuna.trial.TrialState.PRUNED
        except _OutOfTime:
            ended, state = "out of time", optuna.trial.TrialState.PRUNED
        except DivergedError:
            ended, state = "diverged", optuna.trial.TrialState.PRUNED
        finally:
            self.backbone.put_back()
        seconds = time.monotonic() - began
        for name, fact in {
            "ended": ended,
            "seconds": round(seconds, 2),
            "epochs": min(len(scores), recipe.epochs),
        }.items():
            trial.set_user_attr(name, fact)
        score = scores[-1] if scores and math.isfinite(scores[-1]) else None
        if score is None and state == optuna.trial.TrialState.COMPLETE:
            state = optuna.trial.TrialState.PRUNED
        self.study.tell(trial, score if state == optuna.trial.TrialState.COMPLETE else None, state=state)
        shown = f"{self.metric} {self._shown(score):.3f}" if score is not None else "no score"
        done = f" after {min(len(scores), recipe.epochs)} of {recipe.epochs} epochs" if recipe.epochs else ""
        which = f"trial {index + 1} of {len(self.contest.recipes)}"
        self.opened.watch(Event(note=f"{which}: {recipe}: {shown}{done}, {seconds:.0f} s, {ended}"))

    def _trained(self, recipe: Recipe, report: Callable[[float | None], None]) -> float | None:
        """Train one recipe; its score where no epoch has reported it."""

        def watch(event: Event) -> None:
            if event.record is None:
                return
            if event.record.kind == "epoch" and event.record.epoch >= 0:
                report(self._signed(event.record.metrics.get(self.metric)))
            elif event.record.kind == "step" and self.used() > self.contest.until:
                raise _OutOfTime

        inner = replace(self.opened, data=self.data, watch=watch, notes=())
        inner = settle(inner, _open(recipe.applied(self.opened.config.train)), ())
        place = RunFolder(self.folder.path / "trial")
        shutil.rmtree(place.path, ignore_errors=True)
        place.path.mkdir(parents=True)
        try:
            session = Session(inner)
            trained = session.train(place, self.stop, resume=False)
            if not recipe.epochs or isinstance(session.strategy, Finishing):
                return self._signed(session.measure(trained, place).metrics.get(self.metric))
        except Interrupted as error:
            raise Interrupted(
                f"stopped in a trial; what has ended is saved in {self.folder.path}",
                help=f"go on with  zoo finetune --resume {self.folder.path}",
            ) from error
        finally:
            shutil.rmtree(place.path, ignore_errors=True)
        return None

    def _signed(self, value: float | None) -> float | None:
        return value if value is None or greater_is_better(self.metric) else -value

    def _shown(self, score: float) -> float:
        return score if greater_is_better(self.metric) else -score

    def _tried(self) -> list[Tried]:
        return [
            Tried(each["recipe_index"], self._signed(each["score"]), each["ended"] == "done") for each in self._trials()
        ]

    def _trials(self) -> list[dict[str, Any]]:
        from optuna.trial import TrialState

        found = []
        for each in self.study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED]):
            values = list(each.intermediate_values.values())
            score = each.value if each.value is not None else (values[-1] if values else None)
            score = score if score is not None and math.isfinite(score) else None
            index = each.params["recipe"]
            found.append(
                {
                    "recipe": str(self.contest.recipes[index]),
                    "recipe_index": index,
                    "score": None if score is None else self._shown(score),
                    **each.user_attrs,
                }
            )
        return found

    def _slower(self) -> float:
        """How many times longer than predicted the trials took; 1 where none was trained."""
        real = planned = 0.0
        rows, judges = len(self.data.splits["train"]), len(self.data.splits["val"])
        for each in self._trials():
            recipe = self.contest.recipes[each["recipe_index"]]
            if recipe.epochs and each["epochs"]:
                real += each["seconds"]
                whole = trial_seconds(recipe, self.evidence, rows, judges)
                planned += whole * each["epochs"] / recipe.epochs
        return max(real / planned, 0.5) if planned else 1.0

    def _why(self, chosen: Recipe, trials: list[dict[str, Any]]) -> str:
        if not trials:
            said = f"auto takes {chosen}: the budget of {self.budget:.0f} s leaves no time for a search."
            return " ".join((said, *findings(self.evidence)))
        lines = ", ".join(
            f"{each['recipe']} {each['score']:.3f}" + ("" if each["ended"] == "done" else f" ({each['ended']})")
            for each in trials
            if each["score"] is not None
        )
        return (
            f"auto takes {chosen}: of {len(trials)} recipes on {len(self.data.splits['train'])} training rows it had "
            f"the best {self.metric} on {len(self.data.splits['val'])} other training rows, or was within half a "
            f"standard error of it and the more usual choice. Tried: {lines}. The search took {self.used():.0f} of "
            f"{self.budget:.0f} s."
        )


class _Weights:
    """A backbone as it was, to begin every trial from."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.state = {name: tensor.detach().clone() for name, tensor in backbone.state_dict().items()}
        self.trainable = [parameter.requires_grad for parameter in backbone.parameters()]

    def put_back(self) -> None:
        self.backbone.freeze_except([stage.name for stage in self.backbone.stages()])
        self.backbone.load_state_dict(self.state)
        for parameter, wanted in zip(self.backbone.parameters(), self.trainable, strict=True):
            parameter.requires_grad_(wanted)
            parameter.grad = None
        self.backbone.eval()


def _open(training: Any) -> Any:
    """Without the budget, which is spent on the search."""
    return replace(training, budget=None)


def _check(opened: Opened) -> None:
    if opened.data.task.kind in MANY_ANSWERS:
        raise UsageError(
            f"--budget searches for tasks with one answer a row, and this is a {opened.data.task.kind} task",
            help="leave it out, or choose a --strategy",
        )
