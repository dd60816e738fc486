"""Shards to files of features: one by one, each by one process at a time, a chunk of rows in memory at once."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.batches import Batch
from zoo.data.rows import Reading, Row, rows_of
from zoo.data.shards import Shard
from zoo.data.streaming import Portion, Ready, portions
from zoo.data.types import ReadOptions
from zoo.errors import DataError, UsageError
from zoo.models.backbone import Backbone, Inputs
from zoo.records.claims import Claim, Claims
from zoo.records.files import published
from zoo.transfer.frozen import Quick, quick
from zoo.verbs.stored import SHOWN, ShardFile, ShardInfo, shard_info

POLL_SECONDS = 2.0
"""Between looks at what others have finished, when nothing is left to begin."""


@dataclass(frozen=True)
class ShardProgress:
    """How far the shards are."""

    shards: int
    """In all."""
    finished: int
    """By whomever."""
    rows: int
    """That this process has gone through."""


@dataclass
class Work:
    """A backbone at work on rows."""

    backbone: Backbone
    reading: Reading
    about: Mapping[str, Any]
    device: torch.device
    size: int
    """Rows at once."""
    fixed: bool
    """Whether that number was asked for."""
    threads: int
    bf16: bool = False
    fast: bool = False
    """Whether large JPEGs are decoded at less than their size."""

    @cached_property
    def way(self) -> Quick:
        """How the backbone computes."""
        return quick(self.backbone, self._pooled, bf16=self.bf16)

    def _pooled(self, inputs: Inputs) -> Tensor:
        pooled: Tensor = self.backbone(inputs).pooled
        return pooled

    def features(self, ready: Sequence[Ready]) -> NDArray[np.float32]:
        """(N, D) of rows that were made ready; fewer at once from the moment that memory does not suffice."""
        found: list[NDArray[np.float32]] = []
        done = 0
        while done < len(ready):
            some = ready[done : done + self.size]
            try:
                found.append(self._once(some))
            except torch.OutOfMemoryError as error:
                if self.fixed or self.size == 1:
                    raise UsageError(
                        f"out of memory with {self.size} rows at once",
                        help="give a smaller --batch-size, or --device cpu",
                    ) from error
                torch.cuda.empty_cache()
                self.size //= 2
                continue
            done += len(some)
        return np.concatenate(found) if found else np.zeros((0, self.backbone.dim), np.float32)

    def _once(self, ready: Sequence[Ready]) -> NDArray[np.float32]:
        processors = {m: self.backbone.processor(m) for m in self.backbone.modalities}
        inputs = {m: each.collate([row.values[m] for row in ready]) for m, each in processors.items()}
        batch = Batch(inputs, None, torch.arange(len(ready)), processors)
        with self.way.on(batch.to(self.device).inputs) as taken:
            values: NDArray[np.float32] = self._pooled(taken).float().cpu().numpy()
        return values


@dataclass
class Board:
    """The shards, and what is known of each."""

    shards: Sequence[Shard]
    folder: Path
    work: Work
    claims: Claims
    progress: Callable[[ShardProgress], None]
    say: Callable[[str], None]
    finished: dict[str, ShardInfo] = field(default_factory=dict)
    refused: dict[str, DataError] = field(default_factory=dict)
    written: int = 0
    rows: int = 0

    def go(self) -> None:
        """Work until every shard is finished or refused."""
        # Ranks begin at different places, or all would ask for the first shard at once.
        first = number("RANK", 0) * len(self.shards) // max(number("WORLD_SIZE", 1), 1) % len(self.shards)
        pending = [*self.shards[first:], *self.shards[:first]]
        waited = False
        while pending:
            left = [shard for shard in pending if not self._done(shard)]
            if len(left) == len(pending):
                if not waited:
                    self.say(f"waiting for {_shards(len(left))} that other processes are working on")
                waited = True
                time.sleep(min(POLL_SECONDS, self.claims.expiry / 4))
            pending = left

    def _done(self, shard: Shard) -> bool:
        """Whether nothing is left to do for this shard, after doing it where nobody else does."""
        claim: Claim | None = None
        try:
            if self._is_finished(shard):
                return True
            claim = self.claims.take(shard.stem)
            if claim is not None and not self._is_finished(shard):
                self._write(shard, claim)
        except DataError as error:
            self.refused[shard.name] = error
            self.say(f"{shard.name} is refused: {error.what}")
            return True
        finally:
            if claim is not None:
                self.claims.release(claim)
        return claim is not None

    def _path(self, shard: Shard) -> Path:
        return self.folder / f"{shard.stem}.parquet"

    def _is_finished(self, shard: Shard) -> bool:
        info = shard_info(self._path(shard), self.work.about)
        if info is None:
            return False
        if info.mark != shard.mark():
            raise DataError(
                f"{shard.path} has changed since its features were computed",
                help=f"delete {self._path(shard)}, and it is written again",
            )
        self.finished[shard.name] = info
        self._tell(0)
        return True

    def _tell(self, rows: int) -> None:
        self.rows += rows
        self.progress(ShardProgress(len(self.shards), len(self.finished), self.rows))

    def _write(self, shard: Shard, claim: Claim) -> None:
        path = self._path(shard)
        mend = "free some space and give the same command again: what is finished is kept"
        mark = shard.mark()
        try:
            with published(path, mend=mend) as temporary, ShardFile(temporary, self.work.about) as file:
                info = replace(self._rows(shard, file), mark=mark)
                file.tell(info)
        except FileNotFoundError:
            if self.claims.holds(claim):
                raise
            self._is_finished(shard)  # this process was stopped for so long that another did the work
            return
        for left in path.parent.glob(f".tmp-{glob.escape(path.name)}-*"):  # of processes that were killed
            left.unlink(missing_ok=True)
        self.finished[shard.name] = info
        self.written += 1
        self._tell(0)
        if info.unreadable:
            self.say(f"{shard.name}: {_counted(info.unreadable, info.rows + info.unreadable)} left out")

    def _rows(self, shard: Shard, file: ShardFile) -> ShardInfo:
        work, reading = self.work, self.work.reading
        processors = {m: work.backbone.processor(m) for m in work.backbone.modalities}
        bad, unreadable = list[str](), 0
        chunk = _Chunk()
        for portion in portions(
            rows_of(shard, reading),
            processors,
            size=work.size,
            check=work.backbone.check_row,
            threads=work.threads,
            fast=work.fast,
        ):
            more = chunk.add(portion, work, skip=bool(bad) and not reading.options.skip_bad)
            bad, unreadable = [*bad, *more][:SHOWN], unreadable + len(more)
            if portion.last:
                chunk.write(portion.chunk, file)
                chunk = _Chunk(chunk.rows)
            self._tell(len(portion.rows))
        if unreadable:
            _check_bad(bad, unreadable, chunk.rows + unreadable, reading.options)
        return ShardInfo(shard.name, "", chunk.rows, unreadable, tuple(bad))

    def check(self) -> None:
        """Say which shards were refused.

        Raises:
            DataError: some were.
        """
        if not self.refused:
            return
        details = [
            line
            for name, error in sorted(self.refused.items())
            for line in (f"{name}: {error.what}", *(f"  {each}" for each in error.details[:3]))
        ]
        finished = f"; {len(self.finished):,} are finished in {self.folder}" if self.finished else ""
        verb = "is" if len(self.refused) == 1 else "are"
        raise DataError(
            f"{len(self.refused):,} of {_shards(len(self.shards))} {verb} refused{finished}",
            details=details,
            help=next(iter(self.refused.values())).help,
        )


class _Chunk:
    """The features of a chunk as they come, portion after portion.

    Args:
        rows: written before.
    """

    def __init__(self, rows: int = 0) -> None:
        self.rows = rows
        self.ids: dict[int, str] = {}
        self.features: NDArray[np.float32] | None = None

    def add(self, portion: Portion, work: Work, *, skip: bool) -> list[str]:
        """Name and reason of the rows that cannot be read; with `skip` the others are not computed any more."""
        pairs = list(zip(portion.rows, portion.ready, strict=True))
        good = {row: each for row, each in pairs if isinstance(each, Ready)}
        self.ids.update((row, each.id) for row, each in good.items())
        if self.features is None:
            self.features = np.zeros((len(portion.chunk), work.backbone.dim), np.float32)
        if good and not skip:
            self.features[list(good)] = work.features(list(good.values()))
        return [_said(portion.chunk[row], each) for row, each in pairs if isinstance(each, str)]

    def write(self, chunk: Sequence[Row], file: ShardFile) -> None:
        """As a row group, in the order of the shard."""
        rows = sorted(self.ids)
        assert self.features is not None
        names, labels = [chunk[row].name for row in rows], [chunk[row].label for row in rows]
        file.write([self.ids[row] for row in rows], names, labels, self.features[rows])
        self.rows += len(rows)


def _said(row: Row, reason: str) -> str:
    return reason if reason.startswith(row.name) else f"{row.name}: {reason}"


def _check_bad(reasons: Sequence[str], bad: int, rows: int, options: ReadOptions) -> None:
    if options.skip_bad and bad <= options.bad_limit * rows:
        return
    mend = "replace them, or add --skip-bad"
    if options.skip_bad:
        mend = f"--skip-bad passes over {options.bad_limit:.0%} of a shard's rows; --bad-limit raises that"
    raise DataError(f"{_counted(bad, rows)} cannot be read", details=reasons, help=mend)


def _counted(bad: int, rows: int) -> str:
    return f"{bad:,} of {rows:,} rows ({bad / rows:.1%})"


def _shards(count: int) -> str:
    return "1 shard" if count == 1 else f"{count:,} shards"


def number(variable: str, otherwise: int) -> int:
    """What a launcher such as torchrun has set."""
    value = os.environ.get(variable, "")
    return int(value) if value.isdecimal() and int(value) >= 0 else otherwise
