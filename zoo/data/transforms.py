"""A decoded image to the pixels its weights want: resized and cut as uint8, normalised on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.spec import ImagePreprocess, fingerprint
from zoo.data.augment import Draw, crop_box, jitter, turn
from zoo.data.masks import VOID
from zoo.data.planes import Planes, as_channels

if TYPE_CHECKING:
    from torch import Tensor


LONGEST = 64
"""Sides by which an image may be longer than wide before its ends are cut off: resized whole, a strip of 1 x 4000
pixels would fill a gigabyte, of which the centre crop keeps one part in four thousand."""


class ImageProcessor:
    """Processor of images: PIL to uint8 (C, H, W), batches of it to normalised float.

    In evaluation it gives the same pixels as the transforms of torchvision, timm and open_clip on the same image.
    """

    def __init__(self, preprocess: ImagePreprocess) -> None:
        self.preprocess = preprocess

    @property
    def key(self) -> str:
        return fingerprint(self.preprocess)

    @property
    def channels(self) -> int:
        """C of the pixels, in which images are decoded."""
        return len(self.preprocess.mean)

    def __call__(self, value: Any, draw: Draw | None = None) -> Tensor:
        import torch

        image = as_channels(value, self.channels)
        if draw is not None and draw.changes:
            rng = draw.generator()
            box = crop_box(image.size, draw.augment, rng)
            image = self._fit(image) if box is None else self._boxed(image, box)
            image = jitter(image, draw.augment, rng)
        else:
            image = self._fit(image)
        pixels = np.array(image, dtype=np.uint8, copy=True)
        # (H, W) or (H, W, C) -> (C, H, W)
        return torch.from_numpy(pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def mask(self, value: Any, draw: Draw | None = None) -> Tensor:
        """(H, W) uint8 of a mask, moved as `__call__` moves its image: never blended, 255 where there is none.

        Args:
            value: PIL image of class numbers, of the size of its image.
            draw: as for the image.
        """
        import torch

        nearest = ImageProcessor(replace(self.preprocess, interpolation="nearest", fill=VOID))
        if draw is not None and draw.changes:
            rng = draw.generator()
            box = crop_box(value.size, draw.augment, rng)
            value = nearest._fit(value) if box is None else nearest._boxed(value, box)
            value = turn(value, draw.augment, rng, nearest._resample(), fill=VOID)
        else:
            value = nearest._fit(value)
        return torch.from_numpy(np.array(value, dtype=np.uint8, copy=True))

    def whole(self) -> ImageProcessor:
        """The same without cutting anything off, for answers to every pixel: squashed where it was cropped."""
        if self.preprocess.fit == "pad":
            return self
        return ImageProcessor(replace(self.preprocess, fit="squash", resize=None))

    def unmask(self, numbers: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
        """(H, W) numbers of what `whole` gave, back at the (W, H) of the image; the inverse of its geometry."""
        from PIL import Image

        image = Image.fromarray(numbers)
        if self.preprocess.fit == "pad":
            height, width = self.preprocess.size
            w, h = self._within(size)
            left, upper = (width - w) // 2, (height - h) // 2
            image = image.crop((left, upper, left + w, upper + h))
        return np.asarray(image.resize(size, Image.Resampling.NEAREST))

    def length(self, example: Tensor) -> int:
        return 1

    def collate(self, examples: Sequence[Tensor]) -> dict[str, Tensor]:
        import torch

        return {"pixels": torch.stack(list(examples))}

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        import torch

        pixels = tensors["pixels"]
        mean = torch.tensor(self.preprocess.mean, device=pixels.device).view(1, -1, 1, 1)
        std = torch.tensor(self.preprocess.std, device=pixels.device).view(1, -1, 1, 1)
        return {"pixels": (pixels.float() / 255 - mean) / std}

    def _resample(self) -> Any:
        from PIL import Image

        return Image.Resampling[self.preprocess.interpolation.upper()]

    def _boxed(self, image: Any, box: tuple[float, float, float, float]) -> Any:
        height, width = self.preprocess.size
        return image.resize((width, height), self._resample(), box=box)

    def _fit(self, image: Any) -> Any:
        height, width = self.preprocess.size
        if self.preprocess.fit == "squash":
            return self._centre(self._squashed(image))
        if self.preprocess.fit == "pad":
            return self._padded(image)
        image = _shortened(image)
        if height != width:
            return self._centre(self._covering(image))
        return self._centre(self._shorter_side(image, self.preprocess.resize or height))

    def _enlarged(self) -> tuple[int, int]:
        """(H, W) in the proportions of `size`, with `resize` as the shorter side."""
        height, width = self.preprocess.size
        target = self.preprocess.resize or min(height, width)
        return height * target // min(height, width), width * target // min(height, width)

    def _squashed(self, image: Any) -> Any:
        height, width = self._enlarged()
        return image if image.size == (width, height) else image.resize((width, height), self._resample())

    def _covering(self, image: Any) -> Any:
        """The smallest image of the same proportions that leaves no border in `size`, which is not square."""
        height, width = self._enlarged()
        ratio = min(image.width / width, image.height / height)
        return image.resize((round(image.width / ratio), round(image.height / ratio)), self._resample())

    def _shorter_side(self, image: Any, target: int) -> Any:
        width, height = image.size
        short, long = min(width, height), max(width, height)
        if short == target:
            return image
        # As torchvision's Resize: the longer side is cut, not rounded.
        scaled = int(target * long / short)
        size = (target, scaled) if width <= height else (scaled, target)
        return image.resize(size, self._resample())

    def _centre(self, image: Any) -> Any:
        height, width = self.preprocess.size
        w, h = image.size
        if w < width or h < height:
            image = self._on_canvas(image, max(w, width), max(h, height))
            w, h = image.size
        # As torchvision's CenterCrop: halves are rounded to even.
        left, upper = round((w - width) / 2.0), round((h - height) / 2.0)
        return image.crop((left, upper, left + width, upper + height))

    def _padded(self, image: Any) -> Any:
        height, width = self.preprocess.size
        return self._on_canvas(image.resize(self._within(image.size), self._resample()), width, height)

    def _within(self, size: tuple[int, int]) -> tuple[int, int]:
        """(W, H) of an image of this (W, H) when it is as large as fits."""
        height, width = self.preprocess.size
        # Divided as timm and open_clip do, so that halves round alike.
        ratio = max(size[0] / width, size[1] / height)
        return max(round(size[0] / ratio), 1), max(round(size[1] / ratio), 1)

    def _on_canvas(self, image: Any, width: int, height: int) -> Any:
        from PIL import Image

        if isinstance(image, Planes):
            return image.each(lambda channel: self._on_canvas(channel, width, height))
        fill = self.preprocess.fill
        canvas = Image.new(image.mode, (width, height), (fill,) * 3 if image.mode == "RGB" else fill)
        canvas.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
        return canvas


def _shortened(image: Any) -> Any:
    """The middle of an image that is very long for its width."""
    width, height = image.size
    most = LONGEST * min(width, height)
    if max(width, height) <= most:
        return image
    left, upper = max(width - most, 0) // 2, max(height - most, 0) // 2
    return image.crop((left, upper, left + min(width, most), upper + min(height, most)))
