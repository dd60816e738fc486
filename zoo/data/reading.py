"""A folder, a table or a name to a data set: read, inferred, split, checked and said."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.spec import Modality, fingerprint
from zoo.data.audit import audit
from zoo.data.folder import SPLIT_NAMES, read_image_folder
from zoo.data.infer import Columns, as_images, class_names, find_columns, find_task, is_number
from zoo.data.splits import few_shot, hold_out, sample
from zoo.data.tables import read_tables, table_files
from zoo.data.types import Dataset, Examples, ImageRef, Problem, ReadOptions, Table, Task
from zoo.errors import DataError, UnknownNameError

if TYPE_CHECKING:
    from zoo.catalog.catalog import Catalog


def read_dataset(source: str | Path, options: ReadOptions | None = None, *, catalog: Catalog | None = None) -> Dataset:
    """Examples with their task and splits.

    Args:
        source: a folder, a table file, or the name of a data set such as "sklearn:digits".
        options: what was given rather than left to be inferred.
        catalog: where names are looked up.

    Raises:
        DataError: nothing to read, or data that no number should come from.
        UnknownNameError: no file, folder or data set has that name.
    """
    options = options or ReadOptions()
    table, root = read_source(source, options, catalog)
    return dataset_of(table, options, root=root)


def raw_dataset(
    source: str | Path, options: ReadOptions, *, catalog: Catalog | None = None
) -> tuple[Dataset | None, tuple[Problem, ...]]:
    """The data set with every problem, errors too; None where the errors leave nothing to read."""
    table, root = read_source(source, options, catalog)
    found: list[Problem] = []
    try:
        dataset = dataset_of(table, options, root=root, problems=found)
    except DataError as error:
        if not any(problem.level == "error" for problem in found):
            found.append(Problem("error", "unreadable", error.what, error.details, error.help))
        return None, tuple(found)
    return dataset, tuple(found)


def read_source(source: str | Path, options: ReadOptions, catalog: Catalog | None = None) -> tuple[Table, Path]:
    """The raw table of a source, and the folder its relative paths start from."""
    path = Path(source).expanduser()
    if path.is_dir():
        files = table_files(path)
        if files:
            return _with_label_names(read_tables(files, str(source), options), path), path
        return read_image_folder(path, str(source)), path
    if path.is_file():
        return _with_label_names(read_tables({"": path}, str(source), options), path.parent), path.parent
    from zoo.catalog.discovery import default_catalog
    from zoo.catalog.factories import import_factory

    datasets = (catalog or default_catalog()).datasets
    by_name = {name.casefold(): spec for name, spec in datasets.items()}
    spec = by_name.get(str(source).casefold())
    if spec is None:
        raise UnknownNameError(
            "data set",
            str(source),
            datasets,
            help="give the path of a folder or table; `zoo list datasets` shows names",
        )
    table: Table = import_factory(spec.factory, spec.name)()
    return replace(table, name=spec.name), Path()


def dataset_of(
    table: Table, options: ReadOptions, *, root: Path | None = None, problems: list[Problem] | None = None
) -> Dataset:
    """The data set that a table makes.

    Args:
        table: raw columns.
        options: what was given rather than left to be inferred.
        root: where relative paths of images start.
        problems: takes every problem, errors too, which then are not raised.

    Raises:
        DataError: with every bad row named.
    """
    columns = find_columns(table, options)
    notes = [f"reading {_said(columns)}"]
    raw = [list(table.columns[name]) for name in columns.label]
    kind, why = find_task(raw, options, columns.label)
    notes.append(f"{kind}: {why}")
    labels = _labels(raw, kind, options)
    if columns.names is not None and kind in ("binary", "multiclass"):
        names = class_names([str(v) for v in labels], [str(v) for v in table.columns[columns.names]])
        labels = [names.get(str(v), v) for v in labels]
        notes += [f"classes are named by '{columns.names}'"] if names else []
    inputs = _inputs(table, columns, root or Path())
    rows_of = _rows_by_split(table)
    names_of = list(table.names) if table.names is not None else [f"row {i}" for i in range(len(table))]
    ids = row_ids(inputs, len(table))
    checked = audit(inputs, labels, kind, ids, names_of, rows_of, options, into=problems)
    notes += checked.notes
    task = _task(kind, labels, checked.rows["train"], columns.label)
    targets = encode(task, labels, names_of, [row for rows in checked.rows.values() for row in rows])
    everything = Examples(inputs, targets, tuple(ids), tuple(names_of))
    splits = {split: everything.select(rows) for split, rows in checked.rows.items() if len(rows)}
    splits, more = _completed(splits, task, options)
    dataset = Dataset(
        name=table.name,
        task=task,
        splits=splits,
        columns={
            **({"image": columns.image} if columns.image else {}),
            **({"text": ",".join(columns.text)} if columns.text else {}),
            "label": ",".join(columns.label),
        },
        notes=(*notes, *more),
        problems=checked.problems,
    )
    return replace(dataset, fingerprint=fingerprint_of(dataset))


def encode(task: Task, labels: Sequence[Any], names: Sequence[str], rows: Sequence[int] | None = None) -> NDArray[Any]:
    """Labels as the targets of `Examples`; rows outside `rows` are left at zero.

    Raises:
        DataError: a label that the task does not know.
    """
    wanted = range(len(labels)) if rows is None else rows
    index = {name: i for i, name in enumerate(task.classes)}
    if task.kind == "regression":
        numbers = np.zeros((len(labels), len(task.targets)), dtype=np.float32)
        for row in wanted:
            numbers[row] = labels[row]
        return numbers
    unknown: dict[str, list[str]] = {}
    multi = np.zeros((len(labels), len(task.classes)), dtype=np.float32)
    single = np.zeros(len(labels), dtype=np.int64)
    for row in wanted:
        cell = labels[row]
        for label in cell if task.kind == "multilabel" else [cell]:
            if label not in index:
                unknown.setdefault(str(label), []).append(names[row])
            elif task.kind == "multilabel":
                multi[row, index[label]] = 1.0
            else:
                single[row] = index[label]
    if unknown:
        raise DataError(
            f"{len(unknown)} labels do not occur in the training rows: {', '.join(sorted(unknown)[:5])}",
            details=[f"'{label}' in {', '.join(where[:3])}" for label, where in sorted(unknown.items())[:10]],
            help="correct the labels, or add training rows for them",
        )
    return multi if task.kind == "multilabel" else single


def row_ids(inputs: dict[Modality, list[Any]], count: int) -> list[str]:
    """sha256 of each row's inputs, 16 hex digits: the same row has the same id wherever it stands."""
    found = []
    for row in range(count):
        digest = hashlib.sha256()
        for modality in sorted(inputs):
            digest.update(modality.encode() + b"\0" + _bytes(inputs[modality][row]) + b"\0")
        found.append(digest.hexdigest()[:16])
    return found


def fingerprint_of(dataset: Dataset) -> str:
    """sha256 over rows, targets, splits and task."""
    splits = {
        name: [list(e.ids), None if e.targets is None else hashlib.sha256(e.targets.tobytes()).hexdigest()]
        for name, e in dataset.splits.items()
    }
    return fingerprint({"task": dataset.task, "splits": splits})


def _bytes(value: Any) -> bytes:
    if isinstance(value, ImageRef):
        if value.array is not None:
            return value.array.tobytes()
        if value.data is not None:
            return value.data
        try:
            return Path(str(value.path)).read_bytes()
        except OSError:
            return f"unreadable {value.path}".encode()
    return "\0".join(value).encode() if isinstance(value, tuple) else str(value).encode()


def _inputs(table: Table, columns: Columns, root: Path) -> dict[Modality, list[Any]]:
    inputs: dict[Modality, list[Any]] = {}
    if columns.image is not None:
        inputs["image"] = as_images(table.columns[columns.image], root)
    if len(columns.text) == 1:
        inputs["text"] = [str(value) for value in table.columns[columns.text[0]]]
    elif columns.text:
        inputs["text"] = list(zip(*(map(str, table.columns[name]) for name in columns.text), strict=True))
    return inputs


def _labels(raw: list[list[Any]], kind: str, options: ReadOptions) -> list[Any]:
    if kind == "regression":
        for cells in raw:
            bad = next((i for i, cell in enumerate(cells) if not is_number(str(cell))), None)
            if bad is not None:
                raise DataError(
                    f"row {bad} has the target '{cells[bad]}', which is no number",
                    help="correct it, or give --task multiclass",
                )
        return [[float(cell) for cell in row] for row in zip(*raw, strict=True)]
    if kind == "multilabel":
        return [
            cell if isinstance(cell, list) else [part for part in str(cell).split(options.label_separator) if part]
            for cell in raw[0]
        ]
    return [str(cell) for cell in raw[0]]


def _task(kind: Any, labels: Sequence[Any], train: Sequence[int], columns: tuple[str, ...]) -> Task:
    if kind == "regression":
        return Task(kind, (), columns)
    found = {label for row in train for label in (labels[row] if kind == "multilabel" else [labels[row]])}
    # Numbers in the order of their value, so that "10" follows "9".
    numeric = all(is_number(label) for label in found)
    classes = sorted(found, key=lambda label: (float(label), label) if numeric else (0.0, label))
    return Task(kind, tuple(classes), columns)


def _rows_by_split(table: Table) -> dict[str, list[int]]:
    if table.split is None:
        return {"train": list(range(len(table)))}
    found: dict[str, list[int]] = {}
    for row, split in enumerate(table.split):
        found.setdefault(SPLIT_NAMES.get(split.lower(), split) or "train", []).append(row)
    if "train" not in found:
        raise DataError(f"{table.name} has no training rows, only {', '.join(found)}", help="add a train split")
    return found


def _completed(splits: dict[str, Examples], task: Task, options: ReadOptions) -> tuple[dict[str, Examples], list[str]]:
    """Held-out rows where the data bring none, and fewer training rows where that was asked for."""
    notes = []
    if "val" not in splits and "test" not in splits:
        splits["train"], splits["val"] = hold_out(splits["train"], task, share=options.val, seed=options.seed)
        notes.append(f"no split given: {len(splits['val'])} rows held out as val (seed {options.seed})")
    train = splits["train"]
    if options.shots is not None:
        train = train.select(few_shot(train, task, shots=options.shots, seed=options.seed))
        notes.append(f"{options.shots} shots a class: {len(train)} training rows kept")
    if options.limit is not None and len(train) > options.limit:
        train = train.select(sample(len(train), options.limit, seed=options.seed))
        notes.append(f"{options.limit} training rows kept")
    splits["train"] = train
    return {name: splits[name] for name in ("train", "val", "test") if name in splits}, notes


def _with_label_names(table: Table, folder: Path) -> Table:
    """Names of integer classes from a `labels.txt` beside the table, one a line."""
    path = folder / "labels.txt"
    if not path.is_file() or "label" not in table.columns or "label_name" in table.columns:
        return table
    names = path.read_text(encoding="utf-8").splitlines()
    cells = [str(cell) for cell in table.columns["label"]]
    if not all(cell.isdigit() and int(cell) < len(names) for cell in cells):
        return table
    return replace(table, columns={**table.columns, "label_name": [names[int(cell)] for cell in cells]})


def _said(columns: Columns) -> str:
    parts = [f"image from '{columns.image}'"] if columns.image else []
    parts += ["text from " + " and ".join(f"'{name}'" for name in columns.text)] if columns.text else []
    return ", ".join([*parts, "label from " + ", ".join(f"'{name}'" for name in columns.label)])
