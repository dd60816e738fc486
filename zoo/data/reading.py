"""A folder, a table or a name to a data set: read, inferred, split, checked and said."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.catalog.spec import Modality, fingerprint
from zoo.data.audit import audit
from zoo.data.boxcheck import look_at_boxes
from zoo.data.coco import coco_files, read_coco
from zoo.data.folder import SPLIT_NAMES, read_class_folders
from zoo.data.identity import identities
from zoo.data.infer import Columns, as_images, as_recordings, find_columns, find_task
from zoo.data.labels import encode as encode
from zoo.data.labels import make_task, read_labels, with_names
from zoo.data.masks import class_names, mask_folders, read_mask_folder, survey
from zoo.data.pairs import check_pairs, file_of, pair_targets
from zoo.data.splits import few_shot, hold_out, sample
from zoo.data.tables import read_tables, table_files
from zoo.data.tags import text_of
from zoo.data.types import Dataset, Examples, Problem, ReadOptions, Table, Task, TaskKind, UnknownId
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
    found: list[Problem] = []
    try:
        table, root = read_source(source, options, catalog)
        return dataset_of(table, options, root=root, problems=found), tuple(found)
    except DataError as error:
        if not any(problem.level == "error" for problem in found):
            found.append(Problem("error", "unreadable", error.what, error.details, error.help))
        return None, tuple(found)


def read_source(source: str | Path, options: ReadOptions, catalog: Catalog | None = None) -> tuple[Table, Path]:
    """The raw table of a source, and the folder its relative paths start from."""
    path = Path(source).expanduser()
    if path.is_dir():
        annotated = coco_files(path)
        if annotated and options.task in (None, "detection"):
            return read_coco(annotated, str(source)), path
        if options.task in (None, "segmentation") and mask_folders(path):
            return replace(read_mask_folder(path, str(source)), classes=class_names(path)), path
        files = table_files(path)
        if files:
            return _with_label_names(read_tables(files, str(source), options), path), path
        return read_class_folders(path, str(source)), path
    if path.is_file() and path.suffix.lower() == ".json":
        return read_coco({"": path}, str(source)), path.parent
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
        root: where relative paths of files start.
        problems: takes every problem, errors too, which then are not raised.

    Raises:
        DataError: with every bad row named.
    """
    columns = find_columns(table, options)
    if columns.split is not None:
        table = replace(table, split=[str(cell).strip() for cell in table.columns[columns.split]])
    notes = [f"reading {_said(columns)}", *table.notes]
    notes += [f"splits are those of column '{columns.split}'"] if columns.split is not None else []
    names_of = list(table.names) if table.names is not None else [f"row {i}" for i in range(len(table))]
    raw = [list(table.columns[name]) for name in columns.label]
    kind, why = find_task(raw, options, columns.label, table.columns[columns.text[0]] if columns.text else ())
    notes.append(f"{kind}: {why}")
    inputs = _only_of(kind, _inputs(table, columns, root or Path(), options), table.name)
    labels = read_labels(raw, kind, names_of, options)
    said: list[Problem] = []
    if columns.names is not None and kind in ("binary", "multiclass"):
        labels, naming = with_names(labels, columns.names, table.columns[columns.names], names_of)
        notes.append(naming.message)
        said += [naming] if naming.level != "note" else []
    labels = _looked_at(kind, labels, inputs, root or Path(), options)
    rows_of = _rows_by_split(table)
    ids, hashed = identities(inputs, len(table))
    checked = audit(inputs, labels, kind, ids, names_of, rows_of, options, into=problems, classes=table.classes)
    if problems is not None:
        problems.extend(said)
    notes += checked.notes
    if not checked.rows["train"]:
        raise DataError("no training rows are left", help="look at the rows above")
    task = make_task(kind, labels, checked.rows["train"], columns.label, table.classes)
    if kind == "pairs":
        targets = pair_targets([file_of(each) for each in inputs["image"]], inputs["text"])
    else:
        targets = encode(task, labels, names_of, [row for rows in checked.rows.values() for row in rows])
    everything = Examples(inputs, targets, ids, tuple(names_of), hashed)
    splits = {split: everything.select(rows) for split, rows in checked.rows.items() if len(rows)}
    splits, more = _completed(splits, task, options)
    dataset = Dataset(
        name=table.name,
        task=task,
        splits=splits,
        columns=_by_name(columns, inputs),
        notes=(*notes, *more),
        problems=(*checked.problems, *said),
    )
    return replace(dataset, fingerprint=fingerprint_of(dataset))


def fingerprint_of(dataset: Dataset) -> str:
    """sha256 over rows, targets, splits and task."""
    splits = {name: [list(e.ids), _digest(e.targets)] for name, e in dataset.splits.items()}
    return fingerprint({"task": dataset.task, "splits": splits})


def _digest(targets: Any) -> str | None:
    if targets is None:
        return None
    digest = hashlib.sha256()
    for content in [each.content() for each in targets] if targets.dtype == object else [targets.tobytes()]:
        # With its length before it, or a word could go from one row to the next unseen.
        digest.update((b"%d\0" % len(content) if targets.dtype == object else b"") + content)
    return digest.hexdigest()


def _inputs(table: Table, columns: Columns, root: Path, options: ReadOptions) -> dict[Modality, list[Any]]:
    inputs: dict[Modality, list[Any]] = {}
    if columns.image is not None:
        inputs["image"] = as_images(table.columns[columns.image], root, options.max_pixels)
    if len(columns.text) == 1:
        inputs["text"] = [text_of(value) for value in table.columns[columns.text[0]]]
    elif columns.text:
        inputs["text"] = list(zip(*(map(str, table.columns[name]) for name in columns.text), strict=True))
    if columns.audio is not None:
        inputs["audio"] = as_recordings(table.columns[columns.audio], root, options.max_seconds)
    return inputs


def _by_name(columns: Columns, inputs: Mapping[Modality, Any]) -> dict[str, str]:
    """What was read as what."""
    found = {"image": columns.image or "", "text": ",".join(columns.text), "audio": columns.audio or ""}
    return {**{m: found[m] for m in inputs}, "label": ",".join(columns.label)}


def _looked_at(
    kind: TaskKind, labels: list[Any], inputs: Mapping[Modality, list[Any]], root: Path, options: ReadOptions
) -> list[Any]:
    """Masks decoded and boxes held against their images; other labels as they are."""
    if kind == "segmentation":
        return list(survey(inputs["image"], as_images(labels, root, options.max_pixels)))
    return list(look_at_boxes(labels, inputs["image"])) if kind == "detection" else labels


def _only_of(kind: TaskKind, inputs: dict[Modality, list[Any]], name: str) -> dict[Modality, list[Any]]:
    """What is labelled: masks and boxes belong to images, tags to texts."""
    if kind == "pairs":
        check_pairs(inputs, name)
        return {"image": inputs["image"], "text": inputs["text"]}
    modality: Modality | None = {"segmentation": "image", "detection": "image", "tokens": "text"}.get(kind)  # type: ignore[assignment]
    if modality is None:
        return inputs
    if modality not in inputs:
        raise DataError(
            f"{name} has no column of {modality}s to go with its {kind} labels", help=f"name it with --{modality}-col"
        )
    return {modality: inputs[modality]}


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
    names = [name.strip() for name in path.read_text(encoding="utf-8-sig").splitlines()]
    cells = [str(cell).strip() for cell in table.columns["label"]]
    if not names or not all(cell.removeprefix("-").isdecimal() for cell in cells if cell):
        return table

    def named(cell: str) -> str:
        if not cell:
            return ""
        return names[int(cell)] if 0 <= int(cell) < len(names) else UnknownId(cell)

    notes = (*table.notes, "classes are named by labels.txt")
    return replace(table, columns={**table.columns, "label": [named(cell) for cell in cells]}, notes=notes)


def _said(columns: Columns) -> str:
    parts = [f"image from '{columns.image}'"] if columns.image else []
    parts += ["text from " + " and ".join(f"'{name}'" for name in columns.text)] if columns.text else []
    parts += [f"audio from '{columns.audio}'"] if columns.audio else []
    if not columns.label:
        return ", ".join(parts)
    return ", ".join([*parts, "label from " + ", ".join(f"'{name}'" for name in columns.label)])
