"""Seconds of frozen passes and of training steps, measured on a few real batches; the model stays as it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.catalog.spec import Modality
from zoo.data.batches import Loader
from zoo.data.types import Examples, Task
from zoo.models.backbone import Backbone, Inputs, Processor, Stage
from zoo.models.features import Features
from zoo.transfer.devices import channels_last, takes_channels_last, use_bf16
from zoo.transfer.model import Model
from zoo.transfer.optim import make_optimizer
from zoo.transfer.options import Training
from zoo.transfer.strategies import Full, rows_of
from zoo.transfer.trained import HeadOptions

STEPS = 3
"""Training steps worth timing, after one that is not."""


@dataclass(frozen=True)
class TimedPass:
    """A frozen pass over some rows."""

    seconds: float
    """A row, with reading."""
    forward: float
    """Of these, in the backbone."""
    times: dict[str, float]
    """Of each stage."""
    outputs: dict[str, NDArray[np.float32]]
    """(N, D) mean output of each stage that has one row a row."""
    features: Features
    """Of the last batch."""


@dataclass(frozen=True)
class TimedSteps:
    """Seconds a training row."""

    forward: float
    backward: float
    update: float


def timed_pass(
    backbone: Backbone,
    sample: Examples,
    processors: Mapping[Modality, Processor],
    device: torch.device,
    *,
    batch_size: int,
) -> TimedPass:
    """A frozen pass over rows, as feature extraction makes it.

    Args:
        backbone: in whatever mode; it keeps it.
        sample: the rows.
        processors: one for each modality.
        device: where it runs.
        batch_size: rows at once.
    """
    was_training = backbone.training
    backbone = backbone.to(device).eval()
    times: dict[str, float] = {}
    outputs: dict[str, list[tuple[NDArray[Any], NDArray[np.float32]]]] = {}
    loader = Loader(sample, processors, batch_size=batch_size)
    forward, watching, features, count = 0.0, 0.0, None, len(sample)
    with _laid_out(backbone, device) as put, torch.inference_mode():
        warm = next(iter(loader.epoch(0))).to(device)
        backbone(put(warm.inputs))  # what is set up once is no part of a step
        began = _now(device)
        for batch in loader.epoch(0):
            batch = batch.to(device)
            with _watched(backbone.stages(), device) as seen:
                start = _now(device)
                features = backbone(put(batch.inputs))
                forward += _now(device) - start
            for name, (seconds, output, extra) in seen.items():
                watching += extra
                times[name] = times.get(name, 0.0) + seconds
                if output is not None and len(output) == len(batch.rows):
                    outputs.setdefault(name, []).append((batch.rows.numpy(), output.float().cpu().numpy()))
        seconds = _now(device) - began - watching
    backbone.train(was_training)
    assert features is not None
    whole = {name: _ordered(parts, count) for name, parts in outputs.items()}
    kept = {name: each for name, each in whole.items() if each is not None}
    each = {name: seconds / count for name, seconds in times.items()}
    return TimedPass(seconds / count, (forward - watching) / count, each, kept, features)


@contextmanager
def _watched(stages: Sequence[Stage], device: torch.device) -> Iterator[dict[str, tuple[float, Tensor | None, float]]]:
    """Seconds and mean output of every stage, of whatever runs inside, and the seconds that the mean took."""
    seen: dict[str, tuple[float, Tensor | None, float]] = {}
    began: dict[str, float] = {}
    handles = []

    def enter(name: str) -> Callable[[Any, Any], None]:
        def note(_module: Any, _inputs: Any) -> None:
            began[name] = _now(device)

        return note

    def leave(name: str) -> Callable[[Any, Any, Any], None]:
        def note(_module: Any, _inputs: Any, output: Any) -> None:
            ended = _now(device)
            mean = _mean(output)
            seen[name] = (ended - began.get(name, ended), mean, _now(device) - ended)

        return note

    for stage in stages:
        if stage.modules:
            handles.append(stage.modules[0].register_forward_pre_hook(enter(stage.name)))
            handles.append(stage.modules[-1].register_forward_hook(leave(stage.name)))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _mean(output: Any) -> Tensor | None:
    """(B, D) of (B, D, H, W), (B, T, D) or (B, D)."""
    value = output[0] if isinstance(output, tuple | list) and output else output
    value = getattr(value, "last_hidden_state", value)
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return None
    if value.ndim == 4:
        return value.mean((2, 3))
    if value.ndim == 3:
        return value.mean(1)
    return value if value.ndim == 2 else None


def _ordered(parts: list[tuple[NDArray[Any], NDArray[np.float32]]], count: int) -> NDArray[np.float32] | None:
    width = parts[0][1].shape[1]
    if any(values.shape[1] != width for _, values in parts) or sum(len(rows) for rows, _ in parts) != count:
        return None
    out = np.empty((count, width), dtype=np.float32)
    for rows, values in parts:
        out[rows] = values
    return out


def _model(backbone: Backbone, task: Task, features: Features) -> Model:
    """The backbone under a linear layer on its pooled features: what the time of a step depends on."""
    options = HeadOptions(
        "linear", dim=features.pooled.shape[1], token_dim=features.tokens.shape[2], outputs=max(task.num_outputs, 1)
    )
    return options.model(backbone)


@contextmanager
def _laid_out(backbone: Backbone, device: torch.device) -> Iterator[Callable[[Inputs], Inputs]]:
    """The backbone with its channels last where training has it so, and what does the same to inputs."""
    if "image" not in backbone.modalities or not takes_channels_last(backbone, device):
        yield lambda inputs: inputs
        return
    backbone.to(memory_format=torch.channels_last)
    try:
        yield channels_last
    finally:
        backbone.to(memory_format=torch.contiguous_format)


@contextmanager
def _borrowed(model: Model) -> Iterator[None]:
    """In training mode with every parameter learning; when this ends, modes, flags and buffers are as before."""
    modes = [(module, module.training) for module in model.modules()]
    learning = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    model.train().requires_grad_(True)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, wanted in learning:
            parameter.requires_grad_(wanted)
            parameter.grad = None
        for buffer, value in buffers:  # batch norm keeps what it saw
            buffer.copy_(value)


def timed_steps(
    backbone: Backbone, task: Task, features: Features, loader: Loader, training: Training, device: torch.device
) -> TimedSteps:
    """Forward, backward and update of every stage as training has them, at a rate of zero, so that nothing changes.

    Args:
        backbone: which is given back as it was.
        task: whose number of outputs a linear head has.
        features: of any batch.
        loader: of training batches.
        training: with its optimiser and precision.
        device: where it runs.
    """
    model = _model(backbone, task, features).to(device)
    stages = backbone.stages()
    phase = Full(1.0).phases(rows_of(stages))[0]
    bf16 = use_bf16(training.precision, device)
    forward = backward = update = 0.0
    rows = 0
    with _laid_out(backbone, device) as put, _borrowed(model):
        # Decay would change weights that a rate of zero leaves alone only by rounding; none is the safe way.
        optimizer = make_optimizer(phase, stages, model.head, replace(training, weight_decay=0.0), ())
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        batches = list(loader.epoch(0))
        for number, batch in enumerate([batches[0], *batches]):
            batch = batch.to(device)
            start = _now(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                outputs = model(put(batch.inputs))
            middle = _now(device)
            outputs.float().square().mean().backward()
            late = _now(device)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            end = _now(device)
            if number == 0:  # what is made in the first step is no part of the others
                continue
            forward, backward, update = forward + middle - start, backward + late - middle, update + end - late
            rows += len(batch.rows)
    rows = max(rows, 1)
    return TimedSteps(forward / rows, backward / rows, update / rows)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
