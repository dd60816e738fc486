"""Rows out of a shard one after another, never the whole of it."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.catalog.spec import Modality
from zoo.data.audio import AUDIO_SUFFIXES
from zoo.data.folder import IMAGE_SUFFIXES
from zoo.data.infer import as_images, as_recordings, find_inputs, find_label
from zoo.data.shards import Shard
from zoo.data.tables import cells_of, class_labels
from zoo.data.tags import text_of
from zoo.data.types import AudioRef, ImageRef, ReadOptions
from zoo.errors import DataError, UnknownNameError

MAX_MEMBER_BYTES = 1 << 30
"""A larger member of a tar is no single image, text or recording."""
_BLOCK = 512
"""Bytes, of which a tar is made; one of zeros is its end."""


@dataclass(frozen=True)
class Sample:
    """One row as it lies in its shard, before it is known what is read as what."""

    name: str
    """Its key, or `file:row`."""
    cells: Mapping[str, Any]
    """By column: references of images and recordings, texts, numbers, lists."""
    size: int
    """Bytes of what has not been decoded."""
    reason: str | None = None
    """Why it cannot be read."""


@dataclass(frozen=True)
class Row:
    """One row of a shard with what a backbone takes."""

    name: str
    inputs: Mapping[Modality, Any]
    label: Any
    """None where it has none."""
    size: int
    """Bytes of what has not been decoded."""
    reason: str | None = None
    """Why it cannot be read."""


@dataclass(frozen=True)
class Reading:
    """Which columns are read as what; the same for all shards."""

    image: str | None = None
    text: tuple[str, ...] = ()
    audio: str | None = None
    label: str | None = None
    label_type: str | None = None
    """int64, float64, string or list<string>."""
    options: ReadOptions = field(default_factory=ReadOptions, repr=False)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Of the columns that are read, image first."""
        there: dict[Modality, bool] = {
            "image": self.image is not None,
            "text": bool(self.text),
            "audio": self.audio is not None,
        }
        return tuple(modality for modality, each in there.items() if each)

    def only(self, modalities: Sequence[Modality]) -> Reading:
        """The same without the columns that a backbone does not take."""
        return Reading(
            image=self.image if "image" in modalities else None,
            text=self.text if "text" in modalities else (),
            audio=self.audio if "audio" in modalities else None,
            label=self.label,
            label_type=self.label_type,
            options=self.options,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them."""
        named = (self.image, *self.text, self.audio, self.label)
        return tuple(dict.fromkeys(each for each in named if each is not None))


def find_reading(shard: Shard, options: ReadOptions, modalities: Sequence[Modality] | None = None) -> Reading:
    """What is read as what, by the first row that can be read.

    Raises:
        DataError: no row, or nothing in it that is an image, a text or a recording.
        UnknownNameError: a column that was given does not exist.
    """
    samples = samples_of(shard)
    try:
        first = next((each for each in samples if each.reason is None), None)
    finally:
        samples.close()
    if first is None:
        raise DataError(f"{shard.path} has no row that can be read", help="give shards with rows")
    columns = {name: [value] for name, value in first.cells.items()}
    given = options.label or ()
    if len(given) > 1:
        raise DataError(f"one label column is kept, and {len(given)} were given: {', '.join(given)}", help="name one")
    for name in given:
        if name not in columns:
            raise UnknownNameError("column", name, columns, help=f"{shard.name} has {', '.join(columns)}")
    label = given or (("cls",) if "cls" in columns else find_label(columns))
    _check_one_image(shard, first, options)
    image, text, audio = find_inputs(columns, shard.name, options, modalities, label)
    if not label:
        return Reading(image, tuple(text), audio, options=options)
    return Reading(image, tuple(text), audio, label[0], _label_type(shard, label[0], first.cells[label[0]]), options)


def _check_one_image(shard: Shard, first: Sample, options: ReadOptions) -> None:
    images = [name for name, value in first.cells.items() if isinstance(value, ImageRef) and name not in _DERIVED]
    if shard.kind == "tar" and len(images) > 1 and options.image is None:
        raise DataError(
            f"each row of {shard.name} has several images: {', '.join(images)}",
            help=f"name one, as in --image-col {images[0]}",
        )


def _label_type(shard: Shard, label: str, value: Any) -> str:
    """By the column of a Parquet file; in a tar whole numbers are those of text members, as JSON has but one kind."""
    if shard.kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pq.read_schema(shard.path)
        kind = schema.field(label).type
        named = label in class_labels(schema.metadata or {})
        if pa.types.is_integer(kind) and not named:
            return "int64"
        if pa.types.is_floating(kind):
            return "float64"
        return "list<string>" if isinstance(value, list) else "string"
    if isinstance(value, str):
        return "int64" if re.fullmatch(r"-?\d+", value) else "string"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "float64"
    return "list<string>" if isinstance(value, list) else "string"


def rows_of(shard: Shard, reading: Reading) -> Iterator[Row]:
    """The rows of a shard in their order, those that cannot be read with the reason.

    Raises:
        DataError: a file that is damaged as a whole, or without the columns.
    """
    samples = samples_of(shard, reading.columns)
    try:
        for sample in samples:
            yield _row(sample, reading, shard.path.parent)
    finally:
        samples.close()


def samples_of(shard: Shard, columns: Sequence[str] | None = None) -> Generator[Sample, None, None]:
    """The rows of a shard as they lie there; of a Parquet file only these columns."""
    return _of_tar(shard) if shard.kind == "tar" else _of_parquet(shard, columns)


def _row(sample: Sample, reading: Reading, root: Path) -> Row:
    bad = Row(sample.name, {}, None, sample.size, sample.reason)
    if sample.reason is not None:
        return bad
    missing = [each for each in reading.columns if each not in sample.cells and each != reading.label]
    if missing:
        return _because(bad, f"no {' and no '.join(missing)}, only {', '.join(sample.cells) or 'nothing'}")
    inputs: dict[Modality, Any] = {}
    if reading.image is not None:
        inputs["image"] = as_images([sample.cells[reading.image]], root, reading.options.max_pixels)[0]
    if reading.text:
        texts = ["" if sample.cells[name] is None else text_of(sample.cells[name]) for name in reading.text]
        if not all(text.strip() for text in texts):
            return _because(bad, "an empty text")
        inputs["text"] = texts[0] if len(texts) == 1 else (texts[0], texts[1])
    if reading.audio is not None:
        inputs["audio"] = as_recordings([sample.cells[reading.audio]], root, reading.options.max_seconds)[0]
    try:
        label = _label(sample.cells.get(reading.label), reading.label_type) if reading.label is not None else None
    except ValueError:
        return _because(bad, f"{reading.label} {sample.cells[reading.label]!r} is no {reading.label_type}")  # type: ignore[index]
    return Row(sample.name, inputs, label, sample.size)


def _label(cell: Any, kind: str | None) -> Any:
    """As the column of labels holds it; None where there is none. A ValueError if it cannot."""
    if cell is None or cell == "":
        return None
    if kind == "list<string>":
        if not isinstance(cell, list):
            raise ValueError
        return [str(each) for each in cell]
    if isinstance(cell, list | dict | ImageRef | AudioRef):
        raise ValueError
    return int(cell) if kind == "int64" else float(cell) if kind == "float64" else str(cell)


def _because(row: Row, reason: str) -> Row:
    return Row(row.name, {}, None, row.size, reason)


def _of_tar(shard: Shard) -> Generator[Sample, None, None]:
    """Members of one key, which stand side by side, are one row."""
    key: str | None = None
    cells: dict[str, Any] = {}
    size = 0
    reason: str | None = None
    for name, ending, raw in _members(shard.path):
        if name != key:
            if key is not None:
                yield Sample(key, cells, size, reason)
            key, cells, size, reason = name, {}, 0, None
        size += len(raw or b"")
        try:
            if raw is None:
                raise DataError(f"{ending} has more than {MAX_MEMBER_BYTES:,} bytes")
            for column, value in _cells(ending, raw, f"{name}.{ending}"):
                if column in cells and not (column in _DERIVED or ending == "json"):
                    raise DataError(f"{column} is there twice")
                cells.setdefault(column, value)
        except DataError as error:
            reason = reason or error.what
    if key is not None:
        yield Sample(key, cells, size, reason)


_DERIVED = ("image", "audio", "text")
"""Columns that stand for the first member of their kind, however it ends."""
_IMAGES = tuple(each for each in IMAGE_SUFFIXES if each != ".npy")
"""In tars an array is anything."""
_TEXTS = ("txt", "text", "transcript", "caption", "cls", "cls2", "index", "inx", "id")
"""Endings of members that are texts or numbers, as WebDataset decodes them."""


def _cells(ending: str, raw: bytes, where: str) -> Iterator[tuple[str, Any]]:
    """The columns that a member makes: one of its ending, one of its kind, and for JSON its fields."""
    dotted = f".{ending}"
    if dotted in _IMAGES:
        yield "image", ImageRef(where, data=raw)
    elif dotted in AUDIO_SUFFIXES:
        yield "audio", AudioRef(where, data=raw)
    if dotted.endswith(_IMAGES):
        yield ending, ImageRef(where, data=raw)
    elif dotted.endswith(AUDIO_SUFFIXES):
        yield ending, AudioRef(where, data=raw)
    elif ending == "json":
        yield from _fields(raw).items()
    elif ending.rpartition(".")[2] in _TEXTS:
        text = _text(raw, ending)
        if ending == "txt":
            yield "text", text
        yield ending, text if ending == "txt" else text.strip()


def _text(raw: bytes, ending: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{ending} is not UTF-8 (byte {error.start})") from error


def _fields(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DataError(f"json is no JSON ({error})") from error
    return found if isinstance(found, dict) else {"json": found}


def _members(path: Path) -> Iterator[tuple[str, str, bytes | None]]:
    """Key, ending in small letters and content of each file in a tar; no content where there is too much of it.

    A key is a path up to the first dot of its last part, as WebDataset has it.
    """
    try:
        with tarfile.open(path, "r:*") as tar:
            while (member := tar.next()) is not None:
                # It keeps all that it has met, and a shard may have millions.
                tar.members.clear()  # type: ignore[attr-defined]
                folder, slash, file = member.name.removeprefix("./").rpartition("/")
                key, dot, ending = file.partition(".")
                if not member.isreg() or not key or not dot or member.name.startswith("__MACOSX"):
                    continue
                if member.size > MAX_MEMBER_BYTES:
                    yield f"{folder}{slash}{key}", ending.lower(), None
                    continue
                content = tar.extractfile(member)
                assert content is not None  # of a regular file
                yield f"{folder}{slash}{key}", ending.lower(), content.read()
            _check_end(path, tar.offset)
    except (tarfile.TarError, EOFError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{path} is damaged: {why}", help="copy or write this shard again") from error


def _check_end(path: Path, offset: int) -> None:
    """tarfile takes a header that is cut off, or overwritten, for the end."""
    if path.suffix.lower() != ".tar":
        return  # what is compressed says itself where it ends
    with path.open("rb") as file:
        if file.read(2) == b"\x1f\x8b":
            return
        file.seek(offset)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise tarfile.ReadError(f"no end at byte {offset:,}, where the last member ends")


def _of_parquet(shard: Shard, columns: Sequence[str] | None) -> Generator[Sample, None, None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Pages are read as they are needed; a whole row group of images may be gigabytes.
        with pq.ParquetFile(shard.path, buffer_size=1 << 20, pre_buffer=False) as file:
            known = file.schema_arrow.names
            missing = [each for each in columns or () if each not in known]
            if missing:
                raise DataError(
                    f"{shard.path} has no column '{missing[0]}', as the first shard has; it has {', '.join(known)}",
                    help="shards of one data set have the same columns; give those that are alike",
                )
            wanted = None if columns is None else list(columns)
            start = 0
            for batch in file.iter_batches(batch_size=_AT_ONCE, columns=wanted, use_threads=False):
                yield from _samples(batch, shard.path, start)
                start += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{shard.path} is damaged: {error}", help="copy or write this shard again") from error


_AT_ONCE = 32
"""Rows of a Parquet file that are held at once."""


def _samples(batch: Any, path: Path, start: int) -> Iterator[Sample]:
    cells = cells_of(batch, path, start)
    for row in range(batch.num_rows):
        values = {name: column[row] for name, column in cells.items()}
        yield Sample(f"{path.name}:{start + row}", values, sum(map(_size, values.values())))


def _size(value: Any) -> int:
    if isinstance(value, tuple | list):
        return sum(map(_size, value))
    return len(getattr(value, "data", None) or b"") if not isinstance(value, str) else len(value)
