"""A comparison's outcomes put together into what is written and shown."""

from __future__ import annotations

import datetime
import platform
import shlex
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import zoo
from zoo.comparison.board import Board, data_of, differences, standings
from zoo.comparison.result import Apart, Comparison, Contender, Protocol, Standing
from zoo.comparison.work import Entry
from zoo.records.runs import environment

if TYPE_CHECKING:
    from zoo.verbs.compare import Work


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
    data = tuple(data_of(board) for board in boards)
    return Comparison(
        name=work.folder.name,
        protocol=_protocol(work, started),
        data=data,
        contenders=tuple(_contender(each, boards) for each in work.who if _stands(each, boards)),
        standings=tuple(rows),
        differences=tuple(apart),
        failures=dict(work.failures) or None,
    )


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
        "--strategy": ",".join(asked.strategies) if asked.strategies != ("linear-probe",) else None,
        "--shots": ",".join(map(str, asked.shots)) if asked.shots != ("all",) else None,
        "--seeds": asked.seeds,
        "--head": asked.training.head,
        "--reference": asked.reference,
        "--epochs": asked.training.epochs,
        "--lr": asked.training.lr,
        "--batch-size": asked.training.batch_size,
        "--seed": asked.training.seed or None,
        "--weights": asked.weights,
    }
    words += [word for option, value in plain.items() if value is not None for word in (option, str(value))]
    return shlex.join([*words, *([] if asked.floors else ["--no-floors"])])
