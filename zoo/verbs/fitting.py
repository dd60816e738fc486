"""The steps of one run: from the solved head, where there is one, to the last weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from zoo.data.augment import recipe
from zoo.data.batches import Loader
from zoo.data.splits import hold_out
from zoo.data.types import Examples
from zoo.errors import UsageError
from zoo.models.composed import is_pretrained
from zoo.models.fusion import Fused
from zoo.records.checkpoints import newest
from zoo.records.plain import json_safe
from zoo.records.runs import RunFolder
from zoo.transfer.anchored import Souping
from zoo.transfer.distill import Distillation
from zoo.transfer.judging import Judge
from zoo.transfer.loop import Job, epochs_of, fit, steps_per_epoch
from zoo.transfer.metrics import greater_is_better, primary
from zoo.transfer.model import changeable, copied, put_back
from zoo.transfer.options import Training
from zoo.transfer.replay import Replay
from zoo.transfer.scores import score
from zoo.transfer.sharding import spread_model
from zoo.transfer.surgical import LOOKED_AT, Looking, gradient_ratios
from zoo.transfer.tasks import TargetScale, loss_for
from zoo.transfer.team import current
from zoo.transfer.terms import Ended, Finishing, Guided, Setting, Term
from zoo.transfer.trained import Trained
from zoo.verbs.config import write_config
from zoo.verbs.run import Event, Interrupted
from zoo.verbs.soup import Member, greedy, keep_member, kept_member
from zoo.verbs.together import check_terms

if TYPE_CHECKING:
    from zoo.verbs.session import Session

SHOWN_ROWS = 2_000
"""Held-out rows that are evaluated after each epoch at most; the final figures use all of them."""
FEW_SHOWN = 250
"""As many at least: otherwise half as many as are trained on, so that looking costs less than learning."""

BALANCED = 128
"""Training rows that tell how large the features of each part of `a+b` are."""


def shown_rows(train: int, held: int) -> int:
    """Of so many held-out rows, how many are measured after each epoch."""
    return min(held, max(train // 2, FEW_SHOWN), SHOWN_ROWS)


class Fitting:
    """The training of a session's model.

    Args:
        session: with its model, data and phases.
        folder: of the run; checkpoints lie there.
        stop: asked after every step.
        resume: go on from the newest checkpoint.
    """

    def __init__(self, session: Session, folder: RunFolder, stop: Callable[[], bool], *, resume: bool) -> None:
        self.session = session
        self.folder = folder
        self.stop = stop
        self.resume = resume
        self.model = session.model
        self.task = session.data.task
        self.train, self.judged = self._split()
        self.scale: TargetScale | None = None

    def trained(self) -> Trained:
        """The model after all phases.

        Raises:
            Interrupted: `stop` said so.
            UsageError: memory does not suffice for the batch that was asked for.
        """
        session, trained = self.session, self.ready()
        start = copied(self.model, changeable(self.model, session.gradient_phases))
        while True:
            try:
                self._train(trained, start)
                break
            except torch.OutOfMemoryError as error:
                put_back(self.model, start)
                self._halve(error)
        if session.training.early_stop is not None and self._unmoved(start):
            session.watch(
                Event(note="no epoch was better than the solved head; it is solved anew on all training rows")
            )
            session.solve(self.folder, session.data.splits["train"], self.scale)
        if isinstance(session.strategy, Finishing):
            session.watch(Event(note=session.strategy.finish(Ended(self.model, start))))
        if self._imitates():
            session.solve(self.folder, self.train, self.scale)
        self.model.eval()
        return trained

    def _imitates(self) -> bool:
        """Whether the head learns nothing in training, so that it says nothing until it is solved at the end."""
        return any(isinstance(guide, Distillation) and guide.options.imitates for guide in self.session.guides)

    def _unmoved(self, start: Mapping[str, Tensor]) -> bool:
        """Whether a solved head, and the backbone as it was, are what early stopping kept."""
        if self.session.phases[0].solver != "closed-form":
            return False
        state = self.model.state_dict()
        return all(torch.equal(state[name].cpu(), each) for name, each in start.items())

    def ready(self) -> Trained:
        """The model as it is before the first step: its head solved where the strategy says so."""
        session = self.session
        assert self.train.targets is not None
        if self.task.kind == "regression":
            self.scale = TargetScale.fit(self.train.targets)
        if session.phases[0].solver == "closed-form":
            session.solve(self.folder, self.train, self.scale)
        elif isinstance(session.backbone, Fused) and is_pretrained(session.backbone):
            self._balance(session.backbone)
        trained = Trained(self.model, session.head_options, self.task, self.scale, session.device)
        if isinstance(session.strategy, Looking):
            self._look(trained)
        return trained

    def _balance(self, backbone: Fused) -> None:
        """A head that begins at random shall learn from every part of `a+b` alike."""
        order = np.random.default_rng(0).permutation(len(self.train))[:BALANCED]
        backbone.scales.fill_(1.0)
        features = self.session.features(self.train.select(np.sort(order)), "measuring")
        backbone.balance(features)
        scales = zip(backbone.each, backbone.scales.tolist(), strict=True)
        said = ", ".join(f"{part.name} x {scale:.3g}" for part, scale in scales)
        self.session.watch(Event(note=f"features brought to one size: {said}"))

    def _train(self, trained: Trained, start: Mapping[str, Tensor]) -> None:
        """Once, or several times for a soup; a member that was finished before a stop is not trained again."""
        session, root = self.session, self.folder.path
        if not isinstance(session.strategy, Souping):
            return self._fit(trained, session.training, root / "checkpoints")
        members = []
        ingredients = session.strategy.ingredients(session.training)
        for index, training in enumerate(ingredients):
            path = root / "members" / str(index)
            kept = self._kept(path)
            if kept is None:
                said = f"member {index + 1} of {len(ingredients)}: seed {training.seed}, rate {training.lr:.2g}"
                session.watch(Event(note=said))
                put_back(self.model, start)
                self._fit(trained, training, root / "checkpoints" / str(index))
                kept = self._member(path, trained, start)
            members.append(kept)
        state, taken, best = current().lead(lambda: greedy(members, lambda each: self._value_of(each, trained)))
        put_back(self.model, state)
        current().lead(lambda: shutil.rmtree(root / "members", ignore_errors=True))
        alone = ", ".join(f"{each.score:.4g}" for each in members)
        names = " and ".join(str(index + 1) for index in sorted(taken))
        session.watch(Event(note=f"soup of member {names}: {best:.4g} on held-out rows ({alone} each by itself)"))
        return None

    def _kept(self, path: Path) -> Member | None:
        return current().lead(lambda: kept_member(path) if self.resume else None)

    def _member(self, path: Path, trained: Trained, start: Mapping[str, Tensor]) -> Member:
        return current().lead(lambda: keep_member(path, copied(self.model, start), self._value(trained)))

    def _look(self, trained: Trained) -> None:
        """Settle the table of a strategy that asks the gradients."""
        session = self.session
        assert isinstance(session.strategy, Looking)
        loader = self._loader(trained, session.training)
        batches = islice(loader.epoch(0), LOOKED_AT)
        ratios = current().lead(
            lambda: gradient_ratios(self.model, batches, self._loss(session.training), session.device)
        )
        free = {name: value for name, value in ratios.items() if name not in session.frozen}
        session.settle(session.strategy.looked(free))
        told = ", ".join(f"{name} {value:.2g}" for name, value in ratios.items())
        chosen = " and ".join(name for name in ratios if any(name in each.lr for each in session.gradient_phases))
        session.watch(Event(note=f"{session.strategy.name} trains {chosen}; gradient to weight: {told}"))
        self.folder.log({"split": "train", "gradient_to_weight": json_safe(ratios)})

    def _halve(self, error: Exception) -> None:
        """Half the rows at once, unless the user chose them; as many rows a step as before."""
        session, training = self.session, self.session.training
        batch = session.batch_size()
        if session.config.train.batch_size is not None or batch == 1 or current().size > 1:
            raise UsageError(
                f"out of memory on {session.device} with {batch} rows a step",
                help=f"give --batch-size {max(batch // 2, 1)} --accumulate {2 * training.accumulate}, "
                "a smaller backbone, or --device cpu",
            ) from error
        session.training = replace(training, batch_size=batch // 2, accumulate=2 * training.accumulate)
        # A resumed run has to take the same steps, and those of the larger batch are worth nothing now: gone first, for
        # a run that is killed in between must not go on from them with the smaller one.
        for left in ("checkpoints", "members"):
            shutil.rmtree(self.folder.path / left, ignore_errors=True)
        self.folder.write_text("config.yaml", write_config(replace(session.config, train=session.training)))
        said = f"out of memory with {batch} rows at once; beginning anew with {batch // 2}, two batches to a step"
        session.watch(Event(note=said))
        torch.cuda.empty_cache()

    def _fit(self, trained: Trained, training: Training, checkpoints: Path) -> None:
        session = self.session
        spread = self._spread(trained)
        job = self.job(spread, training, checkpoints)
        checkpoint = current().lead(lambda: newest(checkpoints) if self.resume else None)
        for record in fit(job, checkpoint):
            session.watch(Event(record=record))
            if record.note:
                session.watch(Event(note=record.note))
            if record.kind == "epoch":
                self.folder.log(
                    {"epoch": record.epoch, "step": record.step, "loss": record.loss, **json_safe(record.metrics)}
                )
            if record.kind == "stop":
                raise Interrupted(
                    f"stopped at step {record.step} of {record.steps}; everything so far is saved in "
                    f"{self.folder.path}",
                    help=f"go on with  zoo finetune --resume {self.folder.path}",
                )
        if spread is not trained:
            put_back(self.model, copied(spread.model, changeable(spread.model, session.gradient_phases)))
            self.model.to(session.device if current().leads else "cpu")

    def _spread(self, trained: Trained) -> Trained:
        """With the model as the processes train it: where it is spread over them, a copy."""
        session, team = self.session, current()
        if team.parallel == "ddp":
            return trained
        self.model.to("cpu")  # the whole of it does not have to fit beside a share
        return replace(trained, model=spread_model(self.model, session.one, team, session.device, bf16=session.bf16))

    def job(self, trained: Trained, training: Training, checkpoints: Path) -> Job:
        """What the loop is given."""
        session, task = self.session, self.task
        loader = self._loader(trained, training)
        phases = session.gradient_phases
        steps = sum(epochs_of(phases, training)) * steps_per_epoch(len(loader), training)
        terms, weight = self._terms(training, steps)

        judge = Judge(trained, self.judged, batch_size=session.batch_size())

        def evaluate(replay: Replay) -> dict[str, float | None]:
            return dict(json_safe(judge(replay).metrics()))

        return Job(
            model=trained.model,
            loader=loader,
            phases=phases,
            training=training,
            loss=self._loss(training),
            device=session.device,
            bf16=session.bf16,
            folder=checkpoints if current().leads else None,
            evaluate=None if self._imitates() else evaluate,
            primary=primary(task),
            greater_is_better=greater_is_better(primary(task)),
            solved=session.phases[0].solver == "closed-form",
            stop=self.stop,
            terms=terms,
            task_weight=weight,
            mix=session.mixers.mix,
            blend=session.mixers.blend,
            team=current(),
        )

    def _loader(self, trained: Trained, training: Training) -> Loader:
        return Loader(
            self.train,
            trained.processors(),
            batch_size=self.session.batch_size(),
            train=True,
            seed=training.seed,
            augment=recipe(training.augment or "none"),
            share=(current().rank, current().size),
            pinned=self.session.device.type == "cuda",
        )

    def _loss(self, training: Training) -> Callable[[Tensor, Tensor], Tensor]:
        scale = self.scale
        loss = loss_for(self.task, training.loss, training.label_smoothing, self.session.class_weights)
        return loss if scale is None else lambda outputs, targets: loss(outputs, scale.apply(targets))

    def _terms(self, training: Training, steps: int) -> tuple[tuple[Term, ...], float]:
        """What strategy and guides add to the loss, and the weight that they leave to the task's own."""
        session = self.session
        guides = [each for each in (session.strategy, *session.guides) if isinstance(each, Guided)]
        if not guides:
            return (), 1.0
        setting = Setting(
            model=self.model,
            train=self.train,
            task=self.task,
            scale=self.scale,
            training=training,
            device=session.device,
            steps=steps,
            unlabelled=session.unlabelled,
            features=session.features,
            say=lambda text: session.watch(Event(note=text)),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed + 1)
            found = current().in_turn(lambda: tuple(term for guide in guides for term in guide.terms(setting)))
        check_terms(current(), found)
        weight = 1.0
        for guide in guides:
            weight *= guide.task_weight
        return found, weight

    def _value(self, trained: Trained) -> float:
        """The task's metric on the rows that are judged; greater is better."""
        metric = primary(self.task)
        value = score(trained, self.judged, batch_size=self.session.batch_size()).metrics()[metric]
        if value is None:
            return -np.inf
        return value if greater_is_better(metric) else -value

    def _value_of(self, state: Mapping[str, Tensor], trained: Trained) -> float:
        put_back(self.model, state)
        return self._value(trained)

    def _split(self) -> tuple[Examples, Examples]:
        """Training rows, and the rows judged after each epoch.

        What chooses by the rows that are judged never judges those that the result is reported on.
        """
        session = self.session
        splits, training = session.data.splits, session.training
        train, judged = splits["train"], splits.get("val", splits[session.data.held_out])
        chooses = training.early_stop is not None or isinstance(session.strategy, Souping)
        if chooses and not {"val", "test"} <= set(splits):
            train, judged = hold_out(train, self.task, share=0.15, seed=training.seed)
            what = "early stopping" if training.early_stop is not None else session.strategy.name
            session.watch(Event(note=f"{what} judges {len(judged)} rows held out of train"))
        shown = shown_rows(len(train), len(judged))
        if len(judged) > shown and not chooses:
            picked = np.random.default_rng(0).permutation(len(judged))[:shown]
            judged = judged.select(np.sort(picked))
        return train, judged
