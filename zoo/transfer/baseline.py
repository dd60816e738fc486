"""What pretraining is worth: the same architecture with random weights, probed on the same rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.spec import LoadRequest, WeightsSpec
from zoo.catalog.structure import Structure, innermost
from zoo.data.types import Dataset, Examples, Task
from zoo.models.backbone import Backbone
from zoo.models.fusion import Fused, Paired, fuse
from zoo.models.load import build_request
from zoo.models.structure import restructured
from zoo.transfer.metrics import measure_one
from zoo.transfer.probe import solve
from zoo.transfer.source import from_run, one_tower

FeaturesOf = Callable[[Backbone, Examples], NDArray[np.float32]]
SHOTS, DRAWS = 5, 10


class Probed(TypedDict):
    """One metric of both probes."""

    pretrained: float | None
    random: float | None


class Baseline(TypedDict):
    """Linear probes on frozen features, pretrained and random, on the same rows."""

    metric: str
    probe: Probed
    few_shot: Probed | None
    """Mean over `DRAWS` draws of `SHOTS` training rows a class; None for tasks without classes."""


def probe_random(backbone: Backbone, data: Dataset, *, seed: int, metric: str, features: FeaturesOf) -> Baseline | None:
    """Probe `backbone` and its randomly initialised twin; None where no twin can be built.

    Args:
        backbone: as it was before training, or frozen: its pretrained features are compared.
        data: with train and a held-out split.
        seed: of the random weights and of the draws.
        metric: which one to report.
        features: (N, D) pooled features of rows.
    """
    pretrained, random = reloaded(backbone), random_twin(backbone, seed)
    if pretrained is None or random is None:
        return None
    found = {}
    for name, each in (("pretrained", pretrained), ("random", random)):
        found[name] = tuple(features(each, data.splits[split]) for split in ("train", data.held_out))
    train, held = data.splits["train"].targets, data.splits[data.held_out].targets
    assert train is not None
    assert held is not None
    probe = {name: _probe(x, train, y, held, data.task, metric, seed) for name, (x, y) in found.items()}
    few = None
    if data.task.kind in ("binary", "multiclass") and len(train) >= 2 * SHOTS * len(data.task.classes):
        draws = [_draw(train, seed + number) for number in range(DRAWS)]
        means = {
            name: _mean([_probe(x[rows], train[rows], y, held, data.task, metric, seed) for rows in draws])
            for name, (x, y) in found.items()
        }
        few = Probed(pretrained=means["pretrained"], random=means["random"])
    return Baseline(metric=metric, probe=Probed(pretrained=probe["pretrained"], random=probe["random"]), few_shot=few)


def _probe(
    x: NDArray[np.float32],
    targets: NDArray[np.float32],
    y: NDArray[np.float32],
    held: NDArray[np.float32],
    task: Task,
    metric: str,
    seed: int,
) -> float | None:
    from zoo.transfer.probe import predict

    return measure_one(task, metric, predict(solve(x, targets, task, seed=seed), task, y), held)


def _draw(targets: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    picked = [rng.permutation(np.flatnonzero(targets == label))[:SHOTS] for label in np.unique(targets)]
    return np.concatenate(picked)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def random_twin(backbone: Backbone, seed: int) -> Backbone | None:
    """The same architecture with random weights; None where it cannot be made anew."""
    return _built(backbone, seed, random=True)


def reloaded(backbone: Backbone) -> Backbone | None:
    """The backbone with its original weights: training may have moved the one at hand."""
    if not any(p.requires_grad for p in backbone.parameters()):
        return backbone
    return _built(backbone, 0, random=False)


def _built(backbone: Backbone, seed: int, *, random: bool) -> Backbone | None:
    if isinstance(backbone, Paired):
        single = _built(backbone.single, seed, random=random)
        return Paired(single) if single is not None else None
    if isinstance(backbone, Fused):
        parts = [_built(part, seed, random=random) for part in backbone.parts if isinstance(part, Backbone)]
        return None if None in parts else fuse(*(part for part in parts if part is not None))
    given = backbone.weights
    if given is not None and given.tag == "run" and not random:
        source = one_tower(from_run(Path(str(given.options["run"])), given.options["part"]), backbone.modalities)
        structure = Structure.of(backbone.spec)
        # What was changed in the run's own backbone is so already.
        return source if structure == Structure.of(source.spec) else restructured(source, structure)
    factory = innermost(backbone.spec).factory
    local = factory == "zoo.models.wrap:build_local"
    if factory == "zoo.models.wrap:wrap" or (local and not random and not _from_file(given)):
        return None
    spec = replace(backbone.spec, preprocess=backbone.spec.preprocess_for(backbone.weights))
    weights = None if random else backbone.weights
    built = build_request(LoadRequest(spec, weights, backbone.modalities, offline=True), seed=seed)
    if random and built.weights is not None:  # a user's function that always loads weights
        return None
    built.name = backbone.name
    return built


def _from_file(weights: WeightsSpec | None) -> bool:
    return weights is not None and weights.origin.startswith("file:")
