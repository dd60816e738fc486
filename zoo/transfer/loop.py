"""The training loop: one generator of records; the caller draws, logs and decides when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.data.batches import Batch, Loader
from zoo.errors import DivergedError
from zoo.models.features import Features
from zoo.records.checkpoints import Checkpoint, publish
from zoo.transfer.averaging import Average
from zoo.transfer.compiling import compiled, why_not_compiled
from zoo.transfer.devices import sow, takes_channels_last
from zoo.transfer.forward import Forward
from zoo.transfer.model import Model, changeable, copied, put_back
from zoo.transfer.optim import Scheduler, make_optimizer, set_rates
from zoo.transfer.options import Training
from zoo.transfer.replay import Repeats, Replay, repeats
from zoo.transfer.shares import load_state, whole, whole_state
from zoo.transfer.strategies import ADAPTERS, Phase, StageRow
from zoo.transfer.team import ALONE, Team
from zoo.transfer.terms import Term

Metrics = Mapping[str, float | None]


@dataclass(frozen=True)
class Record:
    """What happened: a step, the end of an epoch, or a checkpoint."""

    kind: Literal["step", "epoch", "stop"]
    phase: str
    epoch: int
    """Counted from 0 over all phases."""
    step: int
    """Optimiser steps so far, over all phases."""
    steps: int
    """Of the whole run."""
    loss: float | None = None
    lr: float | None = None
    metrics: Metrics = field(default_factory=dict)
    seconds: float = 0.0
    norm: float | None = None
    """Of the gradient before it is clipped; None where it never is."""
    note: str = ""
    """Something that turned out on the way, in one sentence."""


@dataclass
class Progress:
    """Where a run stands; everything a checkpoint needs besides tensors."""

    phase: int = 0
    epoch: int = 0
    """Within the phase."""
    batch: int = 0
    """Batches of this epoch that are done."""
    step: int = 0
    best: float | None = None
    best_epoch: int | None = None
    stale: int = 0
    """Epochs since the best."""


Mixing = Callable[[Batch, int], Batch]
"""A batch on the device and the step to the batch with rows that are mixed, their targets made soft to match."""
Blending = Callable[[Features, Batch, int], tuple[Features, Batch]]
"""The same of features, before the head."""


@dataclass(frozen=True)
class Job:
    """All that `fit` needs."""

    model: Model
    loader: Loader
    phases: Sequence[Phase]
    training: Training
    loss: Callable[[Tensor, Tensor], Tensor]
    device: torch.device
    bf16: bool
    folder: Path | None
    """Of the checkpoints; None: none are written."""
    evaluate: Callable[[Replay], Metrics] | None = None
    primary: str = ""
    """The metric that early stopping watches."""
    greater_is_better: bool = True
    solved: bool = False
    """Whether the head is solved when training begins; early stopping then may find that nothing was better."""
    stop: Callable[[], bool] = lambda: False
    terms: Sequence[Term] = ()
    """Added to the loss of the task."""
    task_weight: float = 1.0
    """Of the loss of the task beside them."""
    mix: Mixing | None = None
    """Changes rows and targets of a training batch together, before the forward pass."""
    blend: Blending | None = None
    """The same of features, before the head."""
    schedule: Callable[[int], float] | None = None
    """Multiplier of the rates at a step of a phase, in place of that of the training."""
    look_every: int = 10
    """Steps between looks at the loss on a GPU, where reading it waits for the device."""
    team: Team = ALONE
    """The processes that share every batch; all call `fit` with the same job but for the share of the loader."""


def fit(job: Job, resume: Checkpoint | None = None) -> Iterator[Record]:
    """Train phase by phase; the model holds the result when the iterator ends.

    The dropout generator is seeded from (seed, step) before every step, so a resumed run draws what the
    uninterrupted one would have drawn; the caller's own random state is put back at the end.

    Raises:
        DivergedError: a loss or gradient that is not finite; the last good checkpoint is kept.
    """
    devices = [job.device] if job.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield from _Run(job, resume).records()


class _Run:
    def __init__(self, job: Job, resume: Checkpoint | None) -> None:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        # The state is a process-wide singleton that refuses a second run with another device or precision.
        AcceleratorState._reset_state(True)
        self.job = job
        self.accelerator = Accelerator(
            cpu=job.device.type == "cpu", mixed_precision="bf16" if job.bf16 else "no", device_placement=False
        )
        spread = job.team.parallel == "fsdp"
        self.model = job.model if spread else job.model.to(job.device)
        images = "image" in job.model.backbone.modalities and takes_channels_last(job.model, job.device)
        if images and not spread:  # weights that are spread lie as they are sent
            self.model = self.model.to(memory_format=torch.channels_last)
        self.terms = torch.nn.ModuleList(job.terms).to(job.device)
        self.forward = Forward(job, self.model, self.terms, self.accelerator.autocast, channels_last=images)
        self.at = Progress()
        self.norm: Tensor | None = None
        self.best: dict[str, Tensor] | None = None
        self.started = time.monotonic()
        self.resume = resume
        if resume is not None:
            self.at = Progress(**resume.state["progress"])
        self.epochs = epochs_of(job.phases, job.training)
        self.names = changeable(job.model, job.phases)
        decay = job.training.ema
        self.average = None if decay is None else Average(self.model, self.names, decay)
        self.batches = len(job.loader)
        self.per_epoch = steps_per_epoch(self.batches, job.training)
        self.steps = sum(self.epochs) * self.per_epoch
        self.replay = self._replay(None, 0)

    def records(self) -> Iterator[Record]:
        job = self.job
        for index in range(self.at.phase, len(job.phases)):
            if index != self.at.phase:
                self.at.phase, self.at.epoch, self.at.batch = index, 0, 0
            try:
                yield from self._phase(job.phases[index], self.epochs[index])
            finally:
                self.replay.close()
            if self._asked():
                return
        if self.best is not None:
            put_back(self.model, self.best)
        elif self.average is not None:
            put_back(self.model, self.average.state)

    def _phase(self, phase: Phase, epochs: int) -> Iterator[Record]:
        job, backbone = self.job, self.job.model.backbone
        stages = backbone.stages()
        trained = phase.trained([StageRow(s.name, s.branch) for s in stages])
        backbone.freeze_except(trained, keep_statistics=phase.keep_statistics)
        for parameter in job.model.adapters:
            parameter.requires_grad_(phase.lr.get(ADAPTERS, 0.0) > 0)
        self.optimizer = make_optimizer(
            phase, stages, job.model.head, job.training, job.model.adapters, tuple(self.terms.parameters())
        )
        self.schedule = job.schedule or Scheduler(job.training, max(epochs * self.per_epoch, 1), self.per_epoch)
        if self.resume is not None:
            self._restore(self.resume)
            self.resume = None
        done_before = sum(self.epochs[: self.at.phase])
        mixed = job.mix is not None
        found = repeats(job.model, phase, job.training, epochs=epochs, draws=job.loader.draws, mixed=mixed)
        self.replay = self.forward.replay = self._replay(found, done_before + epochs)
        why_not = self._compile(replays=self.replay.store is not None)
        self.loss = job.team.sharing(self.forward)
        if job.solved and job.training.early_stop is not None and self.at.step == 0:
            self.model.eval()
            yield self._record("epoch", phase, -1, metrics=self._look(-1)[0])
        while self.at.epoch < epochs:
            number = done_before + self.at.epoch
            yield from self._epoch(phase, number)
            if self._asked() and self.at.batch < self.batches:
                self._save()
                yield self._record("stop", phase, number)
                return
            metrics, finished = self._look(number)
            self.at.epoch, self.at.batch = self.at.epoch + 1, 0
            if finished:
                self.at.epoch = epochs
            self._save()
            note, why_not = "; ".join(filter(None, (self.replay.news(), why_not))), ""
            yield self._record("epoch", phase, number, loss=self.mean_loss, metrics=metrics, note=note)
            if self._asked():
                yield self._record("stop", phase, number)
                return

    def _compile(self, *, replays: bool) -> str:
        """Compile the backbone for a phase where that was asked for; why it was not, if it was not."""
        if self.job.training.compile == "off":
            return ""
        why_not = why_not_compiled(self.job, replays=replays)
        self.forward.compiled = None if why_not else compiled(self.job.model)
        return why_not and f"nothing is compiled: {why_not}"

    def _replay(self, found: Repeats | None, end: int) -> Replay:
        job = self.job
        folder = job.folder and job.folder / "replay"
        return Replay(job.model, found, job.training, job.device, folder, end=end, whole_inputs=bool(job.terms))

    def _epoch(self, phase: Phase, number: int) -> Iterator[Record]:
        job = self.job
        self.model.train()
        self.terms.train()
        total, count = torch.zeros((), device=job.device), 0
        replay = self.replay
        replay.begin(number)
        group = job.training.accumulate
        known = replay.ready(job.loader)
        epoch = job.loader.epoch(number, self.at.batch, views=replay.views, group=group, ready=known)
        for batches in grouped(epoch, group):
            loss, rate = self._step(batches)
            total, count = total + loss, count + 1
            self.at.batch += len(batches)
            self.at.step += 1
            if job.device.type == "cpu" or self.at.step % job.look_every == 0:
                loss = job.team.total(loss)
                self._check(loss, rate)
                norm = None if self.norm is None else float(self.norm)
                yield self._record("step", phase, number, loss=float(loss), lr=rate, norm=norm)
            if job.training.save_every and self.at.step % job.training.save_every == 0:
                self._check(job.team.total(total), rate)
                self._save()
            if self._asked():
                break
        total = job.team.total(total)
        self._check(total, 0.0)
        self.mean_loss = float(total) / max(count, 1)

    def _step(self, batches: Sequence[Batch]) -> tuple[Tensor, float]:
        """One step of the optimiser, on all rows of these batches together."""
        job = self.job
        # Each process draws for its own rows, the first as one alone would.
        sow((job.training.seed * 1_000_003 + self.at.step + job.team.rank * 2**40) % 2**63, job.device)
        rate = set_rates(self.optimizer, self.schedule(self._step_of_phase()))
        rows = sum(batch.whole or len(batch.rows) for batch in batches)
        total = torch.zeros((), device=job.device)
        for batch in batches:
            loss = self.loss(batch.to(job.device), self.at.step)
            share = (0 if batch.idle else len(batch.rows)) / rows
            loss = loss if share == 1 else loss * share
            # The gradients of a team are averaged, and its loss is a sum.
            (loss * job.team.size if job.team.size > 1 else loss).backward()
            total = total + loss.detach()
        if job.training.clip_norm:
            trained = [p for group in self.optimizer.param_groups for p in group["params"]]
            self.norm = whole(torch.nn.utils.clip_grad_norm_(trained, job.training.clip_norm))
            if job.device.type == "cpu":
                self._check(self.norm, rate, what="gradient norm")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.at.step)
        return total, rate

    def _step_of_phase(self) -> int:
        return self.at.epoch * self.per_epoch + -(-self.at.batch // self.job.training.accumulate)

    def _look(self, number: int) -> tuple[Metrics, bool]:
        """Metrics after an epoch, of the averaged weights where there are any, and whether the phase is over."""
        evaluate = self.job.evaluate
        with nullcontext() if self.average is None else self.average.in_place():
            metrics = self.job.team.look(lambda: self._judged(evaluate)) if evaluate is not None else {}
            return metrics, self._judge(metrics, number)

    def _judged(self, evaluate: Callable[[Replay], Metrics]) -> Metrics:
        # Weights that are gathered in bfloat16 do not go with what is computed in float32.
        with self.accelerator.autocast() if self.job.team.parallel == "fsdp" else nullcontext():
            return evaluate(self.replay)

    def _asked(self) -> bool:
        """Whether to stop; in all processes if in any."""
        return self.job.team.any(self.job.stop())

    def _judge(self, metrics: Metrics, number: int) -> bool:
        """Remember the best epoch where early stopping is asked for; True ends the phase."""
        patience = self.job.training.early_stop
        value = metrics.get(self.job.primary)
        if patience is None or value is None:
            return False
        signed = value if self.job.greater_is_better else -value
        if self.at.best is None or signed > self.at.best:
            self.at.best, self.at.best_epoch, self.at.stale = signed, number, 0
            self.best = copied(self.model, self.names)
            return False
        self.at.stale += 1
        return self.at.stale >= patience

    def _check(self, value: Tensor, rate: float, what: str = "loss") -> None:
        if math.isfinite(float(value)):
            return
        kept = f"; the last good checkpoint is in {self.job.folder}" if self.job.folder else ""
        raise DivergedError(
            f"the {what} is {float(value)} at step {self.at.step} (learning rate {rate:.2g}){kept}",
            help=f"lower the rate, e.g. --lr {rate / 10:.0e}, or look at the data with `zoo check`"
            if rate
            else "lower the learning rate with --lr, or look at the data with `zoo check`",
        )

    def _record(self, kind: Literal["step", "epoch", "stop"], phase: Phase, number: int, **values: Any) -> Record:
        seconds = time.monotonic() - self.started
        return Record(kind, phase.name, number, self.at.step, self.steps, seconds=seconds, **values)

    def _save(self) -> None:
        if self.job.folder is None and self.job.team.size == 1:
            return
        from safetensors.torch import save_file

        state = copied(self.model, self.names)
        for name, tensor in state.items():
            # A step can overflow after a loss that was finite; such weights must not push out the last good ones.
            if tensor.is_floating_point():
                self._check(tensor.abs().max(), 0.0, what=f"largest weight of {name}")
        # By all processes, for each may have a share of them.
        optimizer = whole_state(self.optimizer)
        average = None if self.average is None else self.average.copied()
        if self.job.folder is None:
            return

        def write(folder: Path) -> None:
            save_file(state, folder / "model.safetensors")
            torch.save(optimizer, folder / "optimizer.pt")
            if terms := self.terms.state_dict():
                torch.save(terms, folder / "terms.pt")
            if average is not None:
                save_file(average, folder / "average.safetensors")
            if self.best is not None:
                save_file(self.best, folder / "best.safetensors")

        publish(self.job.folder, self.at.step, write, {"progress": asdict(self.at)})

    def _restore(self, checkpoint: Checkpoint) -> None:
        from safetensors.torch import load_file

        put_back(self.model, load_file(checkpoint.path / "model.safetensors"))
        state = torch.load(checkpoint.path / "optimizer.pt", map_location=self.job.device, weights_only=True)
        load_state(self.optimizer, state)
        terms = checkpoint.path / "terms.pt"
        if terms.is_file():
            self.terms.load_state_dict(torch.load(terms, map_location=self.job.device, weights_only=True))
        if self.average is not None:
            self.average.begin(load_file(checkpoint.path / "average.safetensors"))
        best = checkpoint.path / "best.safetensors"
        self.best = load_file(best) if best.is_file() else None


def epochs_of(phases: Sequence[Phase], training: Training) -> list[int]:
    """Epochs of each phase: its share of all, at least one."""
    assert training.epochs is not None
    return [max(round(training.epochs * phase.share), 1) for phase in phases]


def steps_per_epoch(batches: int, training: Training) -> int:
    """Steps of the optimiser; the last may be on fewer batches than the others."""
    return -(-batches // training.accumulate)


def grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Batches that make one step together: neighbours in the epoch that their places are of, in whichever order."""
    for _, group in groupby(batches, key=lambda batch: batch.place and batch.place[1] // size):
        yield list(group)
