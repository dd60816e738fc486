"""What is wrong with data, found before a model is loaded; every bad row is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.catalog.spec import Modality
from zoo.data.types import Problem, ReadOptions
from zoo.errors import DataError

LEAK_LIMIT = 0.05
"""Share of held-out rows that may also be training rows; these are dropped from train, more is an error."""
FEW = 5
"""A class with fewer rows than this is worth a word."""
SHOWN = 10


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

    Raises:
        DataError: the first error found, with the rows.
    """
    problems, kept = inspect(inputs, labels, kind, ids, names, rows, options)
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
) -> tuple[list[Problem], dict[str, list[int]]]:
    """Every problem, and the rows that would be used."""
    kept = {split: list(members) for split, members in rows.items()}
    problems = _empty(inputs, labels, kind, names, kept, options)
    if kind in ("binary", "multiclass", "multilabel"):
        problems += _label_typos(labels, kind, names, kept)
        problems += _classes(labels, kind, names, kept)
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
        label = labels[row]
        return kind in ("binary", "multiclass") and not str(label).strip()

    bad = [row for members in kept.values() for row in members if empty(row)]
    if not bad:
        return []
    where = tuple(names[row] for row in bad)
    if not options.drop_empty:
        message = f"{len(bad)} rows have an empty text or label"
        return [Problem("error", "empty", message, where, "fill them in, or drop them with --drop-empty")]
    gone = set(bad)
    for split, members in kept.items():
        kept[split] = [row for row in members if row not in gone]
    return [Problem("warning", "empty", f"{len(bad)} rows with an empty text or label are dropped", where)]


def _label_typos(
    labels: Sequence[Any], kind: str, names: Sequence[str], kept: Mapping[str, list[int]]
) -> list[Problem]:
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for members in kept.values():
        for row in members:
            for label in labels[row] if kind == "multilabel" else [labels[row]]:
                counts[label] += 1
                first.setdefault(label, names[row])
    folded: dict[str, list[str]] = {}
    for label in counts:
        folded.setdefault(" ".join(label.split()).casefold(), []).append(label)
    problems = [
        Problem(
            "error",
            "label-typo",
            f"labels differ only in case or spaces: {', '.join(repr(each) for each in same)}",
            tuple(f"{each!r} first in {first[each]}" for each in same),
            "write them alike",
        )
        for same in folded.values()
        if len(same) > 1
    ]
    rare = [label for label, count in counts.items() if count < FEW and len(label) > 3]
    for label in rare:
        near = [other for other in counts if counts[other] >= FEW and _one_edit(label, other)]
        if near:
            message = f"'{label}' ({counts[label]} rows) looks like a typo of '{near[0]}' ({counts[near[0]]} rows)"
            problems.append(Problem("warning", "label-typo", message, (first[label],)))
    return problems


def _one_edit(a: str, b: str) -> bool:
    if abs(len(a) - len(b)) > 1:
        return False
    if len(a) == len(b):
        return sum(x != y for x, y in zip(a, b, strict=True)) == 1
    short, long = sorted((a, b), key=len)
    return any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


def _classes(labels: Sequence[Any], kind: str, names: Sequence[str], kept: Mapping[str, list[int]]) -> list[Problem]:
    def counted(rows: Sequence[int]) -> Counter[str]:
        return Counter(label for row in rows for label in (labels[row] if kind == "multilabel" else [labels[row]]))

    train = counted(kept["train"])
    problems = []
    if len(train) < 2:
        only = next(iter(train), "none")
        message = f"there is a single class, '{only}', in the training rows: nothing can be learned"
        problems.append(Problem("error", "single-class", message, help="check the label column; --label-col names it"))
        return problems
    for label, count in sorted(train.items()):
        if count == 1 and kind != "multilabel":
            problems.append(Problem("warning", "tiny-class", f"class '{label}' has a single training row"))
    for split, rows in kept.items():
        if split == "train":
            continue
        there = counted(rows)
        unknown = sorted(set(there) - set(train))
        if unknown:
            where = tuple(
                f"'{label}' in {names[row]}"
                for label in unknown
                for row in rows
                if label in (labels[row] if kind == "multilabel" else [labels[row]])
            )
            message = f"{len(unknown)} labels of {split} do not occur in the training rows: {', '.join(unknown[:5])}"
            problems.append(
                Problem("error", "unknown-class", message, where, "correct them, or add training rows for them")
            )
        missing = sorted(set(train) - set(there))
        if missing:
            message = (
                f"{split} has no row of {len(missing)} of {len(train)} classes ({', '.join(missing[:5])}); "
                f"its metrics are over the {len(there)} that are there"
            )
            problems.append(Problem("warning", "missing-class", message))
    if kind != "multilabel" and max(train.values()) > 10 * min(train.values()):
        most, least = train.most_common()[0], train.most_common()[-1]
        message = f"classes are unbalanced: '{most[0]}' has {most[1]} training rows, '{least[0]}' {least[1]}"
        problems.append(Problem("note", "imbalance", message, help="read macro_f1 beside accuracy"))
    return problems


def _leaks(ids: Sequence[str], names: Sequence[str], kept: dict[str, list[int]], options: ReadOptions) -> list[Problem]:
    owner = {ids[row]: row for row in kept["train"]}
    problems = []
    for split in [name for name in kept if name != "train"]:
        pairs = [(row, owner[ids[row]]) for row in kept[split] if ids[row] in owner]
        if not pairs:
            continue
        where = tuple(f"{names[row]} is also {names[other]}" for row, other in pairs)
        share = len(pairs) / len(kept[split])
        if options.allow_leak:
            message = f"LEAK: {len(pairs)} rows of {split} ({share:.1%}) are also training rows, kept as asked"
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
