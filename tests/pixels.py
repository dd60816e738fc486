"""When pixels that two programs made of one picture are the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def smooth(size: tuple[int, int]) -> Image.Image:
    """Random colours of (W, H) that run into each other: in noise it shows in which order the axes are resized, as what
    a bicubic overshoots is clipped between them, and Pillow's order depends on the sizes."""
    small = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def same_pixels(ours: Tensor, theirs: Tensor, std: Sequence[float], said: str = "") -> None:
    """Within a level of 255, in one value of two hundred two levels.

    torch resizes in bytes with weights of 15 bits where Pillow's have 22: they differ at values close to the middle
    between two levels, of which pictures whose sides are in a simple ratio have many.

    Args:
        ours: (..., C, H, W), normalised.
        theirs: likewise.
        std: by which they were divided.
        said: where they differ.
    """
    assert ours.shape == theirs.shape, said
    levels = ((ours - theirs) * torch.tensor(std).view(-1, 1, 1) * 255).abs()
    assert levels.max() < 2.01, said
    assert (levels > 1.01).sum() <= max(0.005 * levels.numel(), 1), said
