"""The training loop: one generator of records; the caller draws, logs and decides when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.data.batches import Batch, Loader
from zoo.errors import DivergedError
from zoo.models.backbone import Backbone, Inputs
from zoo.models.heads import Head, LossHead
from zoo.models.pyramid import Pyramid
from zoo.records.checkpoints import Checkpoint, publish
from zoo.transfer.devices import takes_channels_last
from zoo.transfer.optim import Scheduler, make_optimizer, set_rates
from zoo.transfer.options import Training
from zoo.transfer.strategies import ADAPTERS, Phase, StageRow

Metrics = Mapping[str, float | None]


class Model(nn.Module):
    """A backbone with its head: a batch to outputs (B, K).

    Args:
        backbone: what makes the features.
        head: what makes the outputs.
        pyramid: of the backbone, for a head that takes one.
    """

    pyramid: Pyramid | None

    def __init__(self, backbone: Backbone, head: Head, pyramid: Pyramid | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.set_pyramid(pyramid)
        self.adapters: tuple[nn.Parameter, ...] = ()
        """What the strategy inserted into the backbone; trained at the rate of "adapters"."""

    def set_pyramid(self, pyramid: Pyramid | None) -> None:
        """Held aside, so that no tensor of the backbone has two names."""
        object.__setattr__(self, "pyramid", pyramid)

    def forward(self, inputs: Inputs, targets: Tensor | None = None) -> Tensor:
        """(B, K) outputs of the head; (B, K, H, W) of pixels, (B, T, K) of tokens, (B, M, 6) of objects.

        With targets it is the loss of a head that has its own.
        """
        features = self.backbone(inputs) if self.pyramid is None else self.pyramid.features(inputs)
        if targets is None:
            return self.head(features)  # type: ignore[no-any-return]
        assert isinstance(self.head, LossHead)
        return self.head.loss(features, targets)


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
    evaluate: Callable[[], Metrics] | None = None
    primary: str = ""
    """The metric that early stopping watches."""
    greater_is_better: bool = True
    stop: Callable[[], bool] = lambda: False


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
        self.model = job.model.to(job.device)
        self.images = "image" in job.model.backbone.modalities and takes_channels_last(job.model, job.device)
        if self.images:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.at = Progress()
        self.best: dict[str, Tensor] | None = None
        self.started = time.monotonic()
        self.resume = resume
        if resume is not None:
            self.at = Progress(**resume.state["progress"])
        self.epochs = epochs_of(job.phases, job.training)
        self.names = changeable(job.model, job.phases)
        self.per_epoch = len(job.loader)
        self.steps = sum(self.epochs) * self.per_epoch

    def records(self) -> Iterator[Record]:
        job = self.job
        for index in range(self.at.phase, len(job.phases)):
            if index != self.at.phase:
                self.at.phase, self.at.epoch, self.at.batch = index, 0, 0
            yield from self._phase(job.phases[index], self.epochs[index])
            if job.stop():
                return
        if self.best is not None:
            put_back(self.model, self.best)

    def _phase(self, phase: Phase, epochs: int) -> Iterator[Record]:
        job, backbone = self.job, self.job.model.backbone
        stages = backbone.stages()
        backbone.freeze_except(phase.trained([StageRow(s.name, s.branch) for s in stages]))
        for parameter in job.model.adapters:
            parameter.requires_grad_(phase.lr.get(ADAPTERS, 0.0) > 0)
        self.optimizer = make_optimizer(phase, stages, job.model.head, job.training, job.model.adapters)
        self.schedule = Scheduler(job.training, max(epochs * self.per_epoch, 1), self.per_epoch)
        if self.resume is not None:
            self._restore(self.resume)
            self.resume = None
        done_before = sum(self.epochs[: self.at.phase])
        while self.at.epoch < epochs:
            number = done_before + self.at.epoch
            yield from self._epoch(phase, number)
            if job.stop() and self.at.batch < self.per_epoch:
                self._save()
                yield self._record("stop", phase, number)
                return
            metrics = job.evaluate() if job.evaluate is not None else {}
            finished = self._judge(metrics, number)
            self.at.epoch, self.at.batch = self.at.epoch + 1, 0
            if finished:
                self.at.epoch = epochs
            self._save()
            yield self._record("epoch", phase, number, loss=self.mean_loss, metrics=metrics)
            if job.stop():
                yield self._record("stop", phase, number)
                return

    def _epoch(self, phase: Phase, number: int) -> Iterator[Record]:
        job = self.job
        self.model.train()
        total, count = torch.zeros((), device=job.device), 0
        for batch in job.loader.epoch(number, start=self.at.batch):
            loss, rate = self._step(batch)
            total, count = total + loss, count + 1
            self.at.batch += 1
            self.at.step += 1
            # On a GPU reading the loss waits for the device, so it is looked at now and then.
            if job.device.type == "cpu" or self.at.step % 10 == 0:
                self._check(loss, rate)
                yield self._record("step", phase, number, loss=float(loss), lr=rate)
            if job.training.save_every and self.at.step % job.training.save_every == 0:
                self._check(total, rate)
                self._save()
            if job.stop():
                break
        self._check(total, 0.0)
        self.mean_loss = float(total) / max(count, 1)

    def _step(self, batch: Batch) -> tuple[Tensor, float]:
        job = self.job
        torch.manual_seed((job.training.seed * 1_000_003 + self.at.step) % 2**63)
        batch = batch.to(job.device)
        rate = set_rates(self.optimizer, self.schedule(self._step_of_phase()))
        loss = self._loss(batch)
        self.accelerator.backward(loss)
        if job.training.clip_norm:
            trained = [p for group in self.optimizer.param_groups for p in group["params"]]
            norm = torch.nn.utils.clip_grad_norm_(trained, job.training.clip_norm)
            if job.device.type == "cpu":
                self._check(norm, rate, what="gradient norm")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach(), rate

    def _loss(self, batch: Batch) -> Tensor:
        assert batch.targets is not None
        own = batch.targets if isinstance(self.job.model.head, LossHead) else None
        with self.accelerator.autocast():
            outputs = self.model(self._inputs(batch), own)
        return outputs if own is not None else self.job.loss(outputs.float(), batch.targets)

    def _inputs(self, batch: Batch) -> Inputs:
        if not self.images:
            return batch.inputs
        return {
            modality: {
                key: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
                for key, value in tensors.items()
            }
            for modality, tensors in batch.inputs.items()
        }

    def _step_of_phase(self) -> int:
        return self.at.epoch * self.per_epoch + self.at.batch

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
        if self.job.folder is None:
            return
        from safetensors.torch import save_file

        state = copied(self.model, self.names)
        for name, tensor in state.items():
            # A step can overflow after a loss that was finite; such weights must not push out the last good ones.
            if tensor.is_floating_point():
                self._check(tensor.abs().max(), 0.0, what=f"largest weight of {name}")

        def write(folder: Path) -> None:
            save_file(state, folder / "model.safetensors")
            torch.save(self.optimizer.state_dict(), folder / "optimizer.pt")
            if self.best is not None:
                save_file(self.best, folder / "best.safetensors")

        publish(self.job.folder, self.at.step, write, {"progress": asdict(self.at)})

    def _restore(self, checkpoint: Checkpoint) -> None:
        from safetensors.torch import load_file

        put_back(self.model, load_file(checkpoint.path / "model.safetensors"))
        state = torch.load(checkpoint.path / "optimizer.pt", map_location=self.job.device, weights_only=True)
        self.optimizer.load_state_dict(state)
        best = checkpoint.path / "best.safetensors"
        self.best = load_file(best) if best.is_file() else None


def epochs_of(phases: Sequence[Phase], training: Training) -> list[int]:
    """Epochs of each phase: its share of all, at least one."""
    assert training.epochs is not None
    return [max(round(training.epochs * phase.share), 1) for phase in phases]


def changeable(model: Model, phases: Sequence[Phase]) -> frozenset[str]:
    """Names of everything that training can change in any phase: trained parameters and all buffers."""
    stages = model.backbone.stages()
    rows = [StageRow(stage.name, stage.branch) for stage in stages]
    trained = {name for phase in phases for name in phase.trained(rows)}
    frozen = {id(p) for stage in stages if stage.name not in trained for p in stage.parameters()}
    frozen -= {id(p) for p in model.adapters}
    fixed = {name for name, p in model.named_parameters(remove_duplicate=False) if id(p) in frozen}
    return frozenset(name for name in model.state_dict() if name not in fixed)


def copied(model: Model, names: Collection[str]) -> dict[str, Tensor]:
    """These tensors of the model's state, on the CPU and no longer shared."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in model.state_dict().items()
        if name in names
    }


def put_back(model: Model, state: Mapping[str, Tensor]) -> None:
    """Put back what `copied` gave; every key must have its place."""
    own = model.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)
