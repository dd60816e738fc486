"""A decoded image to the pixels its weights want: resized and cut as uint8, normalised on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.spec import ImagePreprocess, fingerprint
from zoo.data.augment import Draw, crop_box, jitter, turn
from zoo.data.decode import DECODER, WHOLE
from zoo.data.masks import VOID
from zoo.data.planes import Planes, as_channels
from zoo.data.resizing import Window, resized, serves

if TYPE_CHECKING:
    import torch
    from torch import Tensor


LONGEST = 64
"""Sides by which an image may be longer than wide before its ends are cut off: resized whole, a strip of 1 x 4000
pixels would fill a gigabyte, of which the centre crop keeps one part in four thousand."""


class ImageProcessor:
    """Processor of images: PIL to uint8 (C, H, W), batches of it to normalised float.

    In evaluation it gives the same pixels as the transforms of torchvision, timm and open_clip on the same image,
    within the rounding of a resize in bytes: see `zoo.data.resizing`.
    """

    def __init__(self, preprocess: ImagePreprocess) -> None:
        self.preprocess = preprocess
        self._constants: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @property
    def key(self) -> str:
        return fingerprint({"image": self.preprocess, "decoder": DECODER})

    @property
    def channels(self) -> int:
        """C of the pixels, in which images are decoded."""
        return len(self.preprocess.mean)

    def reach(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (W, H) that an image of this (W, H) is resized to."""
        height, width = self.preprocess.size
        if self.preprocess.fit == "squash":
            tall, wide = self._enlarged()
            return wide, tall
        if self.preprocess.fit == "pad":
            return self._within(size)
        if max(size) > LONGEST * min(size):  # cut first
            return size
        if height != width:
            return self._covering(size)
        return self._shorter_side(size, self.preprocess.resize or height)

    def __call__(self, value: Any, draw: Draw | None = None) -> Tensor:
        import torch

        image = as_channels(value, self.channels)
        if draw is not None and draw.changes:
            rng = draw.generator()
            box = crop_box(image.size, draw.augment, rng)
            image = _picture(self._fit(image)) if box is None else self._boxed(image, box)
            image = jitter(image, draw.augment, rng)
        else:
            image = self._fit(image)
        pixels = np.asarray(image, dtype=np.uint8)
        # (H, W) or (H, W, C) -> (C, H, W)
        moved = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return torch.from_numpy(np.array(moved, order="C"))

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

        # By NumPy, which keeps to the thread it is called in.
        return {"pixels": torch.from_numpy(np.stack([example.numpy() for example in examples]))}

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        pixels = tensors["pixels"]
        shift, scale = self._normalisation(pixels.device)
        # In place: each further copy of a batch costs as much as its conversion.
        return {"pixels": pixels.float().sub_(shift).mul_(scale)}

    def _normalisation(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Both (1, C, 1, 1), for pixels in [0, 255]; moved to a device once, as a card has to be waited for."""
        import torch

        if device not in self._constants:
            with torch.inference_mode(False):
                mean, std = torch.tensor(self.preprocess.mean), torch.tensor(self.preprocess.std)
                self._constants[device] = (
                    (mean * 255).view(1, -1, 1, 1).to(device),
                    (1 / (std * 255)).view(1, -1, 1, 1).to(device),
                )
        return self._constants[device]

    def _resample(self) -> Any:
        from PIL import Image

        return Image.Resampling[self.preprocess.interpolation.upper()]

    def _boxed(self, image: Any, box: tuple[float, float, float, float]) -> Any:
        height, width = self.preprocess.size
        return image.resize((width, height), self._resample(), box=box)

    def _fit(self, image: Any) -> Any:
        """What the network sees of an image, as an array (H, W, 3) or as an image of the same kind."""
        height, width = self.preprocess.size
        if self.preprocess.fit == "crop":
            image = _shortened(image)
        size = self.reach(getattr(image, "info", {}).get(WHOLE, image.size))
        if self.preprocess.fit == "pad":
            return self._on_canvas(_picture(self._scaled(image, size, (0, 0, *size))), width, height)
        return self._centre(image, size)

    def _enlarged(self) -> tuple[int, int]:
        """(H, W) in the proportions of `size`, with `resize` as the shorter side."""
        height, width = self.preprocess.size
        target = self.preprocess.resize or min(height, width)
        return height * target // min(height, width), width * target // min(height, width)

    def _covering(self, size: tuple[int, int]) -> tuple[int, int]:
        """The smallest (W, H) of the same proportions that leaves no border in `size`, which is not square."""
        height, width = self._enlarged()
        ratio = min(size[0] / width, size[1] / height)
        return round(size[0] / ratio), round(size[1] / ratio)

    def _shorter_side(self, size: tuple[int, int], target: int) -> tuple[int, int]:
        """(W, H) in the proportions of an image of this (W, H), with `target` as the shorter side."""
        width, height = size
        short, long = min(width, height), max(width, height)
        if short == target:
            return width, height
        # As torchvision's Resize: the longer side is cut, not rounded.
        scaled = int(target * long / short)
        return (target, scaled) if width <= height else (scaled, target)

    def _centre(self, image: Any, size: tuple[int, int]) -> Any:
        """The middle of an image that is resized to this (W, H), on a canvas where that is too small."""
        height, width = self.preprocess.size
        w, h = max(size[0], width), max(size[1], height)
        # As torchvision's CenterCrop: halves are rounded to even.
        left, upper = round((w - width) / 2.0), round((h - height) / 2.0)
        window = (left, upper, left + width, upper + height)
        if (w, h) == size:
            return self._scaled(image, size, window)
        return self._on_canvas(_picture(self._scaled(image, size, (0, 0, *size))), w, h).crop(window)

    def _scaled(self, image: Any, size: tuple[int, int], window: Window) -> Any:
        """The window of an image that is resized to this (W, H)."""
        if image.size == size:
            return image.crop(window)
        if serves(image, self.preprocess.interpolation):
            return resized(image, size, window, self.preprocess.interpolation)
        return image.resize(size, self._resample()).crop(window)

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


def _picture(found: Any) -> Any:
    """As an image, where it is an array."""
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(found)) if isinstance(found, np.ndarray) else found


def _shortened(image: Any) -> Any:
    """The middle of an image that is very long for its width."""
    width, height = image.size
    most = LONGEST * min(width, height)
    if max(width, height) <= most:
        return image
    left, upper = max(width - most, 0) // 2, max(height - most, 0) // 2
    return image.crop((left, upper, left + min(width, most), upper + min(height, most)))
