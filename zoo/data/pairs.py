"""Images with texts that belong to them, and no labels: which image and which text a row holds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import AudioRef, ImageRef
from zoo.errors import DataError


def pair_targets(images: Sequence[str], texts: Sequence[str]) -> NDArray[np.int64]:
    """(N, 2) number of the image and number of the text of each row; what is equal has one number.

    Args:
        images: content hash of each row's image.
        texts: of each row.
    """
    columns = []
    for values in (images, texts):
        numbers: dict[str, int] = {}
        columns.append([numbers.setdefault(value, len(numbers)) for value in values])
    return np.asarray(columns, dtype=np.int64).T.reshape(len(texts), 2)


def check_pairs(inputs: dict[Any, list[Any]], name: str) -> None:
    """Refuse data that do not hold one image and one text a row.

    Raises:
        DataError: a column is missing, or there are two.
    """
    for modality in ("image", "text"):
        if modality not in inputs:
            raise DataError(
                f"{name} has no column of {modality}s, and pairs are images with texts",
                help=f"name it with --{modality}-col",
            )
    first = inputs["text"][0] if inputs["text"] else ""
    if isinstance(first, tuple):
        raise DataError(f"{name} has two columns of texts", help="name the one that belongs to the image: --text-col")


def file_of(value: Any) -> str:
    """What tells one image from another, before it is read: its path, or a hash of its bytes."""
    if isinstance(value, ImageRef | AudioRef):
        if value.path is not None:
            return value.path
        content = value.data if value.data is not None else (b"" if value.array is None else value.array.tobytes())
        return hashlib.sha256(content).hexdigest()
    return "\0".join(map(file_of, value)) if isinstance(value, tuple | list) else str(value)
