"""What a row is known by: a hash of its content, so that the same row has the same id wherever it stands."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.catalog.spec import Modality
from zoo.data.types import AudioRef, Examples, Hashed, ImageRef


def identities(inputs: Mapping[Modality, Sequence[Any]], count: int) -> tuple[tuple[str, ...], dict[Modality, Hashed]]:
    """The id of each row, sha256 of its inputs as 16 hex digits, and the same of each column; a file is read once."""
    ids: list[str] = []
    alone: dict[Modality, list[str]] = {modality: [] for modality in inputs}
    for row in range(count):
        whole = hashlib.sha256()
        for modality in sorted(inputs):
            content = modality.encode() + b"\0" + _bytes(inputs[modality][row]) + b"\0"
            whole.update(content)
            alone[modality].append(hashlib.sha256(content).hexdigest()[:16] if len(inputs) > 1 else "")
        ids.append(whole.hexdigest()[:16])
    of = alone if len(inputs) > 1 else dict.fromkeys(inputs, ids)
    return tuple(ids), {modality: Hashed(inputs[modality], tuple(each)) for modality, each in of.items()}


def content_of(examples: Examples, modality: Modality) -> tuple[str, ...]:
    """The id that each row would have if it had this modality alone.

    Images that are read with their texts have the same one as when they are read by themselves, so that what was
    computed of them is found again whatever stands beside them.
    """
    column = examples.inputs[modality]
    known = examples.hashed.get(modality)
    if known is not None and known.column is column:
        return known.ids
    return identities({modality: column}, len(examples))[0]


def joined(parts: Sequence[Examples]) -> Examples:
    """The rows of several splits, one split after another; targets only where all have them."""
    if len(parts) == 1:
        return parts[0]
    inputs: dict[Modality, Sequence[Any]] = {
        modality: [value for part in parts for value in part.inputs[modality]] for modality in parts[0].inputs
    }
    targets = [part.targets for part in parts if part.targets is not None]
    return Examples(
        inputs=inputs,
        targets=np.concatenate(targets) if len(targets) == len(parts) else None,
        ids=tuple(each for part in parts for each in part.ids),
        names=tuple(each for part in parts for each in part.names),
        hashed={
            modality: Hashed(column, tuple(each for part in parts for each in content_of(part, modality)))
            for modality, column in inputs.items()
        },
    )


def _bytes(value: Any) -> bytes:
    if isinstance(value, ImageRef | AudioRef):
        if value.array is not None:
            return value.array.tobytes() + (f"{value.rate} Hz".encode() if isinstance(value, AudioRef) else b"")
        if value.data is not None:
            return value.data
        try:
            return Path(str(value.path)).read_bytes()
        except OSError:
            return f"unreadable {value.path}".encode()
    if isinstance(value, tuple) and any(not isinstance(each, str) for each in value):
        return b"".join(hashlib.sha256(_bytes(each)).digest() for each in value)  # several images
    return "\0".join(value).encode() if isinstance(value, tuple) else str(value).encode()
