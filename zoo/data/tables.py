"""Tables as they are: every cell of a text file is text until it is asked to be something else."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.data.folder import SPLIT_NAMES
from zoo.data.types import ImageRef, ReadOptions, Table
from zoo.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

csv.field_size_limit(1 << 30)  # a long text is no reason to fail


def table_files(folder: Path) -> dict[str, Path]:
    """`train.csv`, `test.parquet` and the like, by split."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        split = SPLIT_NAMES.get(path.stem.lower())
        if path.is_file() and split and path.suffix.lower() in SUFFIXES:
            if split in found:
                raise DataError(
                    f"{folder} has two files for {split}: {found[split].name} and {path.name}", help="remove one"
                )
            found[split] = path
    return found


def read_tables(files: Mapping[str, Path], name: str, options: ReadOptions) -> Table:
    """The files of a data set as one table with a split for each row.

    Raises:
        DataError: they differ in their columns, or one cannot be read.
    """
    columns: dict[str, list[Any]] = {}
    split: list[str] = []
    names: list[str] = []
    for part, path in files.items():
        table = read_table(path, options)
        if columns and set(table) != set(columns):
            differ = sorted(set(table) ^ set(columns))
            raise DataError(f"{path} differs from the other splits in its columns: {', '.join(differ)}")
        count = len(next(iter(table.values()), ()))
        for column, values in table.items():
            columns.setdefault(column, []).extend(values)
        split += [part] * count
        names += [f"{path.name}:{row + 2}" for row in range(count)]
    return Table(name, columns, split=split if len(files) > 1 or "train" in files else None, names=names)


def read_table(path: Path, options: ReadOptions) -> dict[str, list[Any]]:
    """The columns of one file.

    Raises:
        DataError: names the file, and the line or byte where it goes wrong.
    """
    readers: Mapping[str, Callable[[Path, ReadOptions], dict[str, list[Any]]]] = {
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".jsonl": _read_jsonl,
        ".ndjson": _read_jsonl,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is no table zoo can read", help=f"use one of {', '.join(SUFFIXES)}, or a folder")
    columns = reader(path, options)
    if not columns or not len(next(iter(columns.values()))):
        raise DataError(f"{path} has no rows")
    return columns


def _text(path: Path, encoding: str) -> str:
    raw = path.read_bytes()
    if encoding.lower().replace("-", "") == "utf8":
        encoding = "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not {encoding.removesuffix('-sig')}: byte {error.start} is 0x{raw[error.start]:02x}",
            help="name its encoding, such as --encoding latin-1 or --encoding utf-16",
        ) from error


def _read_csv(path: Path, options: ReadOptions) -> dict[str, list[Any]]:
    text = _text(path, options.encoding)
    delimiter = options.delimiter or ("\t" if path.suffix.lower() == ".tsv" else _sniff(text))
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=False)
    header = [name.strip() for name in next(rows, [])]
    if len(set(header)) != len(header):
        raise DataError(f"{path} names a column twice: {', '.join(header)}")
    found: list[list[str]] = [[] for _ in header]
    for row in rows:
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {rows.line_num}: {len(row)} fields, the header has {len(header)} ({', '.join(header)})",
                help="quote fields that hold the delimiter",
            )
        for column, value in zip(found, row, strict=True):
            column.append(value)
    return dict(zip(header, found, strict=True))


def _sniff(text: str) -> str:
    """The delimiter that the header line holds most often."""
    header = text.partition("\n")[0]
    counts = {mark: header.count(mark) for mark in (",", ";", "\t", "|")}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else ","


def _read_jsonl(path: Path, options: ReadOptions) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for number, line in enumerate(_text(path, options.encoding).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not valid JSON ({error})") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: a {type(row).__name__}, not an object")
        if columns and set(row) != set(columns):
            raise DataError(f"{path}, line {number}: its keys differ: {', '.join(sorted(set(row) ^ set(columns)))}")
        for key, value in row.items():
            columns.setdefault(key, []).append(_cell(value))
    return columns


def _cell(value: Any) -> Any:
    """Numbers and labels as the text they were written as; lists stay lists."""
    if isinstance(value, list):
        return [str(each) for each in value]
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _read_parquet(path: Path, options: ReadOptions) -> dict[str, list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is no readable Parquet file: {error}") from error
    names = _class_labels(table.schema.metadata or {})
    columns: dict[str, list[Any]] = {}
    for field in table.schema:
        values = table.column(field.name).to_pylist()
        if pa.types.is_struct(field.type) and {f.name for f in field.type} >= {"bytes"}:
            columns[field.name] = [_image(value, path, row) for row, value in enumerate(values)]
        elif pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            columns[field.name] = [_image({"bytes": value}, path, row) for row, value in enumerate(values)]
        elif field.name in names:
            columns[field.name] = [_named(value, names[field.name]) for value in values]
        else:
            columns[field.name] = [_parquet_cell(value) for value in values]
    return columns


def _parquet_cell(value: Any) -> Any:
    if isinstance(value, list):
        return [str(each) for each in value]
    return "" if value is None else str(value)


def _image(value: Mapping[str, Any] | None, path: Path, row: int) -> ImageRef:
    name = f"{path.name}:{row}"
    if not value:
        return ImageRef(name=name, data=b"")
    inner = value.get("path")
    data = value.get("bytes")
    if data is None and inner:
        return ImageRef(name=str(inner), path=str((path.parent / inner).resolve()))
    return ImageRef(name=f"{name} ({inner})" if inner else name, data=data or b"")


def _named(value: int | None, names: Sequence[str]) -> str:
    return "" if value is None else names[value] if 0 <= value < len(names) else str(value)


def _class_labels(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Names of integer classes, as the `datasets` library writes them into the schema."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {
        name: list(feature["names"])
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
