"""Whole images on a canvas of one size, with the frame that carries boxes there and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.catalog.spec import ImagePreprocess, fingerprint
from zoo.data.augment import Draw, crop_box, jitter
from zoo.data.boxes import Frame
from zoo.data.planes import Planes, as_channels
from zoo.data.transforms import ImageProcessor

if TYPE_CHECKING:
    from torch import Tensor


def whole_strides(side: int, stride: int) -> int:
    """The smallest multiple of the stride that is at least `side`."""
    return -(-side // stride) * stride


class LetterboxProcessor:
    """Processor of images for detection: nothing is cut off and nothing is stretched.

    The longer side becomes that of a square canvas, the rest is filled with the mean colour; every image of a run has
    the same canvas, so its boxes never depend on the images beside it.

    Args:
        preprocess: of the weights; its mean, deviation and interpolation are used.
        side: of the canvas in pixels; a multiple of the coarsest stride.
    """

    def __init__(self, preprocess: ImagePreprocess, side: int) -> None:
        grey = round(255 * sum(preprocess.mean) / len(preprocess.mean))
        self.preprocess = replace(preprocess, size=(side, side), resize=None, fit="pad", fill=grey)
        self.side = side

    @property
    def key(self) -> str:
        return fingerprint({"letterbox": self.preprocess})

    @property
    def channels(self) -> int:
        """C of the pixels."""
        return len(self.preprocess.mean)

    def __call__(self, value: Any, draw: Draw | None = None) -> tuple[Tensor, Tensor]:
        import torch

        image = as_channels(value, self.channels)
        image, frame = self._placed(image) if draw is None or not draw.changes else self._drawn(image, draw)
        pixels = np.array(image, dtype=np.uint8, copy=True)
        # (H, W) or (H, W, C) -> (C, H, W)
        pixels = pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
        return torch.from_numpy(pixels), torch.tensor(frame.numbers)

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        import torch

        return {
            "pixels": torch.stack([pixels for pixels, _ in examples]),
            "frame": torch.stack([frame for _, frame in examples]),
        }

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The pixels alone: a backbone has no use for frames."""
        return ImageProcessor(self.preprocess).finish(tensors)

    def length(self, example: Any) -> int:
        return 1

    def _placed(self, image: Any) -> tuple[Any, Frame]:
        """In the middle of the canvas."""
        from PIL import Image

        frame, size = Frame.whole(image.size, (self.side, self.side))
        fill = self.preprocess.fill
        if isinstance(image, Planes):
            return image.each(lambda channel: self._placed(channel)[0]), frame
        canvas = Image.new(image.mode, (self.side, self.side), (fill,) * 3 if image.mode == "RGB" else fill)
        canvas.paste(image.resize(size, self._resample()), (round(frame.shift_x), round(frame.shift_y)))
        return canvas, frame

    def _drawn(self, image: Any, draw: Draw) -> tuple[Any, Frame]:
        """Cut, mirrored and recoloured; never rotated, as an upright box around a turned box is too large."""
        from PIL import Image

        rng = draw.generator()
        box = crop_box(image.size, draw.augment, rng)
        if box is None:
            image, frame = self._placed(image)
        else:
            frame = Frame.of_box(box, (self.side, self.side))
            image = image.resize((self.side, self.side), self._resample(), box=box)
        if draw.augment.flip and rng.random() < draw.augment.flip:
            image, frame = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), frame.mirrored(self.side)
        return jitter(image, replace(draw.augment, flip=0.0, rotation=0.0), rng), frame

    def _resample(self) -> Any:
        from PIL import Image

        return Image.Resampling[self.preprocess.interpolation.upper()]
