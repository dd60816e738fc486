"""Features in a folder of Parquet files: what they are, how they are written, and how they come back."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError, UsageError

ABOUT = "_features.json"
"""Beside the shards; readers of Parquet folders pass over names with an underscore."""
SHOWN = 100
"""Rows that could not be read are listed up to this number in the file of their shard, and counted beyond."""
DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class StoredFeatures:
    """Features of a folder, shard after shard in the order of their names, rows in the order of their shard."""

    features: NDArray[np.floating[Any]]
    """(N, D) float32 or float16, as they were stored."""
    ids: tuple[str, ...]
    names: tuple[str, ...]
    """Key of each row, or `file:row`."""
    labels: NDArray[Any] | None
    """(N,) int64, float64 (missing ones NaN) or objects (missing ones None); None where the shards have no labels."""
    shards: tuple[str, ...]
    """The shard of each row."""
    about: Mapping[str, Any] = field(repr=False)
    """Backbone, weights, preprocessing, columns."""


def read_features(folder: str | Path, *, shards: Sequence[str] | None = None) -> StoredFeatures:
    """What `zoo.extract_shards` has written, as arrays.

    Args:
        folder: that was written into; shards that are not finished are not there.
        shards: only these, by the name of their file below the folder; all if None.

    Raises:
        DataError: no such features, or a damaged file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    top = Path(folder).expanduser()
    about = read_about(top)
    if about is None:
        raise DataError(f"{folder} holds no features", help=f"write some: zoo extract BACKBONE DATA -o {folder}/")
    there = {path.relative_to(top).as_posix(): path for path in sorted(top.rglob("*.parquet")) if _counts(path, top)}
    unknown = [name for name in shards or () if name not in there]
    if unknown or not there:
        raise DataError(f"{folder} has no finished shard {unknown[0] if unknown else ''}".rstrip())
    tables, owners = [], []
    for name in shards if shards is not None else there:
        try:
            table = pq.read_table(there[name], partitioning=None)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{there[name]} is damaged: {error}", help="delete it and extract again") from error
        tables.append(table.replace_schema_metadata(None))
        owners += [name] * table.num_rows
    whole = pa.concat_tables(tables)
    flat = [np.asarray(chunk.flatten()) for chunk in whole.column("features").chunks]
    values = np.concatenate(flat) if flat else np.zeros(0, about["dtype"])
    labels = _labels(whole.column("label")) if "label" in whole.column_names else None
    return StoredFeatures(
        features=values.reshape(-1, int(about["dim"])),
        ids=tuple(whole.column("id").to_pylist()),
        names=tuple(whole.column("name").to_pylist()),
        labels=labels,
        shards=tuple(owners),
        about=about,
    )


def _labels(column: Any) -> NDArray[Any]:
    import pyarrow as pa

    if pa.types.is_floating(column.type) or (pa.types.is_integer(column.type) and not column.null_count):
        return np.asarray(column.to_numpy())
    found = np.empty(len(column), dtype=object)
    found[:] = column.to_pylist()
    return found


def _counts(path: Path, top: Path) -> bool:
    return not any(part.startswith((".", "_")) for part in path.relative_to(top).parts)


@dataclass(frozen=True)
class ShardInfo:
    """What a finished shard says of itself."""

    source: str
    """The file of rows, below the folder that all of them share."""
    mark: str
    """Of that file: its size, and a digest of where it begins and ends."""
    rows: int
    """That have features."""
    unreadable: int
    reasons: tuple[str, ...]
    """Name and reason of rows that could not be read, a hundred at most."""


def read_about(folder: Path) -> dict[str, Any] | None:
    """What the features of a folder are; None if it has none."""
    try:
        found: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"{folder / ABOUT} is damaged: {error}", help="delete the folder, or choose another") from error
    return found


def settle_about(folder: Path, about: Mapping[str, Any]) -> None:
    """Say what the folder's features are, or hold it against what is there; of several processes one says it.

    Raises:
        UsageError: the folder has other features.
    """
    path = folder / ABOUT
    if read_about(folder) is None:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".tmp-{ABOUT}-{uuid.uuid4().hex[:8]}"
        temporary.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        try:
            os.link(temporary, path)  # unlike a rename, it never takes the place of another's
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    there = read_about(folder) or {}
    if there.get("key") != about["key"]:
        differ = [name for name in about if name != "key" and there.get(name) != about[name]]
        raise UsageError(
            f"{folder} has other features",
            details=[f"{name}: {_short(there.get(name))} there, {_short(about[name])} now" for name in differ],
            help="choose another folder with -o, or remove this one",
        )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def shard_info(path: Path, about: Mapping[str, Any]) -> ShardInfo | None:
    """What a finished shard says of itself; None if it is not there.

    Raises:
        DataError: it is no Parquet file, or holds other features.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path).metadata or {}
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged: {error}", help="delete it, and it is written again") from error
    try:
        if json.loads(metadata[b"zoo.features"])["key"] != about["key"]:
            raise KeyError
        found = json.loads(metadata[b"zoo.shard"])
    except (KeyError, ValueError):
        raise DataError(
            f"{path} does not hold these features", help="choose another folder with -o, or delete the file"
        ) from None
    return ShardInfo(**{**found, "reasons": tuple(found["reasons"])})


class ShardFile:
    """A Parquet file of features that is being written; a context.

    Args:
        path: of the file.
        about: what the features are.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        number = pa.float16() if about["dtype"] == "float16" else pa.float32()
        fields = [("id", pa.string()), ("name", pa.string())]
        labels = {
            "int64": pa.int64(),
            "float64": pa.float64(),
            "string": pa.string(),
            "list<string>": pa.list_(pa.string()),
        }
        if about["label_type"] is not None:
            fields.append(("label", labels[about["label_type"]]))
        fields.append(("features", pa.list_(pa.field("element", number), int(about["dim"]))))
        self.schema = pa.schema(fields).with_metadata({"zoo.features": json.dumps(about, ensure_ascii=False)})
        # Numbers of features have no pattern that would be worth the time.
        self._writer = pq.ParquetWriter(path, self.schema, compression="none", use_dictionary=False)

    def __enter__(self) -> ShardFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._writer.close()
            return
        with contextlib.suppress(Exception):  # the disk may be full, and the first error is the one to be told
            self._writer.close()

    def write(
        self, ids: Sequence[str], names: Sequence[str], labels: Sequence[Any], features: NDArray[np.float32]
    ) -> None:
        """Rows as one row group.

        Raises:
            DataError: numbers that float16 does not hold.
        """
        import pyarrow as pa

        if not ids:
            return
        kind = self.schema.field("features").type
        values = features
        if kind.value_type == pa.float16():
            with np.errstate(over="ignore"):
                values = features.astype(np.float16)
            lost = np.isfinite(features) & ~np.isfinite(values)
            if lost.any():
                row = int(np.argmax(lost.any(axis=1)))
                raise DataError(
                    f"{names[row]} has a feature of {np.abs(features[row]).max():g}, and float16 ends at 65504",
                    help="write --dtype float32",
                )
        columns = [pa.array(ids, pa.string()), pa.array(names, pa.string())]
        if "label" in self.schema.names:
            columns.append(pa.array(labels, self.schema.field("label").type))
        flat = pa.array(np.ascontiguousarray(values).reshape(-1), kind.value_type)
        columns.append(pa.FixedSizeListArray.from_arrays(flat, type=kind))
        self._writer.write_table(pa.table(columns, schema=self.schema), row_group_size=len(ids))

    def tell(self, info: ShardInfo) -> None:
        """What the shard says of itself; once, at the end."""
        self._writer.add_key_value_metadata({"zoo.shard": json.dumps(info.__dict__, ensure_ascii=False)})
