"""What lies in a shard, one row after another, never the whole of it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.audio import AUDIO_SUFFIXES
from zoo.data.folder import IMAGE_SUFFIXES
from zoo.data.shards import Shard
from zoo.data.tables import cells_of
from zoo.data.types import AudioRef, ImageRef
from zoo.errors import DataError

MAX_MEMBER_BYTES = 1 << 30
"""A larger member of a tar is no single image, text or recording."""
DERIVED = ("image", "audio", "text")
"""Columns that stand for the first member of their kind, however it ends."""
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
    endings: tuple[str, ...] = ()
    """Of the members of a tar that it is made of."""


def samples_of(shard: Shard, columns: Sequence[str] | None = None) -> Generator[Sample, None, None]:
    """The rows of a shard as they lie there; only these columns of them."""
    return _of_tar(shard, columns) if shard.kind == "tar" else _of_parquet(shard, columns)


def _of_tar(shard: Shard, columns: Sequence[str] | None) -> Generator[Sample, None, None]:
    """Members of one key, which stand side by side, are one row."""
    key: str | None = None
    found = _Members(columns)
    try:
        for name, member in _members(shard.path):
            if name != key:
                if key is not None:
                    yield found.sample(key)
                key, found = name, _Members(columns)
            found.add(name, member)
    except (tarfile.TarError, EOFError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{shard.path} is damaged: {why}", help="copy or write this shard again") from error
    if key is not None:
        yield found.sample(key)


_IMAGES = tuple(each for each in IMAGE_SUFFIXES if each != ".npy")
"""In tars an array is anything."""
_TEXTS = (".txt", ".text", ".transcript", ".caption", ".cls", ".cls2", ".index", ".inx", ".id")
"""Endings of members that are texts or numbers, as WebDataset decodes them."""


@dataclass(frozen=True)
class _Member:
    """A file in a tar."""

    ending: str
    size: int
    read: Callable[[], bytes]


class _Members:
    """The members of one row as they come.

    Args:
        columns: that are wanted; all if None.
    """

    def __init__(self, columns: Sequence[str] | None) -> None:
        self.columns = columns
        self.cells: dict[str, Any] = {}
        self.endings: list[str] = []
        self.fields: bytes | None = None
        self.size = 0
        self.reason: str | None = None

    def add(self, key: str, member: _Member) -> None:
        """Read it, if it is wanted."""
        ending = member.ending
        columns = _columns_of(ending)
        wanted = [each for each in columns if self.columns is None or each in self.columns]
        if ending in self.endings:
            self.reason = self.reason or f"{ending} is there twice"
        self.endings.append(ending)
        if not wanted and ending != "json":
            return
        if member.size > MAX_MEMBER_BYTES:
            self.reason = self.reason or f"{ending} has more than {MAX_MEMBER_BYTES:,} bytes"
            return
        self.size += member.size
        raw = member.read()
        if ending == "json":
            self.fields = raw
            return
        try:
            value = _value(ending, raw, f"{key}.{ending}")
        except DataError as error:
            self.reason = self.reason or error.what
            return
        for column in wanted:
            self.cells.setdefault(column, value)

    def sample(self, key: str) -> Sample:
        """The row, with fields of its JSON for columns that no member has."""
        fields: dict[str, Any] = {}
        missing = self.columns is None or any(each not in self.cells for each in self.columns)
        if self.fields is not None and missing and self.reason is None:
            try:
                found = json.loads(self.fields)
            except (ValueError, RecursionError) as error:
                self.reason = f"json is no JSON ({error})"
            else:
                fields = found if isinstance(found, dict) else {"json": found}
        return Sample(key, {**fields, **self.cells}, self.size, self.reason, tuple(self.endings))


def _columns_of(ending: str) -> tuple[str, ...]:
    """The columns that a member makes: one of its kind, where its key has but one ending, and one of its ending."""
    dotted = f".{ending}"
    if dotted.endswith(_IMAGES):
        return ("image", ending) if dotted in _IMAGES else (ending,)
    if dotted.endswith(AUDIO_SUFFIXES):
        return ("audio", ending) if dotted in AUDIO_SUFFIXES else (ending,)
    if dotted.endswith(_TEXTS):
        return ("text", ending) if ending == "txt" else (ending,)
    return ()


def _value(ending: str, raw: bytes, where: str) -> Any:
    dotted = f".{ending}"
    if dotted.endswith(_IMAGES):
        return ImageRef(where, data=raw)
    if dotted.endswith(AUDIO_SUFFIXES):
        return AudioRef(where, data=raw)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{ending} is not UTF-8 (byte {error.start})") from error
    return text if ending == "txt" else text.strip()


def _members(path: Path) -> Iterator[tuple[str, _Member]]:
    """Each file in a tar by its key; what is not read of it before the next is passed over.

    A key is a path up to the first dot of its last part, as WebDataset has it.
    """
    with tarfile.open(path, "r:gz" if _is_gzip(path) else "r:") as tar:
        while (member := tar.next()) is not None:
            # It keeps all that it has met, and a shard may have millions.
            tar.members.clear()  # type: ignore[attr-defined]
            folder, slash, file = member.name.removeprefix("./").rpartition("/")
            key, dot, ending = file.partition(".")
            content = tar.extractfile(member) if member.isreg() else None
            if content is None or not key or not dot or member.name.startswith("__MACOSX"):
                continue
            yield f"{folder}{slash}{key}", _Member(ending.lower(), member.size, content.read)
        # It takes a header that is cut off, or overwritten, for the end.
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(_BLOCK) != bytes(_BLOCK):
            raise tarfile.ReadError(f"no end at byte {tar.offset:,}, where the last member ends")


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


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
