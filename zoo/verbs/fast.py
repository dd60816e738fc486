"""What `--fast` does to a user's own images: how far features move, and how much sooner images are read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.batches import channels_of, reach_of
from zoo.data.decode import decoded, size_of
from zoo.data.types import ImageRef
from zoo.models.backbone import Backbone

ROWS = 8
"""That are looked at."""
TURNS = 3
"""The quickest of so many counts."""


@dataclass(frozen=True)
class Fast:
    """What a few rows tell of all."""

    rows: int
    scaled: int
    """Rows with an image that is decoded at less than its size."""
    cosine: float
    """Of their features with the exact ones, on average; 1 where nothing is scaled."""
    speedup: float
    """Of decoding and resizing, exact by fast."""

    def __str__(self) -> str:
        if not self.scaled:
            return f"--fast changes nothing in {self.rows} rows: no image is twice as large as it is resized to"
        return (
            f"--fast, on {self.rows} rows of which it changes {self.scaled}: features have a cosine of "
            f"{self.cosine:.4f} to the exact ones, images are read {self.speedup:.1f} times as fast"
        )


def some(count: int) -> list[int]:
    """Rows to look at, from all over the data."""
    return sorted({int(row) for row in np.linspace(0, count - 1, min(ROWS, count))})


def measured(backbone: Backbone, images: Sequence[Any], give: Callable[[bool], NDArray[np.float32]]) -> Fast:
    """How fast images, and features of them, are to exact ones.

    Args:
        backbone: that takes them.
        images: of the rows: references, or tuples of them.
        give: (N, ...) features of these rows, fast or exact.
    """
    processor = backbone.processor("image")
    scaled = sum(any(_is_scaled(each, processor) for each in _several(image)) for image in images)
    if not scaled:
        return Fast(len(images), 0, 1.0, 1.0)
    exact, quick = (give(fast).reshape(len(images), -1).astype(np.float64) for fast in (False, True))
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(quick, axis=1)
    cosines = (exact * quick).sum(1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    slow, soon = (_seconds(images, processor, fast=fast) for fast in (False, True))
    return Fast(len(images), scaled, float(cosines.mean()), slow / soon)


def _several(image: Any) -> tuple[ImageRef, ...]:
    return image if isinstance(image, tuple) else (image,)


def _is_scaled(ref: ImageRef, processor: Any) -> bool:
    reach = reach_of(processor, fast=True)
    return reach is not None and decoded(ref, channels_of(processor), reach).size != size_of(ref)


def _seconds(images: Sequence[Any], processor: Any, *, fast: bool) -> float:
    reach = reach_of(processor, fast=fast)
    found = []
    for _ in range(TURNS):
        started = time.perf_counter()
        for image in images:
            processor(decoded(image, channels_of(processor), reach))
        found.append(time.perf_counter() - started)
    return min(found)
