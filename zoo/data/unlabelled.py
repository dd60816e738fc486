"""Rows without labels: a folder, a table, a text file or a split, read for their inputs alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo.catalog.spec import Modality
from zoo.data.audio import AUDIO_SUFFIXES
from zoo.data.classes import counted
from zoo.data.folder import IMAGE_SUFFIXES, SPLIT_NAMES, files_below
from zoo.data.identity import identities
from zoo.data.infer import as_images, as_recordings, find_inputs, find_split
from zoo.data.reading import read_dataset, read_source
from zoo.data.tables import SUFFIXES, read_text, table_files
from zoo.data.tags import text_of
from zoo.data.types import AudioRef, Dataset, Examples, ImageRef, ReadOptions, Table
from zoo.errors import DataError, UnknownNameError

SHOWN = 10
_LINE = re.compile("\r\n|\n|\r")
"""Not what Python takes for the end of a line: a text may hold U+2028."""


@dataclass(frozen=True)
class Unlabelled:
    """Inputs without targets, and what is worth a sentence about them."""

    name: str
    """As the user typed it."""
    examples: Examples
    notes: tuple[str, ...] = ()


def read_unlabelled(source: str, data: Dataset, modalities: Sequence[Modality], options: ReadOptions) -> Unlabelled:
    """The rows of a source with what a backbone takes of them; labels are never looked at.

    Args:
        source: a folder of files however deep, a table, a .txt file with a text a line, the name of a data set, or
            any of these or of `data` with `:split` behind it. `DATA:train` is all of train, where `options` keep few.
        data: what is trained and measured on; its columns are looked for in a table first.
        modalities: that the backbone takes.
        options: how `data` are read.

    Raises:
        DataError: no rows, empty texts, or rows without what the backbone takes.
        UnknownNameError: nothing has that name, or no such split.
    """
    part, _, split = source.rpartition(":")
    of_split = split in SPLIT_NAMES or split in data.splits or _is(part, data) or Path(part).expanduser().exists()
    if part and of_split and not Path(source).expanduser().exists():
        found = _of_split(source, part, split, data, modalities, options)
    else:
        found = _of_source(source, data, modalities, options)
    found = _filled(found, options)
    examples, notes = found.examples, found.notes
    _check_pairs(examples, data, source)
    where = Path(source).name or source
    return Unlabelled(
        source, examples, (f"{len(examples):,} unlabelled rows from {where}", *notes, *_shared(examples, data))
    )


@dataclass(frozen=True)
class _Found:
    examples: Examples
    notes: tuple[str, ...] = ()


def _of_split(
    source: str, part: str, split: str, data: Dataset, modalities: Sequence[Modality], options: ReadOptions
) -> _Found:
    wanted = split if split in data.splits else SPLIT_NAMES.get(split, split)
    if _is(part, data):
        if wanted == "train" and (options.shots is not None or options.limit is not None):
            data = read_dataset(part, replace(options, shots=None, limit=None, modalities=tuple(modalities)))
        if wanted not in data.splits:
            raise UnknownNameError("split", split, data.splits, help=f"the splits are {', '.join(data.splits)}")
        examples = data.splits[wanted]
        inputs = {modality: examples.inputs[modality] for modality in modalities}
        return _Found(replace(examples, inputs=inputs, targets=None))
    table, root = read_source(part, options)
    column = find_split(table.columns, set()) if table.split is None else None
    names = [str(cell).strip() for cell in table.columns[column]] if column is not None else table.split
    there = [SPLIT_NAMES.get(str(each).lower(), str(each)) or "train" for each in names or ()]
    rows = [row for row, each in enumerate(there) if each == wanted]
    if not rows:
        known = list(dict.fromkeys(there))
        said = f"the splits are {', '.join(known)}" if known else f"{part} has no splits; leave :{split} out"
        raise UnknownNameError("split", split, known, help=said)
    return _Found(_of_table(table, root, data, modalities, options).select(rows))


def _of_source(source: str, data: Dataset, modalities: Sequence[Modality], options: ReadOptions) -> _Found:
    path = Path(source).expanduser()
    if path.is_dir() and not table_files(path):
        return _of_folder(path, modalities)
    if path.is_file() and path.suffix.lower() == ".txt":
        return _of_lines(path, modalities, options)
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{source} is no folder and no table of unlabelled rows",
            help=f"give a folder, a .txt file with a text a line, or one of {', '.join(SUFFIXES)}",
        )
    table, root = read_source(source, options)
    return _Found(_of_table(table, root, data, modalities, options))


def _of_folder(folder: Path, modalities: Sequence[Modality]) -> _Found:
    """Every file below that is called like an image, or a recording; every file where none is."""
    if len(modalities) != 1 or modalities[0] == "text":
        what = " and ".join(modalities)
        raise DataError(f"{folder} is a folder of files, and the backbone takes {what}", help="give a table instead")
    modality = modalities[0]
    suffixes, kind = (IMAGE_SUFFIXES, ImageRef) if modality == "image" else (AUDIO_SUFFIXES, AudioRef)
    files = files_below(folder)
    named = [path for path in files if path.name.lower().endswith(suffixes)]
    left = [path for path in files if path not in set(named)] if named else []
    chosen = named or files
    if not chosen:
        raise DataError(f"{folder} holds no files", help="give a folder that does")
    names = [str(path.relative_to(folder)) for path in chosen]
    refs: list[Any] = [kind(name, str(path)) for name, path in zip(names, chosen, strict=True)]
    called = "images" if modality == "image" else "recordings"
    notes = (
        (f"{counted(len(left), 'file')} not called like {called}, not read, such as {left[0].name}",) if left else ()
    )
    return _Found(_rows({modality: refs}, names), notes)


def _of_lines(path: Path, modalities: Sequence[Modality], options: ReadOptions) -> _Found:
    if tuple(modalities) != ("text",):
        what = " and ".join(modalities)
        raise DataError(f"{path} is a file of texts, and the backbone takes {what}", help="give a folder or a table")
    text = read_text(path, options.encoding)
    lines = [(number, line) for number, line in enumerate(_LINE.split(text), 1) if line.strip()]
    if not lines:
        raise DataError(f"{path} holds no text", help="write a text a line")
    return _Found(_rows({"text": [line for _, line in lines]}, [f"{path.name}:{number}" for number, _ in lines]))


def _of_table(
    table: Table, root: Path, data: Dataset, modalities: Sequence[Modality], options: ReadOptions
) -> Examples:
    given = _columns_of(data, table.columns, options)
    image, text, audio = find_inputs(table.columns, table.name, given, modalities, given.label or ())
    inputs: dict[Modality, list[Any]] = {}
    if image is not None:
        inputs["image"] = as_images(table.columns[image], root, options.max_pixels)
    if text:
        columns = [[text_of(cell) for cell in table.columns[name]] for name in text]
        inputs["text"] = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    if audio is not None:
        inputs["audio"] = as_recordings(table.columns[audio], root, options.max_seconds)
    missing = [modality for modality in modalities if modality not in inputs]
    if missing:
        raise DataError(
            f"the unlabelled rows of {table.name} have no {missing[0]}; columns: {', '.join(table.columns)}",
            help=f"give the column of {missing[0]}s the name that it has in the data",
        )
    return _rows(inputs, list(table.names or (f"row {row}" for row in range(len(table)))))


def _columns_of(data: Dataset, columns: Mapping[str, Any], options: ReadOptions) -> ReadOptions:
    """The columns that were read of the data, where this table has them too; else they are found anew."""

    def there(names: Sequence[str]) -> tuple[str, ...] | None:
        return tuple(names) if names and all(name in columns for name in names) else None

    text = there([each for each in data.columns.get("text", "").split(",") if each])
    image, audio = (there([data.columns.get(each, "")]) for each in ("image", "audio"))
    return replace(
        options,
        image=image[0] if image else None,
        audio=audio[0] if audio else None,
        text=text,
        label=tuple(name for name in data.columns.get("label", "").split(",") if name in columns) or None,
    )


def _filled(found: _Found, options: ReadOptions) -> _Found:
    """Without empty texts where these are to be dropped."""
    texts = found.examples.inputs.get("text", ())
    empty = [
        row
        for row, text in enumerate(texts)
        if any(not side.strip() for side in (text if isinstance(text, tuple) else (text,)))
    ]
    if not empty:
        return found
    names = [found.examples.names[row] for row in empty]
    message = f"{counted(len(empty), 'unlabelled row')} with an empty text"
    if not options.drop_empty:
        raise DataError(message, details=names[:SHOWN], help="fill them in, or drop them with --drop-empty")
    gone = set(empty)
    kept = found.examples.select([row for row in range(len(found.examples)) if row not in gone])
    if not len(kept):
        raise DataError("every unlabelled row has an empty text", help="give rows that hold text")
    return _Found(kept, (*found.notes, f"{message}: dropped"))


def _check_pairs(examples: Examples, data: Dataset, source: str) -> None:
    def pairs(rows: Examples) -> bool:
        return isinstance(next(iter(rows.inputs.get("text", ())), ""), tuple)

    train = data.splits["train"]
    if "text" in examples.inputs and pairs(examples) != pairs(train):
        have, want = ("pairs of texts", "single texts") if pairs(examples) else ("single texts", "pairs of texts")
        raise DataError(f"{source} holds {have}, and the data have {want}", help="give the columns the same names")


def _shared(examples: Examples, data: Dataset) -> tuple[str, ...]:
    """Rows that are labelled or measured as well; without their labels that is allowed, and has a name."""
    own = set(data.splits["train"].ids)
    labelled = sum(each in own for each in examples.ids)
    notes = [f"{labelled:,} of the unlabelled rows are training rows, which have labels too"] if labelled else []
    for split, rows in data.splits.items():
        held = set(rows.ids)
        shared = sum(each in held for each in examples.ids) if split != "train" else 0
        if shared:
            what = "that are measured" if split == data.held_out else f"of {split}"
            notes.append(f"transductive: {shared:,} of the unlabelled rows are the rows {what}, without their labels")
    return tuple(notes)


def _rows(inputs: dict[Modality, list[Any]], names: Sequence[str]) -> Examples:
    ids, hashed = identities(inputs, len(names))
    return Examples(inputs, None, ids, tuple(names), hashed)


def _is(part: str, data: Dataset) -> bool:
    """Whether this is the name or the path of the data."""
    if part.casefold() == data.name.casefold():
        return True
    here, there = Path(part).expanduser(), Path(data.name).expanduser()
    return here.exists() and there.exists() and here.samefile(there)
