"""Rows of a shard with what a backbone takes, one after another."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.catalog.spec import Modality
from zoo.data.infer import as_images, as_recordings, find_inputs, find_label
from zoo.data.samples import DERIVED, Sample, samples_of
from zoo.data.shards import Shard
from zoo.data.tables import class_labels
from zoo.data.tags import text_of
from zoo.data.types import AudioRef, ImageRef, ReadOptions
from zoo.errors import DataError, UnknownNameError


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
    images = [name for name, value in first.cells.items() if isinstance(value, ImageRef) and name not in DERIVED]
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


def rows_of(shard: Shard, reading: Reading) -> Generator[Row, None, None]:
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


def _row(sample: Sample, reading: Reading, root: Path) -> Row:
    bad = Row(sample.name, {}, None, sample.size, sample.reason)
    if sample.reason is not None:
        return bad
    missing = [each for each in reading.columns if each not in sample.cells and each != reading.label]
    if missing:
        return _because(bad, f"no {' and no '.join(missing)}, only {', '.join(sample.endings)}")
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
