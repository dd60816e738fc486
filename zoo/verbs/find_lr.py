"""A learning rate for one backbone, data set and strategy: where the loss falls fastest while the rate rises."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo.data.types import Dataset, ReadOptions
from zoo.errors import DivergedError, UsageError
from zoo.models.backbone import Backbone
from zoo.records.runs import RunFolder
from zoo.transfer.loop import Job, fit, steps_per_epoch
from zoo.transfer.model import changeable, copied, put_back
from zoo.transfer.options import Training
from zoo.transfer.rates import RateSweep, has_diverged, rate_at
from zoo.transfer.strategies import Phase
from zoo.verbs.auto import choose
from zoo.verbs.config import RunConfig
from zoo.verbs.fitting import Fitting
from zoo.verbs.opening import open_job
from zoo.verbs.run import Event, Watch
from zoo.verbs.session import Session

LOW, HIGH = 1e-7, 10.0
STEPS = 100


def find_lr(
    backbone: str | Backbone,
    data: str | Path | Dataset,
    *,
    strategy: str | None = None,
    low: float = LOW,
    high: float = HIGH,
    steps: int = STEPS,
    weights: str | None = None,
    training: Training | None = None,
    read: ReadOptions | None = None,
    offline: bool = False,
    watch: Watch | None = None,
) -> RateSweep:
    """Raise the rate from step to step and watch the loss; nothing is kept, the weights are as they were afterwards.

    Everything else is as `finetune` would have it: strategy, optimiser, batches, augmentation and losses. Of a
    strategy with several phases it is the one that trains most stages, from a fresh head.

    Args:
        backbone: a name such as "torchvision/resnet18", or a loaded backbone.
        data: a folder, a table, the name of a data set, or a `Dataset`.
        strategy: one that trains by steps; chosen by the size of the data if None.
        low: rate of the first step.
        high: rate of the last; the sweep stops before where the loss has clearly risen.
        steps: of the whole range.
        weights: a tag, "random", or a file.
        training: every other choice.
        read: how to read the data.
        offline: never touch the network.
        watch: called with each note and training record.

    Raises:
        DataError, UsageError, WeightsError: bad input, each with its mend.
    """
    train = training or Training()
    if strategy is not None:
        train = replace(train, strategy=strategy)
    config = RunConfig(
        backbone=backbone if isinstance(backbone, str) else backbone.name,
        data=str(data) if isinstance(data, str | Path) else data.name,
        weights=weights,
        offline=offline,
        read=replace(read or ReadOptions(), seed=train.seed),
        train=train,
    )
    return of_config(
        config,
        backbone if isinstance(backbone, Backbone) else None,
        data if isinstance(data, Dataset) else None,
        watch or (lambda event: None),
        low=low,
        high=high,
        steps=steps,
    )


def of_config(
    config: RunConfig,
    backbone: Backbone | None,
    data: Dataset | None,
    watch: Watch,
    *,
    low: float = LOW,
    high: float = HIGH,
    steps: int = STEPS,
) -> RateSweep:
    """The sweep for a whole configuration; its `backbone` and `data` are loaded where none are given."""
    if not 0 < low < high < math.inf:
        raise UsageError(f"rates from {low:g} to {high:g} are no range", help="give --low below --high, both above 0")
    if steps < 20:
        raise UsageError(f"--steps {steps} are too few to see where a curve falls", help="give 50 or more")
    opened, _ = choose(open_job(config, backbone, data, watch), time.monotonic())
    session = Session(opened)
    if not session.gradient_phases:
        raise UsageError(
            f"--strategy {session.training.strategy} solves the head and has no rate",
            help="choose one that trains, such as --strategy full or head",
        )
    try:
        with tempfile.TemporaryDirectory(prefix="zoo-find-lr-") as folder:
            rates, losses = _sweep(session, Path(folder), low, high, steps)
    finally:
        session.fold()
    training = session.training
    return RateSweep(
        backbone=session.backbone.name,
        data=session.data.name,
        strategy=str(training.strategy),
        optimizer=str(training.optimizer),
        batch_size=session.batch_size() * training.accumulate,
        steps=steps,
        rates=rates,
        losses=losses,
    )


def _sweep(
    session: Session, root: Path, low: float, high: float, steps: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Rates and losses of the steps before the loss diverged."""
    training = replace(session.training, lr=high, early_stop=None, ema=None, save_every=None)
    rates: list[float] = []
    losses: list[float] = []

    def enough() -> bool:
        return len(losses) >= steps or (bool(losses) and has_diverged(losses))

    folder = RunFolder.create(root, "sweep", backbone=session.backbone.name, strategy=str(training.strategy))
    # A head that is solved first leaves hardly any loss that could fall, so the sweep begins with a fresh one.
    session.phases = session.gradient_phases
    with _unchanged(session):
        fitting = Fitting(session, folder, enough, resume=False)
        job = fitting.job(fitting.ready(), training, folder.path / "checkpoints")
        try:
            for record in fit(_sweeping(job, session, low, high, steps)):
                if record.kind == "step" and record.loss is not None and record.lr is not None:
                    rates.append(record.lr)
                    losses.append(record.loss)
                    session.watch(Event(doing="sweeping", done=1, total=steps))
        except DivergedError:
            if len(losses) < 10:
                raise
    return tuple(rates), tuple(losses)


def _sweeping(job: Job, session: Session, low: float, high: float, steps: int) -> Job:
    """The job of a run, with the rate of a sweep and without what a sweep has no use for."""
    phase: Phase = max(reversed(session.gradient_phases), key=lambda each: len(each.trained(session.rows)))
    epochs = math.ceil(steps / steps_per_epoch(len(job.loader), job.training))
    return replace(
        job,
        phases=(replace(phase, share=1.0),),
        training=replace(job.training, epochs=epochs),
        folder=None,
        evaluate=None,
        schedule=lambda step: rate_at(step, steps, low, high) / high,
        look_every=1,
    )


@contextmanager
def _unchanged(session: Session) -> Iterator[None]:
    """The model is afterwards as it was: weights, buffers, and what learns."""
    model = session.model
    start = copied(model, changeable(model, session.gradient_phases))
    learns: dict[Any, bool] = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        yield
    finally:
        put_back(model, start)
        for parameter, before in learns.items():
            parameter.requires_grad_(before)
        model.eval()
