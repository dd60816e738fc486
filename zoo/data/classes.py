"""What is wrong with labels: numbers of no class, typos, classes that are missing, single or unbalanced."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.data.infer import is_number
from zoo.data.types import Problem, UnknownId

FEW = 5
"""A class with fewer rows than this is worth a word."""


def without(kept: dict[str, list[int]], gone: set[int]) -> None:
    """Take these rows out of every split."""
    for split, members in kept.items():
        kept[split] = [row for row in members if row not in gone]


def counted(number: int, noun: str) -> str:
    """1 row, 2 rows."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def unknown_ids(labels: Sequence[Any], kind: str, names: Sequence[str], kept: dict[str, list[int]]) -> list[Problem]:
    """Class numbers that no class has, and -100, by which training code marks what it leaves out."""

    def unknown(row: int) -> bool:
        each = labels[row] if kind == "multilabel" else [labels[row]]
        return any(isinstance(label, UnknownId) or label.strip() == "-100" for label in each)

    bad = [row for members in kept.values() for row in members if unknown(row)]
    if not bad:
        return []
    without(kept, set(bad))
    where = tuple(f"{labels[row]!r} in {names[row]}" for row in bad)
    message = f"{counted(len(bad), 'row')} with a label that is the number of no class"
    return [Problem("error", "label-range", message, where, "correct them, or take these rows out")]


def label_typos(labels: Sequence[Any], kind: str, names: Sequence[str], kept: Mapping[str, list[int]]) -> list[Problem]:
    """Labels that are one but for case or spaces, and rare labels one letter from a common one."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for members in kept.values():
        for row in members:
            for label in labels[row] if kind == "multilabel" else [labels[row]]:
                counts[label] += 1
                first.setdefault(label, names[row])
    folded: dict[str, list[str]] = {}
    for label in counts:
        folded.setdefault(_folded(label), []).append(label)
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
    rare = [label for label, count in counts.items() if count < FEW and len(label) > 2 and not is_number(label)]
    for label in rare:
        near = [other for other in counts if counts[other] >= FEW and _one_edit(label, other)]
        if near:
            message = f"'{label}' ({counts[label]} rows) looks like a typo of '{near[0]}' ({counts[near[0]]} rows)"
            problems.append(Problem("warning", "label-typo", message, (first[label],)))
    return problems


def _folded(label: str) -> str:
    """What labels that look alike have in common."""
    return " ".join(unicodedata.normalize("NFC", label).split()).casefold()


def _one_edit(a: str, b: str) -> bool:
    if abs(len(a) - len(b)) > 1:
        return False
    if len(a) == len(b):
        return sum(x != y for x, y in zip(a, b, strict=True)) == 1
    short, long = sorted((a, b), key=len)
    return any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


def class_counts(labels: Sequence[Any], kind: str, names: Sequence[str], kept: dict[str, list[int]]) -> list[Problem]:
    """A single class, classes of one row, classes that are not in every split, classes of very different size."""

    def of(row: int) -> Sequence[str]:
        return labels[row] if kind == "multilabel" else [labels[row]]

    def per_class(rows: Sequence[int]) -> Counter[str]:
        return Counter(label for row in rows for label in of(row))

    train = per_class(kept["train"])
    if len(train) < 2:
        only = next(iter(train), "none")
        message = f"there is a single class, '{only}', in the training rows: nothing can be learned"
        return [Problem("error", "single-class", message, help="check the label column; --label-col names it")]
    problems = [] if kind == "multilabel" else _sizes(train)
    for split in [name for name in kept if name != "train"]:
        there = per_class(kept[split])
        unknown = sorted(set(there) - set(train))
        if unknown:
            message = f"{len(unknown)} labels of {split} do not occur in the training rows: {', '.join(unknown[:5])}"
            bad = [row for row in kept[split] if not train.keys() >= set(of(row))]
            where = tuple(f"'{label}' in {names[row]}" for row in bad for label in of(row) if label not in train)
            mend = "correct them, or add training rows for them"
            problems.append(Problem("error", "unknown-class", message, where, mend))
            gone = set(bad)
            kept[split] = [row for row in kept[split] if row not in gone]
        missing = sorted(set(train) - set(there))
        if missing:
            message = (
                f"{split} has no row of {len(missing)} of {len(train)} classes ({', '.join(missing[:5])}); "
                f"its metrics are over the {len(train) - len(missing)} that are there"
            )
            problems.append(Problem("warning", "missing-class", message))
    return problems


def _sizes(train: Counter[str]) -> list[Problem]:
    problems = []
    tiny = sorted(label for label, count in train.items() if count == 1)
    if tiny:
        what = "a class has" if len(tiny) == 1 else f"{len(tiny)} classes have"
        message = f"{what} a single training row: it is learned from, or held out, never both"
        problems.append(Problem("warning", "tiny-class", message, tuple(f"'{label}'" for label in tiny)))
    most, least = train.most_common()[0], train.most_common()[-1]
    if most[1] > 10 * least[1]:
        message = f"classes are unbalanced: '{most[0]}' has {most[1]} training rows, '{least[0]}' {least[1]}"
        problems.append(Problem("note", "imbalance", message, help="read macro_f1 beside accuracy"))
    return problems
