"""What is wrong with data, found before a model is loaded; every bad row is named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.catalog.spec import Modality
from zoo.data.boxcheck import box_problems
from zoo.data.classes import class_counts, counted, label_typos, unknown_ids, without
from zoo.data.masks import mask_problems
from zoo.data.tags import tag_problems
from zoo.data.types import Problem, ReadOptions
from zoo.errors import DataError

LEAK_LIMIT = 0.05
"""Share of held-out rows that may also be training rows; these are dropped from train, more is an error."""
SHOWN = 10
LEAK_MARK = "LEAK"
"""Begins the note of a leak that is kept, and marks every metric that it spoils."""


@dataclass(frozen=True)
class Checked:
    """Rows to use, by split, and what was found."""

    rows: Mapping[str, Sequence[int]]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def audit(
    inputs: Mapping[Modality, Sequence[Any]],
    labels: Sequence[Any],
    kind: str,
    ids: Sequence[str],
    names: Sequence[str],
    rows: Mapping[str, Sequence[int]],
    options: ReadOptions,
    *,
    into: list[Problem] | None = None,
    classes: Sequence[str] = (),
) -> Checked:
    """Check texts, labels, classes and splits.

    Args:
        inputs: columns by modality.
        labels: raw labels, a list a row for several.
        kind: of the task.
        ids: content hash of each row.
        names: where each row came from.
        rows: row numbers of each split.
        options: what is to be dropped or allowed.
        into: takes every problem, errors too, which then are not raised.
        classes: names of the class numbers of masks.

    Raises:
        DataError: the first error found, with the rows.
    """
    problems, kept = inspect(inputs, labels, kind, ids, names, rows, options, classes)
    if into is not None:
        into.extend(problems)
    for problem in problems:
        if problem.level == "error" and into is None:
            raise DataError(problem.message, details=problem.rows[:SHOWN], help=problem.help)
    notes = tuple(p.message for p in problems if p.level == "warning")
    return Checked(kept, tuple(problems), notes)


def inspect(
    inputs: Mapping[Modality, Sequence[Any]],
    labels: Sequence[Any],
    kind: str,
    ids: Sequence[str],
    names: Sequence[str],
    rows: Mapping[str, Sequence[int]],
    options: ReadOptions,
    classes: Sequence[str] = (),
) -> tuple[list[Problem], dict[str, list[int]]]:
    """Every problem, and the rows that would be used."""
    kept = {split: list(members) for split, members in rows.items()}
    problems = _empty(inputs, labels, kind, names, kept, options)
    problems += _conflicts(ids, labels, kind, names, kept["train"])
    if kind in ("binary", "multiclass", "multilabel"):
        problems += unknown_ids(labels, kind, names, kept)
        problems += label_typos(labels, kind, names, kept)
        problems += class_counts(labels, kind, names, kept)
    if kind == "segmentation":
        problems += mask_problems(labels, classes, names, kept, options)
    if kind == "detection":
        problems += box_problems(labels, names, kept, options)
    if kind == "tokens":
        problems += tag_problems(inputs["text"], labels, names, kept)
    problems += _leaks(ids, names, kept, options)
    if not kept["train"]:
        problems.append(Problem("error", "no-rows", "no training rows are left", help="look at the rows above"))
    return problems, kept


def _empty(
    inputs: Mapping[Modality, Sequence[Any]],
    labels: Sequence[Any],
    kind: str,
    names: Sequence[str],
    kept: dict[str, list[int]],
    options: ReadOptions,
) -> list[Problem]:
    texts = inputs.get("text")

    def empty(row: int) -> bool:
        if texts is not None:
            sides = texts[row] if isinstance(texts[row], tuple) else (texts[row],)
            if any(not side.strip() for side in sides):
                return True
        if kind == "regression":
            return any(math.isnan(value) for value in labels[row])
        return kind in ("binary", "multiclass") and not labels[row].strip()

    bad = [row for members in kept.values() for row in members if empty(row)]
    if not bad:
        return []
    where = tuple(names[row] for row in bad)
    message = f"{counted(len(bad), 'row')} with an empty text or label"
    if not options.drop_empty:
        problem = Problem("error", "empty", message, where, "fill them in, or drop them with --drop-empty")
    else:
        problem = Problem("warning", "empty", f"{message}: dropped", where)
    without(kept, set(bad))
    return [problem]


def _conflicts(
    ids: Sequence[str], labels: Sequence[Any], kind: str, names: Sequence[str], train: Sequence[int]
) -> list[Problem]:
    """Training rows of the same content with different labels."""
    if kind in ("regression", "segmentation", "detection"):
        return []
    first: dict[str, int] = {}
    pairs = [(first.setdefault(ids[row], row), row) for row in train]
    where = tuple(
        f"{names[one]} is {labels[one]!r}, {names[row]} is {labels[row]!r}"
        for one, row in pairs
        if (set(labels[one]) != set(labels[row]) if kind == "multilabel" else labels[one] != labels[row])
    )
    if not where:
        return []
    message = f"{counted(len(where), 'training row')} with the same content as another but a different label"
    return [Problem("warning", "conflict", message, where)]


def _leaks(ids: Sequence[str], names: Sequence[str], kept: dict[str, list[int]], options: ReadOptions) -> list[Problem]:
    owner = {ids[row]: row for row in kept["train"]}
    problems = _between_held_out(ids, names, kept)
    for split in [name for name in kept if name != "train"]:
        pairs = [(row, owner[ids[row]]) for row in kept[split] if ids[row] in owner]
        if not pairs:
            continue
        where = tuple(f"{names[row]} is also {names[other]}" for row, other in pairs)
        share = len(pairs) / len(kept[split])
        if options.allow_leak:
            message = f"{LEAK_MARK}: {len(pairs)} rows of {split} ({share:.1%}) are also training rows, kept as asked"
            problems.append(Problem("warning", "leak", message, where))
        elif share > LEAK_LIMIT:
            message = f"{len(pairs)} of {len(kept[split])} rows of {split} ({share:.1%}) are also training rows"
            problems.append(
                Problem("error", "leak", message, where, "remove them from one split, or keep them with --allow-leak")
            )
        else:
            gone = {ids[row] for row, _ in pairs}
            kept["train"] = [row for row in kept["train"] if ids[row] not in gone]
            message = f"{len(pairs)} rows of {split} were also training rows; they are dropped from train"
            problems.append(Problem("warning", "leak", message, where))
    return problems


def _between_held_out(ids: Sequence[str], names: Sequence[str], kept: dict[str, list[int]]) -> list[Problem]:
    """What is chosen on val must not be judged on the same rows of test."""
    if "val" not in kept or "test" not in kept:
        return []
    owner = {ids[row]: row for row in kept["test"]}
    where = tuple(f"{names[row]} is also {names[owner[ids[row]]]}" for row in kept["val"] if ids[row] in owner)
    if not where:
        return []
    kept["val"] = [row for row in kept["val"] if ids[row] not in owner]
    return [
        Problem("warning", "leak", f"{counted(len(where), 'row')} of val were also in test: dropped from val", where)
    ]
