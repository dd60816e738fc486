"""What a comparison across modalities must also say: what joining brings, what each side carries, who errs where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from zoo.catalog.names import split_fused
from zoo.comparison.board import Board, Cell, Pairs
from zoo.comparison.likeness import likenesses as alike
from zoo.comparison.overlap import overlap, right
from zoo.comparison.result import Fusion, Likeness, Overlap, Shared, Spoiled
from zoo.comparison.spoil import loss
from zoo.comparison.statistics import holm
from zoo.transfer.metrics import greater_is_better, measure_one, primary


def fusions(board: Board) -> tuple[Fusion, ...]:
    """Each joint contender against the best of one modality, at every number of rows; Holm's correction over them.

    The best is taken on the same held-out rows, so a gain has to make up for the luck of the best of several.
    """
    metric = primary(board.data.task)
    sign = 1 if greater_is_better(metric) else -1
    among, tested = Pairs(board), []
    for shots in dict.fromkeys(cell.shots for cell in board.cells):
        cells = [cell for cell in board.at(shots) if cell.entry.floor_of is None]
        for joint in cells:
            best = _best_alone(board, joint, cells)
            found = None if best is None else among.apart(joint, best)
            if best is not None and found is not None:
                tested.append((shots, joint, best, found))
    adjusted = holm([found.p for *_, found in tested])
    return tuple(
        Fusion(
            data=board.title,
            shots=shots,
            joint=joint.entry.title,
            best=best.entry.title,
            value=found.value,
            interval=(found.low, found.high),
            p=p,
            sure=p < 0.05 and sign * found.value > 0,
        )
        for (shots, joint, best, found), p in zip(tested, adjusted, strict=True)
    )


def _best_alone(board: Board, joint: Cell, cells: Sequence[Cell]) -> Cell | None:
    """The best of its parts, or of those that take one of its modalities, by the same strategy."""
    if len(joint.entry.modalities) < 2 or not set(joint.entry.modalities) <= set(board.data.modalities):
        return None
    own = [cell for cell in cells if cell.entry.title in joint.entry.parts]
    alone = own or [
        cell
        for cell in cells
        if len(cell.entry.modalities) == 1
        and cell.entry.strategy == joint.entry.strategy
        and cell.entry.modalities[0] in joint.entry.modalities
    ]
    metric = primary(board.data.task)
    sign = 1 if greater_is_better(metric) else -1
    values = {id(cell): board.value(cell, metric) for cell in alone}
    known = [cell for cell in alone if values[id(cell)] is not None]
    return max(known, key=lambda cell: sign * (values[id(cell)] or 0.0), default=None)


def spoiled(board: Board) -> Iterator[Spoiled]:
    """What each joint contender loses when one modality tells nothing."""
    task, targets, metric = board.data.task, board.targets, primary(board.data.task)
    for cell in board.contenders:
        for name in cell.outcomes[0].spoiled:
            modality, _, how = name.partition(" ")
            without = [each.spoiled[name] for each in cell.outcomes]
            found = loss(task, metric, cell.predictions, without, targets)
            values = [measure_one(task, metric, each, targets) for each in without]
            if found is None or any(value is None for value in values):
                continue
            yield Spoiled(
                data=board.title,
                contender=cell.entry.title,
                modality=modality,
                how="dropped" if how == "dropped" else "shuffled",
                value=sum(value for value in values if value is not None) / len(values),
                loss=found.value,
                interval=(found.low, found.high),
            )


def overlaps(board: Board) -> Iterator[Overlap]:
    """Where the errors of every two contenders fall; of the first seed."""
    known = {
        cell.entry.title: found
        for cell in board.contenders
        if (found := right(board.data.task, cell.predictions[0], board.targets)) is not None
    }
    for one, other in combinations(known, 2):
        yield overlap(board.title, one, other, known[one], known[other])


def likenesses(board: Board) -> Iterator[Likeness]:
    """Linear CKA of the frozen features of every two single backbones, floors too.

    Features that are joined of two would be like those of the part with the larger numbers.
    """
    known, seen = {}, set[str]()
    for cell in board.at(board.most):
        single = len(split_fused(cell.entry.backbone)) == 1
        if cell.facts is not None and single and cell.entry.backbone not in seen:
            seen.add(cell.entry.backbone)
            known[cell.entry.title] = cell.facts.features
    for (one, other), value in alike(known).items():
        if value is not None:
            yield Likeness(board.title, one, other, value)


def shared(board: Board) -> Iterator[Shared]:
    """What one side of a space of images and texts learns, told from the other."""
    for cell in board.contenders:
        crossed = {} if cell.facts is None else dict(cell.facts.shared)
        gap = crossed.pop("gap", None)
        if gap is None:
            continue
        for name, value in crossed.items():
            trained, _, tested = name.partition(" to ")
            yield Shared(board.title, cell.entry.title, trained, tested, value, None, gap)
