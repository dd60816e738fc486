"""Images to padded squares: fitted without rounding to whole grey levels, as the weights were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import zoo
from zoo import DataError, ImagePreprocess, ImageProcessor
from zoo_unified_io.encoder import HISTORY_GRID, IMAGE_GRID, PATCH, patches_of
from zoo_unified_io.listing import FRAMES


class Square(NamedTuple):
    """An image in the middle of a square."""

    pixels: Tensor
    """(3, S, S) float in [0, 1]; zero beside the image."""
    mask: Tensor
    """(T,) bool of its patches, row by row; True = image."""


class Scene(NamedTuple):
    """One row."""

    image: Square
    history: tuple[Square, ...]
    """What came before, oldest first."""


class PictureProcessor:
    """Processor of images: one PIL image, or a tuple of them of which the last is the present one.

    A batch is `{"patches": (B, 576, 768) normalised, "mask": (B, 576) bool}`; where a row has a history also
    `{"history": (B, F, 256, 768), "history_mask": (B, F, 256) bool}`.
    """

    def __init__(self, preprocess: ImagePreprocess) -> None:
        self.preprocess = preprocess

    @property
    def key(self) -> str:
        return zoo.fingerprint(["unified_io", 2, self.preprocess])

    def __call__(self, value: Any, draw: Any = None) -> Scene:
        frames = value if isinstance(value, tuple | list) else (value,)
        check_count(len(frames))
        squares = [self._square(frame, HISTORY_GRID[0] * PATCH, draw) for frame in frames[:-1]]
        return Scene(self._square(frames[-1], IMAGE_GRID[0] * PATCH, draw), tuple(squares))

    def length(self, example: Scene) -> int:
        return 1

    def collate(self, examples: Sequence[Scene]) -> dict[str, Tensor]:
        batch = {
            "patches": torch.stack([scene.image.pixels for scene in examples]),
            "mask": torch.stack([scene.image.mask for scene in examples]),
        }
        most = max(len(scene.history) for scene in examples)
        if most:
            histories = [padded(scene.history, most, _blank()) for scene in examples]
            batch["history"] = torch.stack([torch.stack([each.pixels for each in row]) for row in histories])
            batch["history_mask"] = torch.stack([torch.stack([each.mask for each in row]) for row in histories])
        return batch

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        device = tensors["patches"].device
        mean = torch.tensor(self.preprocess.mean, device=device).view(3, 1, 1)
        std = torch.tensor(self.preprocess.std, device=device).view(3, 1, 1)
        return {
            name: each if name.endswith("mask") else patches_of((each - mean) / std) for name, each in tensors.items()
        }

    def _square(self, image: Any, side: int, draw: Any) -> Square:
        image = image.convert("RGB")
        height, width = fitted_size(image.height, image.width, side)
        if draw is None or not draw.changes:
            return _centred(_resized(image, height, width), side)
        blank = torch.zeros(3, height, width)
        drawn = ImageProcessor(ImagePreprocess(size=(side, side), fit="pad"))(image, draw)
        # A random crop fills the square.
        mask = _centred(blank, side).mask if draw.augment.crop is None else torch.ones((side // PATCH) ** 2) > 0
        return Square(drawn.float() / 255, mask)


def check_count(count: int) -> None:
    """Refuse more images in a row than there are names for.

    Raises:
        DataError: none or too many.
    """
    if not 1 <= count <= FRAMES + 1:
        raise DataError(f"{count} images in a row", help=f"Unified-IO 2 takes one, and up to {FRAMES} before it")


def fitted_size(height: int, width: int, side: int) -> tuple[int, int]:
    """(H, W) of an image fitted into a square: cut to whole pixels after products in single precision."""
    scale = min(np.float32(side) / np.float32(height), np.float32(side) / np.float32(width))
    return max(int(scale * np.float32(height)), 1), max(int(scale * np.float32(width)), 1)


def padded(items: Sequence[Square], count: int, blank: Square) -> list[Square]:
    """Items and blanks behind them, `count` in all."""
    return [*items, *[blank] * (count - len(items))]


def _resized(image: Any, height: int, width: int) -> Tensor:
    # Band by band, so that of a large photograph one band at a time is held as floats.
    bands = [band.convert("F").resize((width, height), Image.Resampling.BILINEAR) for band in image.split()]
    return torch.from_numpy(np.stack([np.asarray(band) for band in bands])) / 255  # (C, H, W)


def _centred(pixels: Tensor, side: int) -> Square:
    height, width = pixels.shape[1:]
    top, left = (side - height) // 2, (side - width) // 2
    around = (left, side - width - left, top, side - height - top)
    real = F.pad(torch.ones(height, width, dtype=torch.bool), around, value=False)
    # A patch counts where its middle is of the image; of a strip that lies between all middles, where anything is.
    mask = real[PATCH // 2 :: PATCH, PATCH // 2 :: PATCH].flatten()
    if not mask.any():
        mask = patches_of(real[None]).any(-1)
    return Square(F.pad(pixels, around), mask)


def _blank() -> Square:
    side = HISTORY_GRID[0] * PATCH
    return Square(torch.zeros(3, side, side), torch.zeros(HISTORY_GRID[0] * HISTORY_GRID[1], dtype=torch.bool))
