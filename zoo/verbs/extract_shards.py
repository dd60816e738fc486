"""Features of more rows than memory holds: shard by shard, by as many processes as share the folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.catalog.spec import Modality, fingerprint
from zoo.data.rows import Reading, Row, find_reading, rows_of
from zoo.data.shards import Shard, find_shards
from zoo.data.streaming import Ready, portions
from zoo.data.types import ReadOptions
from zoo.errors import UnknownNameError, UsageError
from zoo.models.backbone import Backbone, Processor
from zoo.records.claims import EXPIRY_SECONDS, Claims
from zoo.verbs.extract import POOLED, recipe_of
from zoo.verbs.fast import ROWS, measured
from zoo.verbs.shard_board import Board, ShardProgress, Work, number
from zoo.verbs.stored import DTYPES, SHOWN, settle_about

CLAIMS = ".claims"
MOST_THREADS = 16


@dataclass(frozen=True)
class ShardedFeatures:
    """A folder with the features of every shard."""

    output: Path
    backbone: str
    dim: int
    dtype: str
    key: str
    """Of backbone, weights, preprocessing and columns."""
    shards: int
    written: int
    """Shards that this process wrote; others were there, or came from other processes."""
    rows: int
    """In all shards, with features."""
    unreadable: int
    """In all shards, left out."""
    seconds: float
    reasons: tuple[str, ...] = ()
    """Shard, name and reason of rows that were left out, a hundred at most; each shard's file lists its own."""

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints."""
        return {**asdict(self), "output": str(self.output), "reasons": list(self.reasons)}


def extract_shards(
    backbone: Backbone | str,
    data: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    pooling: str | None = None,
    dtype: str = "float32",
    batch_size: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    fast: bool = False,
    weights: str | None = None,
    read: ReadOptions | None = None,
    offline: bool = False,
    threads: int | None = None,
    expiry: float = EXPIRY_SECONDS,
    progress: Callable[[ShardProgress], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> ShardedFeatures:
    """Pooled features of every row of every shard, one Parquet file a shard, in memory that does not grow.

    A shard that is finished is not computed again, so that a run that was killed goes on where it was. Any number of
    processes, on one machine or on several that share the folder, may run the same call: each takes shards that no
    other has. A shard whose owner died is taken over, at once on the same machine, elsewhere after `expiry` seconds.
    The call returns when all shards are finished, by whomever.

    Args:
        backbone: a name, or a loaded backbone.
        data: a folder, a file, a glob or a pattern such as `shard-{000..999}.tar`, or a list of these: tars as of
            WebDataset, or Parquet files.
        output: folder; made if absent.
        pooling: native, cls, mean, max or last.
        dtype: float32 or float16.
        batch_size: rows at once; chosen and halved on lack of memory if None.
        device: auto, cpu, cuda or cuda:1; under torchrun auto is the card of the process.
        precision: in which they are computed: fp32, bf16, or auto: bf16 on cards that have it, fp32 elsewhere.
        fast: decode large JPEGs at less than their size, as `extract` does.
        weights: a tag, "random" or a file.
        read: which columns are read as what, and what is done with rows that cannot be read.
        offline: never touch the network.
        threads: that decode; by the cores of this process if None.
        expiry: seconds without a sign of life after which an owner on another machine is taken for dead.
        progress: called now and then.
        say: called with a sentence where something is worth one.

    Raises:
        DataError: no shards, or shards that were refused, after all others are finished.
        UsageError: the folder has other features, or options that cannot be meant.
        WeightsError: weights that are missing or damaged.
    """
    _check(dtype, batch_size, threads, expiry)
    started = time.monotonic()
    options = read or ReadOptions()
    shards = find_shards(data)
    reading = find_reading(shards[0], options)
    work = _work(
        backbone, reading, _Options(pooling, dtype, batch_size, device, precision, fast, weights, offline, threads)
    )
    folder = Path(output).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{output} is a file", help="give a folder, which takes one file a shard")
    settle_about(folder, work.about)
    with Claims(folder / CLAIMS, expiry=expiry) as claims:
        board = Board(shards, folder, work, claims, progress or (lambda _: None), say)
        if work.fast:
            _say_change(work, shards[0], say)
        board.go()
    board.check()
    infos = board.finished.values()
    return ShardedFeatures(
        output=folder,
        backbone=work.backbone.name,
        dim=work.backbone.dim,
        dtype=dtype,
        key=str(work.about["key"]),
        shards=len(shards),
        written=board.written,
        rows=sum(each.rows for each in infos),
        unreadable=sum(each.unreadable for each in infos),
        seconds=time.monotonic() - started,
        reasons=tuple(f"{each.source}: {reason}" for each in infos for reason in each.reasons)[:SHOWN],
    )


def _say_change(work: Work, shard: Shard, say: Callable[[str], None]) -> None:
    """What decoding at less than full size changes in the first rows."""
    processors: dict[Modality, Processor] = {m: work.backbone.processor(m) for m in work.backbone.modalities}
    check, threads = work.backbone.check_row, work.threads

    def ready(rows: Sequence[Row], fast: bool) -> list[tuple[Row, Ready]]:
        some = portions(rows, processors, size=ROWS, check=check, threads=threads, fast=fast)
        pairs = ((each.chunk[row], made) for each in some for row, made in zip(each.rows, each.ready, strict=True))
        return [(row, made) for row, made in pairs if isinstance(made, Ready)]

    def give(fast: bool) -> NDArray[np.float32]:
        return work.features([made for _, made in ready(kept, fast)])

    with closing(rows_of(shard, work.reading)) as rows:
        kept = [row for row, _ in ready(list(islice(rows, ROWS)), fast=True)]
    if kept:
        say(str(measured(work.backbone, [row.inputs["image"] for row in kept], give)))


def _check(dtype: str, batch_size: int | None, threads: int | None, expiry: float) -> None:
    if dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES, help=f"use {' or '.join(DTYPES)}")
    for name, value in {"--batch-size": batch_size, "threads": threads, "expiry": expiry}.items():
        if value is not None and value <= 0:
            raise UsageError(f"{name} {value} is not above 0", help="give a positive number, or leave it out")


@dataclass(frozen=True)
class _Options:
    """How features are computed, as given."""

    pooling: str | None
    dtype: str
    batch_size: int | None
    device: str
    precision: str
    fast: bool
    weights: str | None
    offline: bool
    threads: int | None


def _work(backbone: Backbone | str, reading: Reading, options: _Options) -> Work:
    from zoo.models.load import check_serves, load
    from zoo.transfer.devices import choose_device, use_bf16
    from zoo.transfer.trained import set_pooling

    if isinstance(backbone, str):
        backbone = load(backbone, weights=options.weights, towers=reading.modalities, offline=options.offline)
    check_serves(backbone, reading.modalities)
    if options.pooling is not None:
        set_pooling(backbone, options.pooling)
    reading = reading.only(backbone.modalities)
    device = choose_device(_own_device(options.device))
    bf16 = use_bf16(options.precision, device)
    fast = options.fast and "image" in backbone.modalities
    about = _about(backbone, reading, options.dtype, recipe_of(backbone, POOLED, bf16=bf16, fast=fast))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = options.threads or min(max(cores // number("LOCAL_WORLD_SIZE", 1), 2), MOST_THREADS)
    size = options.batch_size or (64 if device.type != "cpu" else 16)
    fixed = options.batch_size is not None
    return Work(backbone.to(device), reading, about, device, size, fixed, threads, bf16, fast)


def _own_device(name: str) -> str:
    """Of several processes that torchrun has started on a machine, each has a card of its own."""
    local = os.environ.get("LOCAL_RANK")
    if name != "auto" or local is None or not torch.cuda.is_available():
        return name
    return f"cuda:{number('LOCAL_RANK', 0) % torch.cuda.device_count()}"


def _about(backbone: Backbone, reading: Reading, dtype: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """What the features are, as every file says it: plain values, and a key over what decides them."""
    read: dict[Modality, Any] = {"image": reading.image, "text": list(reading.text) or None, "audio": reading.audio}
    columns: dict[str, Any] = {**{str(m): read[m] for m in backbone.modalities}, "label": reading.label}
    found = {
        "format": 1,
        "backbone": backbone.name,
        "weights": recipe["weights"],
        "preprocess": {m: _plain(backbone.processor(m)) for m in backbone.modalities},
        "pooling": recipe["pooling"],
        "level": POOLED,
        "dim": backbone.dim,
        "dtype": dtype,
        "precision": recipe.get("precision", "fp32"),
        "fast": recipe.get("fast", False),
        "columns": columns,
        "label_type": reading.label_type,
    }
    key = fingerprint({"recipe": recipe, "about": {**found, "backbone": None}})
    plain: dict[str, Any] = json.loads(json.dumps({**found, "key": key}))  # as it is read again
    return plain


def _plain(processor: Any) -> Any:
    """The preprocessing as the weights have it, with the fingerprint of all that a processor does."""
    preprocess = getattr(processor, "preprocess", None)
    values = asdict(preprocess) if preprocess is not None and hasattr(preprocess, "__dataclass_fields__") else {}
    return {**values, "key": processor.key}
