"""Tables as they are: every cell of a text file is text until it is asked to be something else."""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from zoo.data.audio import AUDIO_SUFFIXES, looks_like_audio
from zoo.data.folder import SPLIT_NAMES
from zoo.data.tags import CONLL, parse_conll
from zoo.data.types import AudioRef, ImageRef, ReadOptions, Table, UnknownId
from zoo.errors import DataError, UsageError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", *CONLL)

csv.field_size_limit(1 << 30)  # a long text is no reason to fail


@dataclass(frozen=True)
class Rows:
    """The columns of one file, and where each row stands in it."""

    columns: dict[str, list[Any]]
    lines: Sequence[int]
    """Line on which the row ends, from 1; number of the row in a Parquet file, from 0."""


def table_files(folder: Path) -> dict[str, Path]:
    """`train.csv`, `test.parquet` and the like, by split; or the one table of a folder without sub-folders."""
    found: dict[str, Path] = {}
    tables = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix.lower() in SUFFIXES]
    tables = [path for path in tables if not path.name.startswith(".")]
    for path in tables:
        split = SPLIT_NAMES.get(path.stem.lower())
        if split is None:
            continue
        if split in found:
            raise DataError(
                f"{folder} has two files for {split}: {found[split].name} and {path.name}", help="remove one"
            )
        found[split] = path
    if not found and len(tables) == 1:
        alone = not any(path.is_dir() and not path.name.startswith(".") for path in folder.iterdir())
        if alone or tables[0].stem.lower() == "metadata":
            return {"": tables[0]}
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
        rows = read_rows(path, options)
        if columns and set(rows.columns) != set(columns):
            differ = sorted(set(rows.columns) ^ set(columns))
            raise DataError(
                f"{path} differs from the other splits in its columns: {', '.join(differ)}",
                help="give every split the same columns",
            )
        for column, values in rows.columns.items():
            columns.setdefault(column, []).extend(values)
        split += [part] * len(rows.lines)
        names += [f"{path.name}:{line}" for line in rows.lines]
    return Table(name, columns, split=split if len(files) > 1 or "train" in files else None, names=names)


def read_table(path: Path, options: ReadOptions) -> dict[str, list[Any]]:
    """The columns of one file.

    Raises:
        DataError: names the file, and the line or byte where it goes wrong.
    """
    return read_rows(path, options).columns


def read_rows(path: Path, options: ReadOptions) -> Rows:
    """The columns of one file with the line of each row.

    Raises:
        DataError: names the file, and the line or byte where it goes wrong.
    """
    readers: Mapping[str, Callable[[Path, ReadOptions], Rows]] = {
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".jsonl": _read_jsonl,
        ".ndjson": _read_jsonl,
        ".parquet": _read_parquet,
        **dict.fromkeys(CONLL, _read_conll),
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is no table zoo can read", help=f"use one of {', '.join(SUFFIXES)}, or a folder")
    try:
        rows = reader(path, options)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not rows.columns or not rows.lines:
        raise DataError(f"{path} has no rows", help="give a table with a header and at least one row")
    return rows


def read_text(path: Path, encoding: str) -> str:
    """All of a text file, without a byte order mark.

    Raises:
        DataError: names the byte and line that are not in this encoding.
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = raw.count(b"\n", 0, start) + 1
        held = (
            f"byte {start} is 0x{raw[start]:02x}" if start < len(raw) else f"it ends within a character, byte {start}"
        )
        raise DataError(f"{path} is not {encoding}: {held}, in line {line}", help=_encoding_hint(raw)) from error
    if "\0" in text:
        where = text.index("\0")
        raise DataError(f"{path} is no text in {encoding}: character {where} is NUL", help=_encoding_hint(raw))
    return text.removeprefix("\ufeff")


def _encoding_hint(raw: bytes) -> str:
    if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or b"\0" in raw[:64]:
        return "it looks like UTF-16; if it is, add --encoding utf-16"
    return "name its encoding, such as --encoding latin-1 or --encoding utf-16"


def _read_csv(path: Path, options: ReadOptions) -> Rows:
    text = read_text(path, options.encoding)
    delimiter = options.delimiter or ("\t" if path.suffix.lower() == ".tsv" else _sniff(text))
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise UsageError(f"the delimiter {delimiter!r} is not one character", help="use , ; | or a tab")
    # Strict: else a quotation mark that is never closed swallows the rows after it without a word.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    found: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if not row:
                continue
            if not header:
                header = _header(path, row)
                found = [[] for _ in header]
                continue
            if len(row) != len(header):
                fields = f"{len(row)} fields, the header has {len(header)} ({', '.join(header)})"
                raise DataError(
                    f"{path}, line {reader.line_num}: {fields}", help="quote fields that hold the delimiter"
                )
            lines.append(reader.line_num)
            for column, value in zip(found, row, strict=True):
                column.append(value)
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}, after line {lines[-1] if lines else 1}",
            help="a field that begins with a quotation mark must end with one; write marks within it twice",
        ) from error
    return Rows(dict(zip(header, found, strict=True)), lines)


def _header(path: Path, row: list[str]) -> list[str]:
    header = [name.strip() for name in row]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        shown = ", ".join(repr(name) for name in twice)
        raise DataError(f"{path} names a column twice: {shown}", help="rename one of them")
    return header


def _sniff(text: str) -> str:
    """The delimiter that the header line holds most often, outside of quotation marks."""
    header = re.sub(r'"[^"]*"', "", next(iter(text.lstrip("\r\n").splitlines()), ""))
    counts = {mark: header.count(mark) for mark in (",", ";", "\t", "|")}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else ","


def _read_jsonl(path: Path, options: ReadOptions) -> Rows:
    columns: dict[str, list[Any]] = {}
    lines: list[int] = []
    # Not splitlines(): a JSON string may hold U+2028 and other marks that Python takes for the end of a line.
    for number, line in enumerate(re.split("\r\n|\n|\r", read_text(path, options.encoding)), 1):
        if not line.strip():
            continue
        row = _json_object(line, f"{path}, line {number}")
        if columns and set(row) != set(columns):
            differ = ", ".join(sorted(set(row) ^ set(columns)))
            raise DataError(f"{path}, line {number}: its keys differ: {differ}", help="give every line the same keys")
        lines.append(number)
        for key, value in row.items():
            columns.setdefault(key, []).append(_cell(value))
    return Rows(columns, lines)


def _read_conll(path: Path, options: ReadOptions) -> Rows:
    return Rows(*parse_conll(read_text(path, options.encoding), str(path)))


def _json_object(line: str, where: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands twice")
        return found

    try:
        # Numbers stay the text they were written as: 1.10 is not 1.1, and 007 is no JSON at all.
        row = json.loads(line, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error})", help="write one JSON object a line") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: a {type(row).__name__}, not an object", help="write one JSON object a line")
    return row


def _cell(value: Any) -> Any:
    """Numbers and labels as the text they were written as; lists stay lists."""
    if isinstance(value, list):
        return [str(_cell(each)) for each in value]
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read_parquet(path: Path, options: ReadOptions) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is no readable Parquet file: {error}", help="write it again") from error
    _header(path, table.schema.names)
    return Rows(cells_of(table, path), range(table.num_rows))


def cells_of(table: Any, path: Path, first: int = 0) -> dict[str, list[Any]]:
    """The columns of a pyarrow table, or of a batch of rows that begins with the `first` one of its file."""
    names = class_labels(table.schema.metadata or {})
    columns: dict[str, list[Any]] = {}
    for field in table.schema:
        values = table.column(field.name).to_pylist()
        files = _references(field.type, values, range(first, first + len(values)), path)
        if files is not None:
            columns[field.name] = files
        elif field.name in names:
            columns[field.name] = [_named(value, names[field.name]) for value in values]
        else:
            columns[field.name] = [_parquet_cell(value) for value in values]
    return columns


def _parquet_cell(value: Any) -> Any:
    if isinstance(value, list):
        return [str(_parquet_cell(each)) for each in value]
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value)


def _references(kind: Any, values: Sequence[Any], rows: Sequence[int], path: Path) -> list[Any] | None:
    """Images or recordings of a column of this pyarrow type, tuples of them where it holds lists; None of any other."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lists = [value or [] for value in values]
        owners = [row for row, each in zip(rows, lists, strict=True) for _ in each]
        flat = _references(kind.value_type, [one for each in lists for one in each], owners, path)
        if flat is None:
            return None
        found = iter(flat)
        return [tuple(islice(found, len(each))) for each in lists]
    if pa.types.is_struct(kind) and any(field.name == "bytes" for field in kind):
        return _files(values, rows, path)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _files([{"bytes": value} for value in values], rows, path)
    return None


def _files(values: Sequence[Mapping[str, Any] | None], rows: Sequence[int], path: Path) -> list[Any]:
    """Cells of bytes, or of `{"bytes": ..., "path": ...}`: recordings where the first one is, else images."""
    first = next((value for value in values if value and (value.get("bytes") or value.get("path"))), {})
    heard = looks_like_audio((first.get("bytes") or b"")[:12])
    heard = heard or str(first.get("path") or "").lower().endswith(AUDIO_SUFFIXES)
    kind: Any = AudioRef if heard else ImageRef
    return [kind(**_file(value or {}, path, row)) for row, value in zip(rows, values, strict=True)]


def _file(value: Mapping[str, Any], path: Path, row: int) -> dict[str, Any]:
    name = f"{path.name}:{row}"
    inner = value.get("path")
    data = value.get("bytes")
    if data is None and inner:
        return {"name": str(inner), "path": str((path.parent / inner).resolve())}
    return {"name": f"{name} ({inner})" if inner else name, "data": data or b""}


def _named(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_named(each, names) for each in value]
    if not isinstance(value, int):
        return _parquet_cell(value)
    return names[value] if 0 <= value < len(names) else UnknownId(value)


def class_labels(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Names of integer classes, as the `datasets` library writes them into the schema."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    found = {}
    for name, feature in features.items():
        if isinstance(feature, dict) and isinstance(feature.get("feature"), dict):
            feature = feature["feature"]  # of a list of labels
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
            found[name] = [str(each) for each in feature["names"]]
    return found
