"""Held-out rows in which one modality tells nothing: what a joint model then loses is what it takes from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.comparison.spoil import dropped, other_rows, shuffled
from zoo.data.identity import identities
from zoo.data.types import AudioRef, Examples, ImageRef
from zoo.verbs.extract import Part

Array = NDArray[Any]
GREY, SIDE = 128, 224
"""Of the image that says nothing."""


def spoiled_features(held: Array, train: Array, parts: Sequence[Part]) -> Iterator[tuple[str, Array]]:
    """Features joined of several backbones, with the columns of each modality dropped, then shuffled.

    Dropped is the mean of the training rows; shuffled are the columns of another held-out row. Of modalities that only
    one part takes, as the columns of a part that takes several cannot be told apart.

    Args:
        held: (N, D).
        train: (n, D).
        parts: of the fused backbone.

    Yields:
        "image dropped" and the like, with (N, D).
    """
    modalities = list(dict.fromkeys(m for part in parts for m in part.modalities))
    if len(modalities) < 2:
        return
    for modality in modalities:
        taking = [part for part in parts if modality in part.modalities]
        if any(len(part.modalities) > 1 for part in taking):
            continue
        silent, foreign = held, held
        for part in taking:
            silent = dropped(silent, part.columns, train)
            foreign = shuffled(foreign, part.columns)
        yield f"{modality} dropped", silent
        yield f"{modality} shuffled", foreign


def spoiled_rows(held: Examples) -> Iterator[tuple[str, Examples]]:
    """Rows of several modalities, with each of them dropped, then shuffled.

    Dropped is a grey image, an empty text or silence; shuffled is what another row has, the same one for every head, so
    that a frozen backbone sees these rows once.
    """
    if len(held.inputs) < 2:
        return
    order = other_rows(len(held), 0)
    for modality, column in held.inputs.items():
        yield f"{modality} dropped", _with(held, {modality: [_nothing(value) for value in column]})
        yield f"{modality} shuffled", _with(held, {modality: [column[row] for row in order]})


def _with(held: Examples, changed: Mapping[Any, Sequence[Any]]) -> Examples:
    inputs = {**held.inputs, **changed}
    ids, hashed = identities(inputs, len(held))
    return replace(held, inputs=inputs, ids=ids, hashed=hashed)


def _nothing(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_nothing(each) for each in value)
    if isinstance(value, ImageRef):
        return ImageRef("a grey image", array=np.full((SIDE, SIDE, 3), GREY, dtype=np.uint8))
    if isinstance(value, AudioRef):
        return AudioRef("silence", array=np.zeros(16_000, dtype=np.float32), rate=16_000)
    return ""
