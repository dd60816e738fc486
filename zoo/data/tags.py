"""Tags: the label of every word of a text, in lists of words and in CoNLL files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.classes import counted, without
from zoo.data.types import Problem
from zoo.errors import DataError

IGNORED = -100
"""Stands where a token has no label, as the losses of torch know it."""
OUTSIDE = "O"
"""The tag of a word that is part of nothing."""
CONLL = (".conll", ".conll2003", ".bio", ".iob", ".iob2")
"""Suffixes of files with one word a line and an empty line between sentences."""
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, eq=False)
class Tags:
    """The label of every word of one text."""

    indices: NDArray[np.int64]
    """(W,) class indices."""

    def content(self) -> bytes:
        """What makes two rows of tags the same, for fingerprints."""
        return self.indices.tobytes()


def text_of(cell: Any) -> str:
    """A text, or a list of words joined by spaces."""
    return " ".join(map(str, cell)) if isinstance(cell, list | tuple) else str(cell)


def words_of(text: str) -> list[str]:
    """The words of a text: what stands between spaces."""
    return _WORD.findall(text)


def spans_of(text: str) -> list[tuple[int, int]]:
    """First character and the one after the last, of each word."""
    return [match.span() for match in _WORD.finditer(text)]


def first_pieces(text: str, pieces: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """(W,) the token that begins each word; -1 for a word that was cut off or has no token.

    Args:
        text: whose words these are.
        pieces: (start, end) characters of each token; empty, start == end, for special tokens.
    """
    words = spans_of(text)
    found = np.full(len(words), -1, dtype=np.int64)
    word = 0
    for place, (start, end) in enumerate(pieces):
        if start >= end:
            continue
        while word < len(words) and words[word][1] <= start:
            word += 1
        # A token may begin with the space before its word, and may reach over several.
        reached = word
        while reached < len(words) and words[reached][0] < end:
            if found[reached] < 0:
                found[reached] = place
            reached += 1
    return found


def parse_conll(text: str, name: str) -> tuple[dict[str, list[list[str]]], list[int]]:
    """The columns "tokens" and "tags" of a CoNLL file, and the line on which each sentence begins.

    The first field of a line is the word, the last its tag; lines of -DOCSTART- are passed over.

    Raises:
        DataError: names the line that has no tag.
    """
    columns: dict[str, list[list[str]]] = {"tokens": [], "tags": []}
    lines: list[int] = []
    fresh = True
    for number, line in enumerate(re.split("\r\n|\n|\r", text), 1):
        fields = line.split("\t") if "\t" in line else line.split()
        fields = [field.strip() for field in fields if field.strip()]
        if not fields or fields[0] == "-DOCSTART-":
            fresh = True
            continue
        if len(fields) < 2:
            raise DataError(f"{name}, line {number}: '{fields[0]}' has no tag", help="write WORD TAG on each line")
        if fresh:
            columns["tokens"].append([])
            columns["tags"].append([])
            lines.append(number)
            fresh = False
        # A word with a space inside would be two; there are such numbers in German corpora.
        columns["tokens"][-1].append("".join(fields[0].split()))
        columns["tags"][-1].append(fields[-1])
    return columns, lines


def read_tags(cells: Sequence[Any]) -> list[list[str]]:
    """The tags of each row: a list, or a text with spaces between them."""
    return [[str(each) for each in cell] if isinstance(cell, list | tuple) else words_of(str(cell)) for cell in cells]


def tag_problems(
    texts: Sequence[str], tags: Sequence[Sequence[str]], names: Sequence[str], kept: dict[str, list[int]]
) -> list[Problem]:
    """Rows with more words than tags or fewer, unknown tags, classes of one sort; such rows are taken out of `kept`."""
    rows = [row for members in kept.values() for row in members]
    uneven = [row for row in rows if len(words_of(texts[row])) != len(tags[row])]
    problems = []
    if uneven:
        where = tuple(f"{len(words_of(texts[row]))} words and {len(tags[row])} tags in {names[row]}" for row in uneven)
        message = f"{counted(len(uneven), 'row')} whose words and tags differ in number"
        help_ = "give each word one tag; a word is never empty and has no space inside"
        problems.append(Problem("error", "uneven", message, where, help_))
        without(kept, set(uneven))
    train = Counter(tag for row in kept["train"] for tag in tags[row])
    if len(train) < 2 and kept["train"]:
        message = f"there is a single tag, '{next(iter(train), 'none')}', in the training rows: nothing can be learned"
        return [*problems, Problem("error", "single-class", message, help="check the column; --label-col names it")]
    for split in [name for name in kept if name != "train"]:
        problems += _strange(split, train, tags, names, kept)
    return problems


def tag_classes(tags: Sequence[Sequence[str]], rows: Sequence[int]) -> tuple[str, ...]:
    """Every tag of these rows; O first, then B-X beside I-X."""
    found = {tag for row in rows for tag in tags[row]}

    def place(tag: str) -> tuple[bool, str, str]:
        prefix, _, kind = tag.partition("-")
        return (tag != OUTSIDE, kind or prefix, prefix)

    numeric = all(tag.isdecimal() for tag in found)
    return tuple(sorted(found, key=int) if numeric else sorted(found, key=place))


def encode_tags(classes: Sequence[str], tags: Sequence[Sequence[str]]) -> NDArray[Any]:
    """(N,) `Tags`; those that are no class are ignored."""
    index = {tag: i for i, tag in enumerate(classes)}
    found = np.empty(len(tags), dtype=object)
    for row, each in enumerate(tags):
        found[row] = Tags(np.array([index.get(tag, IGNORED) for tag in each], dtype=np.int64))
    return found


def _strange(
    split: str,
    train: Mapping[str, int],
    tags: Sequence[Sequence[str]],
    names: Sequence[str],
    kept: dict[str, list[int]],
) -> list[Problem]:
    there = Counter(tag for row in kept[split] for tag in tags[row])
    problems = []
    if unknown := sorted(set(there) - set(train)):
        bad = [row for row in kept[split] if not set(tags[row]) <= train.keys()]
        message = f"{len(unknown)} tags of {split} do not occur in the training rows: {', '.join(unknown[:5])}"
        where = tuple(f"{sorted(set(tags[row]) - train.keys())[:3]} in {names[row]}" for row in bad)
        mend = "correct them, or add training rows for them"
        problems.append(Problem("error", "unknown-class", message, where, mend))
        without(kept, set(bad))
    if missing := sorted(set(train) - set(there)):
        message = f"{split} has no word of {len(missing)} of {len(train)} tags ({', '.join(missing[:5])})"
        problems.append(Problem("warning", "missing-class", message))
    return problems
