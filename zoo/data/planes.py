"""Images of any number of channels: one grey picture a channel, moved alike."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError

MAGIC = b"\x93NUMPY"
"""How a file of `numpy.save` begins."""
_SPLIT = {2: "LA", 4: "RGBA"}
"""Pillow's modes with alpha as a channel of its own."""


@dataclass(frozen=True)
class Planes:
    """A picture of any number of channels. It does what zoo asks of a PIL image, to each channel by itself: Pillow
    resizes RGBA weighted by its last channel, which is right for transparency and wrong for infrared."""

    channels: tuple[Any, ...]
    """PIL images of mode L and of one size."""

    mode = "planes"
    format = "planes"

    @property
    def size(self) -> tuple[int, int]:
        """(W, H)."""
        width, height = self.channels[0].size
        return int(width), int(height)

    @property
    def width(self) -> int:
        """In pixels."""
        return self.size[0]

    @property
    def height(self) -> int:
        """In pixels."""
        return self.size[1]

    def each(self, change: Callable[[Any], Any]) -> Planes:
        """The same change to every channel."""
        return Planes(tuple(change(channel) for channel in self.channels))

    def resize(
        self, size: tuple[int, int], resample: Any = None, box: tuple[float, float, float, float] | None = None
    ) -> Planes:
        """As PIL's."""
        return self.each(lambda channel: channel.resize(size, resample, box=box))

    def crop(self, box: tuple[int, int, int, int]) -> Planes:
        """As PIL's."""
        return self.each(lambda channel: channel.crop(box))

    def transpose(self, method: Any) -> Planes:
        """As PIL's."""
        return self.each(lambda channel: channel.transpose(method))

    def rotate(self, angle: float, *, resample: Any, fillcolor: int) -> Planes:
        """As PIL's."""
        return self.each(lambda channel: channel.rotate(angle, resample=resample, fillcolor=fillcolor))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """(H, W, C)."""
        return np.stack([np.asarray(channel, dtype=dtype) for channel in self.channels], axis=-1)


def as_channels(image: Any, channels: int) -> Any:
    """A decoded picture in N channels: PIL of mode L for 1 and RGB for 3, `Planes` for any other number.

    With 2 and 4 channels the last of a PIL image is its alpha, 255 where it has none.

    Raises:
        DataError: a picture of another number of channels.
    """
    if isinstance(image, Planes):
        if len(image.channels) == channels:
            return image if channels not in (1, 3) else _merged(image)
        raise wrong_count(len(image.channels), channels)
    if channels == 1:
        return image.convert("L")
    if channels == 3:
        return image if image.mode == "RGB" else image.convert("RGB")
    if channels not in _SPLIT:
        raise wrong_count(len(image.getbands()), channels)
    return Planes(image.convert(_SPLIT[channels]).split())


def planes_of(array: NDArray[Any]) -> Planes:
    """An array (H, W) or (H, W, C) of uint8, of uint16 scaled to 8 bits, or of floats in [0, 1].

    Raises:
        DataError: another shape or kind of numbers.
    """
    from PIL import Image

    shaped = array[:, :, None] if array.ndim == 2 else array
    if shaped.ndim != 3 or 0 in shaped.shape:
        raise DataError(f"an array of shape {array.shape}", help="pixels are of shape (H, W) or (H, W, C)")
    if shaped.dtype == np.uint16:
        shaped = shaped // 257  # 65535 / 255
    elif shaped.dtype.kind == "f":
        if not bool(np.isfinite(shaped).all()) or shaped.min() < 0 or shaped.max() > 1:
            raise DataError("an array of floats outside of [0, 1]", help="scale them to [0, 1], or save uint8")
        shaped = np.round(shaped * 255)
    elif shaped.dtype != np.uint8:
        raise DataError(f"an array of {array.dtype}", help="pixels are uint8, uint16, or floats in [0, 1]")
    whole = shaped.astype(np.uint8)
    return Planes(tuple(Image.fromarray(np.ascontiguousarray(whole[:, :, c])) for c in range(whole.shape[2])))


def read_array(raw: bytes) -> NDArray[Any]:
    """The array in a file of `numpy.save`; pickled objects are refused.

    Raises:
        ValueError: it is damaged or holds objects.
    """
    found: NDArray[Any] = np.load(io.BytesIO(raw), allow_pickle=False)
    return found


def wrong_count(found: int, wanted: int) -> DataError:
    """A picture of another number of channels than is wanted."""
    plural = "channel" if found == 1 else "channels"
    help_ = f"give --channels {found}, or pictures of {wanted}"
    if wanted not in (1, 2, 3, 4):
        help_ += ": arrays (H, W, C) as .npy, or TIFF files with a page for each"
    return DataError(f"{found} {plural}, and {wanted} are wanted", help=help_)


def _merged(image: Planes) -> Any:
    from PIL import Image

    return image.channels[0] if len(image.channels) == 1 else Image.merge("RGB", image.channels)
