"""What is looked at rather than read: confusion matrices, rows that contenders answer differently, maps of features."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.comparison.board import Board, Cell
from zoo.comparison.overlap import right, telling
from zoo.comparison.result import Confusion, Error, Picture
from zoo.data.decode import decoded
from zoo.data.types import AudioRef, ImageRef, Task
from zoo.errors import ZooError
from zoo.transfer.metrics import confusion

Array = NDArray[Any]
SHOWN = 12
"""Rows of each kind in the gallery."""
SIDE = 96
"""Pixels of the longer side of a picture there."""
LETTERS = 300
POINTS = 1_000
"""Rows on a map."""


def confusions(board: Board) -> Iterator[Confusion]:
    """Of every contender, first seed."""
    for cell in board.contenders:
        found = confusion(board.data.task, cell.predictions[0], board.targets)
        if found is not None:
            yield Confusion(board.title, cell.entry.title, tuple(tuple(int(n) for n in row) for row in found))


def errors(board: Board) -> tuple[Error, ...]:
    """Rows that tell modalities apart, then those that every contender has wrong."""
    task, targets = board.data.task, board.targets
    cells = [cell for cell in board.contenders if right(task, cell.predictions[0], targets) is not None]
    rows: dict[int, None] = {}
    for ours, theirs in _sides(cells):
        found = telling(task, [c.predictions[0] for c in ours], [c.predictions[0] for c in theirs], targets)
        rows |= dict.fromkeys(int(row) for row in found[:SHOWN])
    wrong = [~_right(task, cell, targets) for cell in cells]
    if wrong:
        everyone = np.flatnonzero(np.all(wrong, axis=0))
        rows |= dict.fromkeys(int(row) for row in everyone[:SHOWN])
    return tuple(_error(board, cells, row) for row in rows)


def _right(task: Task, cell: Cell, targets: Array) -> NDArray[np.bool_]:
    found = right(task, cell.predictions[0], targets)
    assert found is not None
    return found


def _sides(cells: Sequence[Cell]) -> Iterator[tuple[list[Cell], list[Cell]]]:
    """Contenders of one modality against those of another, each way; without modalities to tell, the first two."""
    by_modality: dict[str, list[Cell]] = {}
    for cell in cells:
        if len(cell.entry.modalities) == 1:
            by_modality.setdefault(cell.entry.modalities[0], []).append(cell)
    sides = list(by_modality.values())
    if len(sides) < 2:
        sides = [[cell] for cell in cells[:2]]
    for one in sides:
        for other in sides:
            if one is not other:
                yield one, other


def _error(board: Board, cells: Sequence[Cell], row: int) -> Error:
    held = board.data.splits[board.data.held_out]
    inputs = {modality: column[row] for modality, column in held.inputs.items()}
    return Error(
        data=board.title,
        row=held.names[row],
        truth=_said(board.data.task, board.targets[row]),
        answers={cell.entry.title: _answer(board.data.task, cell.predictions[0][row]) for cell in cells},
        text=_text(inputs.get("text")),
        image=_thumbnail(inputs.get("image")),
    )


def _said(task: Task, target: Any) -> str:
    if task.kind == "multilabel":
        return ", ".join(task.classes[k] for k in np.flatnonzero(target)) or "none"
    return task.classes[int(target)]


def _answer(task: Task, probabilities: Array) -> str:
    if task.kind == "multilabel":
        return _said(task, probabilities >= 0.5)
    return task.classes[int(probabilities.argmax())]


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = " | ".join(value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"


def _thumbnail(value: Any) -> str | None:
    """A small PNG as a data URI; None for what is no image, or none that can be read now."""
    first = value[0] if isinstance(value, tuple) and value else value
    if not isinstance(first, ImageRef) or isinstance(first, AudioRef):
        return None
    from PIL import Image

    try:
        pixels = decoded(first)
    except (ZooError, OSError):
        return None
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
    image = image.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    with io.BytesIO() as file:
        image.save(file, format="PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def pictures(board: Board) -> Iterator[Picture]:
    """The frozen features of held-out rows of each backbone in two dimensions, by principal components."""
    task, seen = board.data.task, set[str]()
    for cell in board.contenders:
        if cell.facts is None or cell.entry.backbone in seen or len(cell.facts.features) < 3:
            continue
        seen.add(cell.entry.backbone)
        features, targets = cell.facts.features[:POINTS], board.targets[:POINTS]
        yield Picture(
            data=board.title,
            contender=cell.entry.title,
            method="PCA of standardised features",
            points=tuple((float(x), float(y)) for x, y in _plane(features)),
            labels=tuple(_said(task, target) if task.classes else f"{float(target[0]):.4g}" for target in targets),
        )


def _plane(features: Array) -> Array:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    found = PCA(2, svd_solver="full" if min(scaled.shape) < 500 else "randomized", random_state=0).fit_transform(scaled)
    spread = np.abs(found).max() or 1.0
    return np.asarray(np.round(found / spread, 4))
