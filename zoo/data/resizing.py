"""RGB images resized in bytes by torch's vector instructions, which takes a third of Pillow's time.

Both blur in the same way before they shrink, and round to bytes after each axis; torch does so with weights of 15 bits,
as torchvision's own transforms do with images that come as tensors: these give the same pixels bit for bit. Pillow's
weights have 22 bits. Its pixels are one level of 255 away where a value lies close to the middle between two levels,
and in rare cases two, where the ratio of the sizes is a small fraction, as that of 320 to 256, and many values lie in
the very middle. In noise it may be more: what a bicubic overshoots is cut off after the first axis, and which that is
depends on the sizes in Pillow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

INTERPOLATIONS = ("bilinear", "bicubic")
"""Those that torch computes in bytes."""
Window = tuple[int, int, int, int]
"""Left, upper, right, lower."""


def serves(image: Any, interpolation: str) -> bool:
    """Whether `resized` takes this image."""
    return getattr(image, "mode", None) == "RGB" and interpolation in INTERPOLATIONS


def resized(image: Any, size: tuple[int, int], window: Window, interpolation: str) -> NDArray[np.uint8]:
    """(H, W, 3) of what lies in the window of an RGB image of this (W, H).

    It releases the interpreter, and keeps to one thread whatever torch has been told: images are resized side by side.

    Args:
        image: PIL, RGB.
        size: (W, H) to which all of the image is resized.
        window: within that size.
        interpolation: one of `INTERPOLATIONS`.
    """
    from torch.nn.functional import interpolate

    left, upper, right, lower = window
    pixels = interpolate(_pixels(image), (size[1], size[0]), mode=interpolation, antialias=True)
    # (1, C, H, W) -> (H, W, 3)
    found: NDArray[np.uint8] = pixels[0].permute(1, 2, 0).numpy()[upper:lower, left:right, :3]
    return found


def _pixels(image: Any) -> Tensor:
    """(1, 4 or 3, H, W) uint8, each pixel in one place: in Pillow's own memory where it lies there in one piece."""
    import torch
    import torch.utils.dlpack

    width, height = image.size
    try:
        import pyarrow

        # A fourth byte lies behind each three; a copy without it takes as long as a third of the decoding.
        flat = torch.utils.dlpack.from_dlpack(pyarrow.array(image).values)
        whole = flat.view(1, height, width, 4)
    except (AttributeError, TypeError, ValueError, pyarrow.ArrowException):
        # An older Pillow, or an image of millions of pixels, which lies there in several pieces.
        whole = torch.from_numpy(np.array(image)).unsqueeze(0)
    return whole.permute(0, 3, 1, 2)
