"""`zoo extract ... -o FOLDER/`: features of shards, with their progress."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cli import console
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.data.types import ReadOptions
    from zoo.verbs.shard_board import ShardProgress

EVERY_SECONDS = 30.0
"""Between lines of progress where there is no terminal."""


@dataclass(frozen=True)
class Given:
    """What the command was given."""

    backbone: str
    data: str
    output: Path
    read: ReadOptions
    pooling: str | None
    dtype: str | None
    batch_size: int | None
    device: str
    precision: str | None
    fast: bool
    weights: str | None
    offline: bool


def refuse(options: dict[str, Any]) -> None:
    """Say which of the given options are of files only.

    Raises:
        UsageError: one of them was given.
    """
    mends = {
        "--level": "shards hold pooled features; other levels go to a file, such as -o tokens.safetensors",
        "--split": "give the shards of the split, as in 'data/train-*.parquet'",
        "--parallel": "every process that runs the command takes shards of its own, with the whole backbone",
        "--overwrite": "what is finished is kept; delete the folder, or choose another one",
    }
    for name, given in options.items():
        if given:
            raise UsageError(f"{name} is not for a folder of shards", help=mends[name])


def extract(given: Given, *, json: bool) -> None:
    """Call the verb and render."""
    from zoo.verbs.extract_shards import extract_shards

    with _progress() as progress:
        found = extract_shards(
            given.backbone,
            given.data,
            given.output,
            pooling=given.pooling,
            dtype=given.dtype or "float32",
            batch_size=given.batch_size,
            device=given.device,
            precision=given.precision or "auto",
            fast=given.fast,
            weights=given.weights,
            read=given.read,
            offline=given.offline,
            progress=progress,
            say=console.note,
        )
    if json:
        return console.print_json(found.to_json())
    shards = "1 shard" if found.shards == 1 else f"{found.shards:,} shards"
    here = "" if found.written == found.shards else f" ({found.written:,} written now)"
    left_out = f", {found.unreadable:,} left out" if found.unreadable else ""
    features = f"{found.rows:,} x {found.dim} {found.dtype} of {found.backbone}{left_out}"
    return console.print_text(f"wrote {found.output}  {shards}{here}, {features}")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[ShardProgress], None]]:
    """A bar of shards with the rows beside it on a terminal, a plain line now and then otherwise."""
    if console.is_interactive():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("shards"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rows]:,} rows"))
        with Progress(*columns, TimeElapsedColumn(), console=console.stderr(), transient=True) as bar:
            task = bar.add_task("shards", total=None, rows=0)
            yield lambda each: bar.update(task, total=each.shards, completed=each.finished, rows=each.rows)
        return
    last = time.monotonic()

    def plain(each: ShardProgress) -> None:
        nonlocal last
        if time.monotonic() - last > EVERY_SECONDS:
            console.note(f"extracting {each.finished:,}/{each.shards:,} shards, {each.rows:,} rows")
            last = time.monotonic()

    yield plain
