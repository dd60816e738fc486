"""Boxes around the objects of an image, and the geometry that carries them from one image size to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

KEPT_AREA = 0.25
"""Share of a box that has to be inside a random crop: less of an object is rarely to be recognised."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """The objects of one image, true ones or predicted ones."""

    corners: Floats
    """(M, 4) left, upper, right, lower in pixels of the upright image, from its upper left corner."""
    labels: NDArray[np.int64]
    """(M,) index of each object's class in `names`."""
    names: tuple[str, ...]
    """Of all classes."""
    size: tuple[int, int]
    """(W, H) of the image."""
    scores: Floats | None = None
    """(M,) in [0, 1], greatest first; None: the boxes are true."""
    crowd: NDArray[np.bool_] | None = None
    """(M,) True where a box holds a crowd: never learned from, and no prediction within counts as wrong."""

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def none(cls, names: tuple[str, ...], size: tuple[int, int]) -> Self:
        """An image without objects."""
        return cls(np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.int64), names, size)

    def select(self, kept: NDArray[Any]) -> Boxes:
        """These objects: a mask (M,) or indices."""
        return replace(
            self,
            corners=self.corners[kept],
            labels=self.labels[kept],
            scores=None if self.scores is None else self.scores[kept],
            crowd=None if self.crowd is None else self.crowd[kept],
        )

    def above(self, score: float) -> Boxes:
        """The predicted objects of at least this score."""
        return self if self.scores is None else self.select(self.scores >= score)

    def named(self, names: tuple[str, ...]) -> Boxes:
        """The same objects with the classes in this order; every class must be among them."""
        if names == self.names:
            return self
        place = np.array([names.index(name) for name in self.names], dtype=np.int64)
        return replace(self, labels=place[self.labels], names=names)

    def clipped(self) -> Boxes:
        """Without what lies outside the image."""
        width, height = self.size
        limits = np.array([width, height, width, height], dtype=np.float32)
        return replace(self, corners=np.clip(self.corners, 0, limits))

    @property
    def trained(self) -> Boxes:
        """Those to learn from: not the crowds."""
        return self if self.crowd is None else self.select(~self.crowd)

    def content(self) -> bytes:
        """What makes two sets of boxes the same, for fingerprints."""
        crowd = np.zeros(len(self), dtype=np.bool_) if self.crowd is None else self.crowd
        names = "\0".join(self.names[label] for label in self.labels).encode()
        return self.corners.astype(np.float32).tobytes() + names + crowd.tobytes()


@dataclass(frozen=True)
class Frame:
    """Where an image lies on a canvas: x on the canvas is `scale_x` * x + `shift_x`, and y likewise.

    A negative scale mirrors.
    """

    scale_x: float
    shift_x: float
    scale_y: float
    shift_y: float

    @classmethod
    def whole(cls, size: tuple[int, int], canvas: tuple[int, int]) -> tuple[Self, tuple[int, int]]:
        """The frame of a whole image of (W, H) in the middle of a canvas of (W, H), and the size it has there."""
        ratio = max(size[0] / canvas[0], size[1] / canvas[1])
        width, height = (max(round(side / ratio), 1) for side in size)
        left, upper = (canvas[0] - width) // 2, (canvas[1] - height) // 2
        return cls(width / size[0], left, height / size[1], upper), (width, height)

    @classmethod
    def of_box(cls, box: tuple[float, float, float, float], canvas: tuple[int, int]) -> Self:
        """The frame of a part of an image, left, upper, right and lower, stretched over the whole canvas."""
        scale_x, scale_y = canvas[0] / (box[2] - box[0]), canvas[1] / (box[3] - box[1])
        return cls(scale_x, -box[0] * scale_x, scale_y, -box[1] * scale_y)

    def mirrored(self, width: int) -> Frame:
        """Left and right exchanged on a canvas of this width."""
        return replace(self, scale_x=-self.scale_x, shift_x=width - self.shift_x)

    @property
    def numbers(self) -> tuple[float, float, float, float]:
        """Scale and shift of x, scale and shift of y."""
        return self.scale_x, self.shift_x, self.scale_y, self.shift_y


def column(rows: Sequence[Any]) -> NDArray[Any]:
    """(N,) array of objects, one a row, so that rows of any kind are selected alike."""
    found = np.empty(len(rows), dtype=object)
    for index, row in enumerate(rows):
        found[index] = row
    return found
