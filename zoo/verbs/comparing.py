"""A comparison's outcomes put together into what is written and shown."""

from __future__ import annotations

import datetime
import platform
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import zoo
from zoo.comparison.board import Board, Pairs, data_of, differences, standings
from zoo.comparison.crossing import fusions, likenesses, overlaps, shared, spoiled
from zoo.comparison.findings import findings
from zoo.comparison.gallery import confusions, errors, pictures
from zoo.comparison.ranks import mean_ranks
from zoo.comparison.result import Apart, Comparison, Contender, Overall, Protocol, Standing
from zoo.comparison.work import PROBE, Entry
from zoo.records.runs import environment

if TYPE_CHECKING:
    from zoo.verbs.cells import Work

T = TypeVar("T")


def assembled(work: Work, started: float) -> Comparison:
    """Everything that was found, with sentences that the figures bear out."""
    boards = [board for board in work.boards() if board.cells]
    apart: list[Apart] = []
    rows: list[Standing] = []
    for board in boards:
        work.watch_note(f"comparing on {board.title}")
        own = differences(board)
        apart += own
        rows += standings(board, own)
    found = Comparison(
        name=work.folder.name,
        protocol=_protocol(work, started),
        data=tuple(data_of(board) for board in boards),
        contenders=tuple(_contender(each, boards) for each in work.who if _stands(each, boards)),
        standings=tuple(rows),
        differences=tuple(apart),
        fusions=_of_all(fusions, boards),
        spoiled=_of_all(spoiled, boards),
        overlaps=_of_all(overlaps, boards),
        likenesses=_of_all(likenesses, boards),
        shared=_of_all(shared, boards),
        confusions=_of_all(confusions, boards),
        errors=_of_all(errors, boards),
        pictures=_of_all(pictures, boards),
        overall=_overall(boards) if len(boards) > 1 else (),
        failures=dict(work.failures) or None,
    )
    return replace(found, findings=findings(found))


def _of_all(made: Callable[[Board], Iterable[T]], boards: list[Board]) -> tuple[T, ...]:
    return tuple(chain.from_iterable(made(board) for board in boards))


def _overall(boards: list[Board]) -> tuple[Overall, ...]:
    """Mean ranks of those that are on every data set, which alone can be set beside each other."""
    everywhere = set.intersection(*({cell.entry.title for cell in board.contenders} for board in boards))
    tables = []
    for board in boards:
        pairs, cells = Pairs(board), [cell for cell in board.contenders if cell.entry.title in everywhere]
        seeds = max((len(cell.outcomes) for cell in cells), default=1)
        tables.append({cell.entry.title: pairs.scored(cell, max(seeds, 1)) for cell in cells})
    return tuple(Overall(title, each.value, each.interval, each.data) for title, each in mean_ranks(tables).items())


def _stands(entry: Entry, boards: list[Board]) -> bool:
    return any(cell.entry.title == entry.title for board in boards for cell in board.cells)


def _contender(entry: Entry, boards: list[Board]) -> Contender:
    cells = (cell for board in boards for cell in board.cells if cell.entry.title == entry.title and cell.facts)
    facts = next((cell.facts for cell in cells), None)
    return Contender(
        title=entry.title,
        backbone=entry.backbone,
        modalities=entry.modalities,
        strategy=entry.strategy,
        parts=entry.parts,
        floor_of=entry.floor_of,
        params=None if facts is None else facts.params,
        flops=None if facts is None else facts.flops,
        dim=None if facts is None else facts.dim,
        licence=entry.licence,
    )


def _protocol(work: Work, started: float) -> Protocol:
    asked = work.asked
    default = type(asked.training)()
    changed = {name: value for name, value in asdict(asked.training).items() if value != getattr(default, name)}
    read = {name: value for name, value in asdict(asked.read).items() if value != getattr(type(asked.read)(), name)}
    return Protocol(
        command=_command(work),
        zoo=zoo.__version__,
        seeds=asked.numbers,
        shots=asked.shots,
        strategies=asked.strategies,
        head=asked.training.head or "linear",
        training=changed,
        read=read,
        reference=asked.reference or next((each.title for each in work.who), None),
        machine=_machine(work.device),
        started=datetime.datetime.fromtimestamp(started).astimezone().isoformat(timespec="seconds"),
        seconds=time.time() - started,
        computed=work.computed,
        cached=work.cached,
    )


def _machine(device: str) -> dict[str, str]:
    found = environment()
    said = {"platform": str(found["platform"]), "python": str(found["python"]), "device": device}
    if device.startswith("cuda"):
        import torch

        said["card"] = torch.cuda.get_device_name()
    elif platform.processor():
        said["processor"] = platform.processor()
    return {**said, **{name: str(version) for name, version in found["packages"].items()}}


def _command(work: Work) -> str:
    asked = work.asked
    words = ["zoo", "compare", *asked.backbones]
    words += list(asked.data) if len(asked.data) == 1 else [word for each in asked.data for word in ("--data", each)]
    plain: dict[str, Any] = {
        "--strategy": ",".join(asked.strategies) if asked.strategies != (PROBE,) else None,
        "--shots": ",".join(map(str, asked.shots)) if asked.shots != ("all",) else None,
        "--seeds": asked.seeds,
        "--head": asked.training.head,
        "--reference": asked.reference,
        "--epochs": asked.training.epochs,
        "--lr": asked.training.lr,
        "--batch-size": asked.training.batch_size,
        "--seed": asked.training.seed or None,
        "--weights": asked.weights,
        "--pooling": asked.training.pooling,
        "--augment": asked.training.augment,
        "--image-size": asked.training.image_size,
        "--budget": asked.training.budget,
        "--image-col": asked.read.image,
        "--text-col": ",".join(asked.read.text or ()) or None,
        "--audio-col": asked.read.audio,
        "--label-col": ",".join(asked.read.label or ()) or None,
        "--task": asked.read.task,
        "--limit": asked.read.limit,
        "--val": asked.read.val if asked.read.val != type(asked.read)().val else None,
    }
    words += [word for option, value in plain.items() if value is not None for word in (option, str(value))]
    flags = {
        "--no-floors": not asked.floors,
        "--skip-bad": asked.read.skip_bad,
        "--allow-leak": asked.read.allow_leak,
        "--offline": asked.offline,
    }
    return shlex.join([*words, *(option for option, given in flags.items() if given)])
