"""The steps of one run: from the solved head, where there is one, to the last weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from zoo.data.augment import recipe
from zoo.data.batches import Loader
from zoo.data.splits import hold_out
from zoo.data.types import Examples
from zoo.errors import UsageError
from zoo.records.checkpoints import newest
from zoo.records.runs import RunFolder
from zoo.transfer.loop import Job, epochs_of, fit, steps_per_epoch
from zoo.transfer.metrics import greater_is_better, primary
from zoo.transfer.model import changeable, copied, put_back
from zoo.transfer.options import Training
from zoo.transfer.scores import score
from zoo.transfer.tasks import TargetScale, loss_for
from zoo.transfer.terms import Ended, Finishing, Guided, Setting, Term
from zoo.transfer.trained import Trained
from zoo.verbs.config import write_config
from zoo.verbs.run import Event, Interrupted, json_safe

if TYPE_CHECKING:
    from zoo.verbs.session import Session

SHOWN_ROWS = 2_000
"""Held-out rows that are evaluated after each epoch; the final figures use all of them."""


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
        session = self.session
        assert self.train.targets is not None
        solved = session.phases[0].solver == "closed-form"
        if solved:
            session.solve(self.folder, self.train)
        if self.task.kind == "regression":
            self.scale = TargetScale.fit(self.train.targets)
            if solved:
                self._rescale_head(self.scale)
        trained = Trained(self.model, session.head_options, self.task, self.scale, session.device)
        start = copied(self.model, changeable(self.model, session.gradient_phases))
        while True:
            try:
                self._fit(trained, session.training, self.folder.path / "checkpoints")
                break
            except torch.OutOfMemoryError as error:
                put_back(self.model, start)
                self._halve(error)
        if isinstance(session.strategy, Finishing):
            ended = Ended(self.model, start, lambda: self._value(trained))
            session.watch(Event(note=session.strategy.finish(ended)))
        self.model.eval()
        return trained

    def _halve(self, error: Exception) -> None:
        """Half the rows at once, unless the user chose them; as many rows a step as before."""
        session, training = self.session, self.session.training
        batch = session.batch_size()
        if session.config.train.batch_size is not None or batch == 1:
            raise UsageError(
                f"out of memory on {session.device} with {batch} rows a step",
                help=f"give --batch-size {max(batch // 2, 1)} --accumulate {2 * training.accumulate}, "
                "a smaller backbone, or --device cpu",
            ) from error
        session.training = replace(training, batch_size=batch // 2, accumulate=2 * training.accumulate)
        # A resumed run has to take the same steps, and those of the larger batch are worth nothing now.
        self.folder.write_text("config.yaml", write_config(replace(session.config, train=session.training)))
        shutil.rmtree(self.folder.path / "checkpoints", ignore_errors=True)
        said = f"out of memory with {batch} rows at once; beginning anew with {batch // 2}, two batches to a step"
        session.watch(Event(note=said))
        torch.cuda.empty_cache()

    def _fit(self, trained: Trained, training: Training, checkpoints: Path) -> None:
        session = self.session
        job = self._job(trained, training, checkpoints)
        checkpoint = newest(checkpoints) if self.resume else None
        for record in fit(job, checkpoint):
            session.watch(Event(record=record))
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

    def _job(self, trained: Trained, training: Training, checkpoints: Path) -> Job:
        session, task, scale = self.session, self.task, self.scale
        loss = loss_for(task, training.loss, training.label_smoothing, session.class_weights)
        loader = Loader(
            self.train,
            trained.processors(),
            batch_size=session.batch_size(),
            train=True,
            seed=training.seed,
            augment=recipe(training.augment or "none"),
        )
        phases = session.gradient_phases
        steps = sum(epochs_of(phases, training)) * steps_per_epoch(len(loader), training)
        terms, weight = self._terms(training, steps)

        def evaluate() -> dict[str, float | None]:
            return dict(json_safe(score(trained, self.judged, batch_size=session.batch_size()).metrics()))

        return Job(
            model=self.model,
            loader=loader,
            phases=phases,
            training=training,
            loss=loss if scale is None else lambda outputs, targets: loss(outputs, scale.apply(targets)),
            device=session.device,
            bf16=session.bf16,
            folder=checkpoints,
            evaluate=evaluate,
            primary=primary(task),
            greater_is_better=greater_is_better(primary(task)),
            stop=self.stop,
            terms=terms,
            task_weight=weight,
            mix=session.mixers.mix,
            blend=session.mixers.blend,
        )

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
            found = tuple(term for guide in guides for term in guide.terms(setting))
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

    def _split(self) -> tuple[Examples, Examples]:
        """Training rows, and the rows judged after each epoch.

        What chooses by the rows that are judged never judges those that the result is reported on.
        """
        session = self.session
        splits, training = session.data.splits, session.training
        train, judged = splits["train"], splits.get("val", splits[session.data.held_out])
        chooses = training.early_stop is not None or isinstance(session.strategy, Finishing)
        if chooses and not {"val", "test"} <= set(splits):
            train, judged = hold_out(train, self.task, share=0.15, seed=training.seed)
            what = "early stopping" if training.early_stop is not None else session.strategy.name
            session.watch(Event(note=f"{what} judges {len(judged)} rows held out of train"))
        if len(judged) > SHOWN_ROWS and not chooses:
            picked = np.random.default_rng(0).permutation(len(judged))[:SHOWN_ROWS]
            judged = judged.select(np.sort(picked))
        return train, judged

    def _rescale_head(self, scale: TargetScale) -> None:
        """A head that was solved in the units of the data, in units of their deviation."""
        linear = next(m for m in self.model.head.modules() if isinstance(m, torch.nn.Linear))
        with torch.no_grad():
            std, mean = linear.bias.new_tensor(scale.std), linear.bias.new_tensor(scale.mean)
            linear.weight.div_(std[:, None])
            linear.bias.sub_(mean).div_(std)
