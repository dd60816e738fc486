"""One group of a comparison's work, carried out: heads on features that are computed once, or one training."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.comparison.work import PROBE, SAMPLE, Done, Facts, Group, Order, Outcome, Source
from zoo.data.types import Dataset, Examples
from zoo.models.backbone import Backbone
from zoo.models.fusion import Fused
from zoo.records.runs import RunFolder, slug
from zoo.transfer.devices import choose_device
from zoo.transfer.options import Training
from zoo.transfer.solvers import decide, solve_head, solved_head
from zoo.transfer.sweep import drawn
from zoo.transfer.trained import load_trained
from zoo.transfer.weighting import class_weights
from zoo.verbs.check import opened_data
from zoo.verbs.config import Output, RunConfig
from zoo.verbs.costs import flops_of, metered, ms_per_row
from zoo.verbs.extract import extract, parts_of
from zoo.verbs.finetune import resume, start
from zoo.verbs.opening import open_job
from zoo.verbs.run import Event, Watch
from zoo.verbs.spoiling import spoiled_features, spoiled_rows

Array = NDArray[Any]
Stop = Callable[[], bool]


def carry_out(group: Group, watch: Watch, stop: Stop, data: Dataset | None = None) -> Done:
    """Outcomes of every order of the group, and the facts where they are wanted.

    Args:
        group: the work.
        watch: called with rows and heads as they are done.
        stop: asked after every step of a training.
        data: of the group's source, where they have been read.

    Raises:
        ZooError: what keeps this contender from these data.
        Interrupted: `stop` said so.
    """
    data = data or group.source.given or _read(group.source)
    if group.entry.solved:
        return _solved(group, data, watch)
    order = group.orders[0] if group.orders else None
    outcomes = {} if order is None else {order.key: _trained(group, order, data, watch, stop)}
    facts = None
    if group.facts is not None:
        frozen = _Frozen(*_opened(group, data), group.training.device, watch)
        facts = _facts(group, frozen, frozen.features(frozen.held))
    return Done(outcomes, facts)


@functools.lru_cache(maxsize=4)
def _read(source: Source) -> Dataset:
    """The rows of a data set with every modality it has, once for the life of a worker."""
    return opened_data(source.name, source.read)


@dataclass(frozen=True)
class _Frozen:
    """A frozen backbone beside the rows as it takes them."""

    backbone: Backbone
    data: Dataset
    device: str
    watch: Watch

    @property
    def held(self) -> Examples:
        """The rows that everything is measured on."""
        return self.data.splits[self.data.held_out]

    def features(self, examples: Examples) -> NDArray[np.float32]:
        """(N, D), computed once for all contenders that share this backbone."""
        found = extract(
            self.backbone,
            examples,
            device=self.device,
            progress=lambda done: self.watch(Event(doing="extracting", done=done, total=len(examples))),
            say=lambda text: self.watch(Event(note=text)),
        )
        return found.features


def _config(group: Group, seed: int, strategy: str) -> RunConfig:
    entry = group.entry
    return RunConfig(
        backbone=entry.backbone,
        data=group.source.name,
        offline=group.offline,
        baseline="none",
        read=group.source.read,
        train=replace(group.training, strategy=strategy, seed=seed),
    )


def _opened(group: Group, data: Dataset) -> tuple[Backbone, Dataset]:
    """The frozen backbone beside the rows as it takes them; a probe is what any contender would be at the least."""
    given = group.training
    plain = Training(pooling=given.pooling, device=given.device, image_size=given.image_size, channels=given.channels)
    config = _config(replace(group, training=given if group.entry.solved else plain), given.seed, PROBE)
    opened = open_job(config, None, data, lambda event: None)
    return opened.backbone, opened.data


def _solved(group: Group, data: Dataset, watch: Watch) -> Done:
    with metered(choose_device(group.training.device)) as meter:
        frozen = _Frozen(*_opened(group, data), group.training.device, watch)
        held = frozen.features(frozen.held)
        facts = _facts(group, frozen, held) if group.facts is not None else None
    facts = None if facts is None else replace(facts, memory=meter.peak)
    if not group.orders:
        return Done({}, facts)
    features, outcomes = frozen.features(frozen.data.splits["train"]), {}
    for order in group.orders:
        outcomes[order.key] = _head(group, order, frozen, features, held)
        watch(Event(doing="solving", done=1, total=len(group.orders)))
    return Done(outcomes, facts)


def _head(
    group: Group, order: Order, frozen: _Frozen, features: NDArray[np.float32], held: NDArray[np.float32]
) -> Outcome:
    """A head solved on the rows of one draw."""
    train, task, training = frozen.data.splits["train"], frozen.data.task, group.training
    assert train.targets is not None
    rows = drawn(train.names, train.targets, task, order.shots, order.seed)
    targets = train.targets[rows]
    weights = None if training.class_weights is None else class_weights(training.class_weights, task, targets)
    head = training.head or "linear"
    solution = solve_head(head, features[rows], targets, task, seed=order.seed, class_weights=weights)
    found = solved_head(head, solution, task, features.shape[1])
    if isinstance(frozen.backbone, Fused):
        spoiled = spoiled_features(held, features[rows], parts_of(frozen.backbone))
    else:
        spoiled = ((name, frozen.features(changed)) for name, changed in spoiled_rows(frozen.held))
    return Outcome(
        predictions=decide(found, task, held),
        rows=len(rows),
        seconds=solution.seconds,
        memory=None,
        trained=sum(p.numel() for p in found.parameters()),
        chosen=solution.said,
        spoiled={name: decide(found, task, changed) for name, changed in spoiled},
    )


def _trained(group: Group, order: Order, data: Dataset, watch: Watch, stop: Stop) -> Outcome:
    """One training in a run folder of its own; one that was stopped is gone on with, one that is done is read."""
    chosen = with_rows(data, order)
    name = f"{slug(group.entry.title)}-{order.shots}-s{order.seed}-{order.key[:8]}"
    config = replace(_config(group, order.seed, group.entry.strategy), out=Output(dir=group.runs, name=name))
    path = Path(group.runs) / name
    status = RunFolder(path).record.get("status") if path.is_dir() else None
    with metered(choose_device(group.training.device)) as meter:
        if status != "done":
            begun = path / "config.yaml"
            if begun.is_file() and status != "failed":
                run = resume(path, data=chosen, watch=watch, stop=stop)
            else:
                again = replace(config, out=replace(config.out, overwrite=path.exists()))
                run = start(again, None, chosen, watch=watch, stop=stop)
            seconds: float = run.seconds
        else:
            seconds = float(RunFolder(path).record.get("result", {}).get("seconds", 0.0))
    trained = load_trained(path, device=choose_device(group.training.device))
    held = chosen.splits[chosen.held_out]
    own = replace(held, inputs={m: held.inputs[m] for m in trained.backbone.modalities})
    result = RunFolder(path).record.get("result", {})
    return Outcome(
        predictions=np.asarray(trained.predict(own)),
        rows=len(chosen.splits["train"]),
        seconds=seconds,
        memory=meter.peak,
        trained=result.get("trained_params"),
        chosen=str(result.get("strategy", "")),
        run=str(path.absolute()),
        spoiled={name: np.asarray(trained.predict(changed)) for name, changed in spoiled_rows(own)},
    )


def with_rows(data: Dataset, order: Order) -> Dataset:
    """The data with the training rows of one draw: the same for every contender."""
    if order.shots == "all":
        return data
    train = data.splits["train"]
    assert train.targets is not None
    rows = drawn(train.names, train.targets, data.task, order.shots, order.seed)
    said = f"{order.shots} rows of each class, draw {order.seed}"
    return replace(
        data,
        splits={**data.splits, "train": train.select(rows)},
        notes=(*data.notes, said),
        fingerprint=f"{data.fingerprint}-{order.shots}-{order.seed}",
    )


def _facts(group: Group, frozen: _Frozen, features: NDArray[np.float32]) -> Facts:
    device, backbone = choose_device(group.training.device), frozen.backbone
    return Facts(
        params=sum(p.numel() for p in backbone.parameters()),
        dim=backbone.dim,
        flops=flops_of(backbone, frozen.held.select([0]), device),
        ms_per_row=ms_per_row(backbone, frozen.held, device),
        features=features[:SAMPLE],
        shared=_shared(group, frozen.data, backbone),
    )


def _shared(group: Group, data: Dataset, backbone: Backbone) -> Mapping[str, float]:
    """What one side of a space of images and texts learns, told from the other."""
    from zoo.models.dual import DualEncoder

    if not isinstance(backbone, DualEncoder) or not {"image", "text"} <= set(data.modalities):
        return {}
    from zoo.verbs.cross_modal import cross_modal

    found = cross_modal(backbone, data, train=("image", "text"), seed=group.training.seed, device=group.training.device)
    crossed = {f"{each.train} to {each.test}": each.metrics[found.metric] for each in found.results}
    gap = {} if found.gap is None else {"gap": found.gap}
    return {**{name: value for name, value in crossed.items() if value is not None}, **gap}
