"""Features of every row, computed once for the same weights, preprocessing and rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.catalog.spec import Modality
from zoo.data.identity import content_of, joined
from zoo.data.types import Dataset, Examples, ReadOptions, Task
from zoo.errors import UnknownNameError, UsageError
from zoo.models.backbone import Backbone
from zoo.models.fusion import Fused, Paired
from zoo.records import cache as features_cache
from zoo.transfer.devices import use_bf16
from zoo.transfer.team import current
from zoo.verbs import forward
from zoo.verbs.extract_spread import computed_together
from zoo.verbs.fast import Fast, measured, some
from zoo.verbs.packing import Counts, Size

POOLED, TOKENS = forward.POOLED, forward.TOKENS


@dataclass(frozen=True)
class FeatureSet:
    """Features with the rows they belong to."""

    features: NDArray[np.float32]
    """(N, D) for pooled; (N, T, D') for tokens, padded with zeros; as the stage gives it for a stage."""
    mask: NDArray[np.bool_] | None
    """(N, T) for tokens, True = real; None otherwise."""
    ids: tuple[str, ...]
    names: tuple[str, ...]
    splits: tuple[str, ...]
    targets: NDArray[Any] | None
    task: Task | None
    backbone: str
    level: str
    key: str
    """Of the cache entry."""
    cached: bool
    """Whether it came from the cache."""
    precision: str = "fp32"
    """In which they were computed; they are kept as float32."""
    padding: float | None = None
    """Positions computed for each real one; None where none were computed."""
    fast: Fast | None = None
    """What decoding at less than full size changed; None where it was not asked for."""


def extract(
    backbone: Backbone | str,
    data: str | Path | Dataset | Examples,
    *,
    split: str | None = None,
    level: str = POOLED,
    pooling: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    fast: bool = False,
    cache: bool = True,
    weights: str | None = None,
    read: ReadOptions | None = None,
    offline: bool = False,
    progress: Callable[[int], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> FeatureSet:
    """Frozen features of every row, in the order of the rows.

    Args:
        backbone: a name, or a loaded backbone.
        data: a folder, a table, the name of a data set, or rows.
        split: only these rows; all if None.
        level: "pooled", "tokens", or the name of a stage.
        pooling: native, cls, mean, max or last.
        batch_size: rows at once; if None as many as suit the device and the lengths of texts, and half of them on lack
            of memory.
        device: auto, cpu, cuda or cuda:1.
        precision: fp32, bf16, or auto: bf16 on cards that have it, as in training, fp32 elsewhere.
        fast: decode JPEGs that are at least twice as large as they are resized to at a half, a quarter or an eighth of
            their size. Features change a little: how much is measured on a few rows and said.
        cache: keep the result, and use what was kept.
        weights: a tag, "random" or a file.
        read: how to read the data.
        offline: never touch the network.
        progress: called with the number of rows done since the last call.
        say: called with a sentence where something takes long.

    Raises:
        DataError, UsageError, WeightsError: bad input, each with its mend.
    """
    from zoo.models.load import check_rows, check_serves, load
    from zoo.transfer.devices import choose_device
    from zoo.transfer.trained import set_pooling

    if batch_size is not None and batch_size < 1:
        raise UsageError(f"--batch-size {batch_size} is not above 0", help="give a positive number, or leave it out")
    if isinstance(data, str | Path):
        from zoo.verbs.check import opened_data

        data = opened_data(data, read)
    examples, splits, task = _rows(data, split)
    if isinstance(backbone, str):
        backbone = load(backbone, weights=weights, towers=tuple(examples.inputs), offline=offline)
    check_serves(backbone, tuple(examples.inputs))
    check_rows(backbone, [examples])
    if pooling is not None:
        set_pooling(backbone, pooling)
    if level not in (POOLED, TOKENS):
        names = [stage.name for stage in backbone.stages()]
        if level not in names:
            raise UnknownNameError("level", level, [POOLED, TOKENS, *names], help=f"stages: {', '.join(names)}")
    chosen = choose_device(device)
    scaled = fast and "image" in backbone.modalities
    way = _Way(batch_size, chosen, use_bf16(precision, chosen), scaled, cache, progress, say)
    arrays, key, found = _kept(backbone, examples, level, way)
    change = _change(backbone, examples, level, way) if scaled and len(examples) else None
    return FeatureSet(
        features=arrays["features"],
        mask=arrays["mask"].astype(bool) if "mask" in arrays else None,
        ids=examples.ids,
        names=examples.names,
        splits=splits,
        targets=_of_rows(examples),
        task=task,
        backbone=backbone.name,
        level=level,
        key=key,
        cached=found,
        precision="bf16" if way.bf16 else "fp32",
        padding=way.counts.padding,
        fast=change,
    )


@dataclass(frozen=True)
class Part:
    """A backbone of `a+b`, and where its features stand in those of the whole."""

    name: str
    modalities: tuple[Modality, ...]
    columns: slice
    """Of the pooled features, (N, D)."""


def parts_of(backbone: Backbone) -> tuple[Part, ...]:
    """The backbones that a fused one consists of, in the order of its columns; of any other, itself."""
    each = [backbone]
    while any(isinstance(one, Fused) for one in each):
        each = [inner for one in each for inner in (one.each if isinstance(one, Fused) else [one])]
    ends = np.cumsum([one.dim for one in each])
    return tuple(
        Part(one.name, tuple(one.modalities), slice(int(end) - one.dim, int(end)))
        for one, end in zip(each, ends, strict=True)
    )


@dataclass(frozen=True)
class _Way:
    """How features are computed."""

    batch_size: int | None
    device: torch.device
    bf16: bool
    fast: bool
    cache: bool
    progress: Callable[[int], None] | None
    say: Callable[[str], None]
    counts: Counts = field(default_factory=Counts)


def _kept(backbone: Backbone, examples: Examples, level: str, way: _Way) -> tuple[dict[str, NDArray[Any]], str, bool]:
    """The arrays, their key, and whether all of them came from the cache.

    Backbones side by side are each looked up by themselves: `a+b` costs nothing where `a` and `b` are there.
    """
    if isinstance(backbone, Fused) and level == POOLED:
        inner = backbone.each
        shares = replace(way, progress=_share(way.progress, len(inner)))
        found = [_kept(part, examples, level, shares) for part in inner]
        scales = backbone.scales.tolist()
        scaled = [arrays["features"] * np.float32(by) for (arrays, _, _), by in zip(found, scales, strict=True)]
        together = np.concatenate(scaled, axis=1)
        key = features_cache.key_of(fused=[each for _, each, _ in found], scales=scales)
        return {"features": together}, key, all(cached for _, _, cached in found)
    key = _key(backbone, examples, level, way)
    team = current()
    team.agree("the rows or the weights", key)
    cache = way.cache and team.leads
    with features_cache.lock(key, way.say) if cache else _nothing():
        known = team.arrays(features_cache.read(key) if cache else None)
        if known is not None:
            if way.progress is not None:
                way.progress(len(examples))
            return known, key, True
        arrays = _shared(backbone, examples, level, way)
        if cache:
            features_cache.write(key, arrays)
    return arrays, key, False


def _shared(backbone: Backbone, examples: Examples, level: str, way: _Way) -> dict[str, NDArray[Any]]:
    """The arrays, of which each process of a team computes its share: whole batches, which are the same for one."""
    team = current()
    if team.size == 1:
        return _compute(backbone, examples, level, way)
    size = Size.of(backbone, way.device, way.batch_size)
    loader = size.loader(backbone, examples)
    way.counts.add(loader)
    batches = loader.order(0)
    shares = [np.concatenate([batches[0][:0], *batches[rank :: team.size]]) for rank in range(team.size)]
    own: dict[str, NDArray[Any]] | None = None

    def compute() -> None:
        nonlocal own
        if len(shares[team.rank]):
            share = examples.select(shares[team.rank])
            own = _compute(backbone, share, level, replace(way, counts=Counts()))

    if team.parallel == "fsdp":
        load = partial(size.loader, backbone, fast=way.fast)
        rows = shares[team.rank]
        own = computed_together(backbone, examples, rows, load, level, way.device, bf16=way.bf16, progress=way.progress)
    else:
        team.every(compute)
    out: dict[str, NDArray[Any]] = {}
    for rank, rows in enumerate(shares):
        for name, values in (team.arrays(own, rank) or {}).items():
            forward.put(out, name, values, rows, len(examples))
    if way.progress is not None:
        way.progress(len(examples) - len(shares[team.rank]))
    return out


def _share(progress: Callable[[int], None] | None, count: int) -> Callable[[int], None] | None:
    """Of passes one after another over the same rows, so that together they count each row once."""
    if progress is None:
        return None
    done = 0

    def counted(rows: int) -> None:
        nonlocal done
        before, done = done // count, done + rows
        progress(done // count - before)

    return counted


def weights_digest(backbone: Backbone) -> str:
    """sha256 over every tensor of the backbone, so that features of other weights are never taken for these."""
    digest = hashlib.sha256(type(backbone).__name__.encode())
    for name, tensor in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _key(backbone: Backbone, examples: Examples, level: str, way: _Way) -> str:
    # By modality: images have the same features whether or not their texts were read as well.
    rows = {m: content_of(examples, m) for m in backbone.modalities}
    return features_cache.key_of(**recipe_of(backbone, level, bf16=way.bf16, fast=way.fast), rows=rows)


def recipe_of(backbone: Backbone, level: str, *, bf16: bool, fast: bool) -> dict[str, Any]:
    """Everything that decides features but the rows, as plain values."""

    def poolings(each: Any) -> Any:
        if isinstance(each, Paired):
            return ["paired", poolings(each.single)]
        if isinstance(each, Fused):
            return [poolings(part) for part in each.parts]
        return [getattr(each, "pooling", "native"), getattr(each, "settings", "")]

    return {
        **({"precision": "bf16"} if bf16 else {}),
        **({"fast": True} if fast and "image" in backbone.modalities else {}),
        "spec": backbone.spec.name,
        "factory": backbone.spec.factory,
        "towers": list(backbone.modalities),
        "weights": weights_digest(backbone),
        "preprocess": {m: backbone.processor(m).key for m in backbone.modalities},
        "level": level,
        "pooling": poolings(backbone),
    }


def _compute(backbone: Backbone, examples: Examples, level: str, way: _Way) -> dict[str, NDArray[Any]]:
    size = Size.of(backbone, way.device, way.batch_size)
    while True:
        try:
            return _pass(backbone, examples, level, size, way)
        except torch.OutOfMemoryError as error:
            if way.batch_size is not None or size.rows == 1:
                raise UsageError(
                    f"out of memory with {size.rows} rows at once",
                    help="give a smaller --batch-size, or --device cpu",
                ) from error
            torch.cuda.empty_cache()
            size = size.half


def _pass(backbone: Backbone, examples: Examples, level: str, size: Size, way: _Way) -> dict[str, NDArray[Any]]:
    loader = size.loader(backbone, examples, fast=way.fast)
    out: dict[str, NDArray[Any]] = {}
    for rows, arrays in forward.computed(backbone, loader, level, way.device, bf16=way.bf16):
        for name, values in arrays.items():
            forward.put(out, name, values, rows, len(examples))
        if way.progress is not None:
            way.progress(len(rows))
    way.counts.add(loader)
    return out


def _change(backbone: Backbone, examples: Examples, level: str, way: _Way) -> Fast:
    """What was changed by decoding at less than full size, as a few rows show it."""
    few = examples.select(some(len(examples)))
    quiet = replace(way, cache=False, progress=None, counts=Counts())

    def give(fast: bool) -> NDArray[np.float32]:
        return _compute(backbone, few, level, replace(quiet, fast=fast))["features"]

    found = measured(backbone, few.inputs["image"], give)
    if current().leads:
        way.say(str(found))
    return found


def _rows(data: Dataset | Examples, split: str | None) -> tuple[Examples, tuple[str, ...], Task | None]:
    if isinstance(data, Examples):
        return data, ("",) * len(data), None
    if split is not None and split not in data.splits:
        raise UnknownNameError("split", split, data.splits, help=f"the splits are {', '.join(data.splits)}")
    chosen = {split: data.splits[split]} if split is not None else dict(data.splits)
    merged = joined(list(chosen.values()))
    return merged, tuple(name for name, e in chosen.items() for _ in range(len(e))), data.task


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _of_rows(examples: Examples) -> NDArray[Any] | None:
    """Targets that go with one vector a row; masks, tags and boxes do not."""
    return None if examples.targets is None or examples.targets.dtype == object else examples.targets
