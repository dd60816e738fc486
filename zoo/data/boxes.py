"""Boxes around the objects of an image, and the geometry that carries them from one image size to another."""

from __future__ import annotations

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

    def select(self, kept: NDArray[Any]) -> Boxes:
        """These objects: a mask (M,) or indices."""
        return replace(
            self,
            corners=self.corners[kept],
            labels=self.labels[kept],
            scores=None if self.scores is None else self.scores[kept],
            crowd=None if self.crowd is None else self.crowd[kept],
        )

    def of_classes(self, names: tuple[str, ...]) -> Boxes:
        """The objects of these classes alone, with their index among them."""
        index = {name: place for place, name in enumerate(names)}
        places = np.array([index.get(name, -1) for name in self.names], dtype=np.int64)[self.labels]
        return replace(self, labels=places, names=names).select(places >= 0)

    def above(self, score: float) -> Boxes:
        """The predicted objects of at least this score."""
        return self if self.scores is None else self.select(self.scores >= score)

    def clipped(self) -> Boxes:
        """Without what lies outside the image."""
        width, height = self.size
        limits = np.array([width, height, width, height], dtype=np.float32)
        return replace(self, corners=np.clip(self.corners, 0, limits))

    def on_canvas(self, frame: Frame, canvas: tuple[int, int]) -> Boxes:
        """Where these objects lie on a canvas of (W, H); those of which a random crop leaves little are gone."""
        whole = frame.forth(self.corners)
        inside = replace(self, corners=whole, size=canvas).clipped()
        extent = inside.corners[:, 2:] - inside.corners[:, :2]
        # Thinner than a pixel, an object has no place in any map.
        return inside.select((_areas(inside.corners) >= KEPT_AREA * _areas(whole)) & (extent.min(axis=1) >= 1))

    def off_canvas(self, frame: Frame) -> Boxes:
        """Objects found on a canvas, back in the image that `size` tells of."""
        return replace(self, corners=frame.back(self.corners)).clipped()

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

    def forth(self, corners: Floats) -> Floats:
        """(M, 4) boxes of the image on the canvas."""
        return _ordered(corners * self._scale + self._shift)

    def back(self, corners: Floats) -> Floats:
        """(M, 4) boxes on the canvas in the image."""
        return _ordered((corners - self._shift) / self._scale)

    @property
    def _scale(self) -> Floats:
        return np.array([self.scale_x, self.scale_y] * 2, dtype=np.float32)

    @property
    def _shift(self) -> Floats:
        return np.array([self.shift_x, self.shift_y] * 2, dtype=np.float32)

    @property
    def numbers(self) -> tuple[float, float, float, float]:
        """Scale and shift of x, scale and shift of y."""
        return self.scale_x, self.shift_x, self.scale_y, self.shift_y


def _ordered(corners: Floats) -> Floats:
    """Left before right, even where a frame mirrors."""
    first, last = corners[:, :2], corners[:, 2:]
    return np.concatenate([np.minimum(first, last), np.maximum(first, last)], axis=1)


def _areas(corners: Floats) -> Floats:
    areas: Floats = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    return areas
