"""Where images stand among the tokens of a batch, and which image each token sees."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from zoo import DataError
from zoo_transformers.idefics_inputs import MARKER, ImageTokens


class Layout(NamedTuple):
    """Ids that a decoder reads."""

    ids: Tensor
    """(B, T)."""
    mask: Tensor
    """(B, T) bool, True = real."""


def laid_out(ids: Tensor, mask: Tensor, before: Tensor, most: int, tokens: ImageTokens) -> Layout:
    """The texts with images before them, where they have no markers.

    Args:
        ids: (B, T), `tokens.start` first in each row.
        mask: (B, T) bool, padding on either side.
        before: (B,) images that come before each text.
        most: images of a row at most.
        tokens: the ids of images.

    Returns:
        Padded on the right.
    """
    ids, mask = _packed(ids, mask)
    # <fake><image><fake><image><fake>: one more than twice as many as there are images
    places = torch.arange(2 * most + 1, device=ids.device)
    block = torch.where(places % 2 == 0, tokens.around, tokens.image).expand(len(ids), -1)
    real = (places <= 2 * before[:, None]) & (before[:, None] > 0)
    joined = torch.cat([ids[:, :1], block, ids[:, 1:]], dim=1)
    ids, mask = _packed(joined, torch.cat([mask[:, :1], real, mask[:, 1:]], dim=1))
    # A traced graph has one shape, whatever the texts hold.
    longest = ids.shape[1] if torch.compiler.is_compiling() else int(mask.sum(1).max())
    return Layout(ids[:, :longest], mask[:, :longest])


def seen(layout: Layout, number: int, tokens: ImageTokens) -> Tensor:
    """(B, T, n) int64, 1 where a token sees an image: the last one before it, until the end of a text.

    Args:
        layout: ids and mask.
        number: n, images of a row.
        tokens: the ids of images.
    """
    ids, mask = layout
    places = torch.arange(1, ids.shape[1] + 1, device=ids.device).expand_as(ids)
    is_image = (ids == tokens.image) & mask
    is_end = torch.isin(ids, torch.tensor(tokens.ends, dtype=ids.dtype, device=ids.device)) & mask
    last_image = torch.where(is_image, places, 0).cummax(1).values
    last_end = torch.where(is_end, places, 0).cummax(1).values
    # The end itself still sees.
    last_end = torch.nn.functional.pad(last_end, (1, -1))
    index = is_image.cumsum(1) - 1
    sees = (last_image > last_end) & (last_image > 0)
    every = torch.arange(number, device=ids.device)
    return ((index[..., None] == every) & sees[..., None]).long()


def check_counts(images: Tensor, count: Tensor) -> None:
    """Refuse texts with another number of markers than images; a text without markers may have any.

    Args:
        images: (B,) markers in each text.
        count: (B,) images of each row.

    Raises:
        DataError: names the first such row of the batch.
    """
    if torch.compiler.is_compiling():
        return
    for row in torch.nonzero((images > 0) & (images != count)).flatten().tolist():
        raise DataError(f"row {row} of this batch: {mismatch(int(images[row]), int(count[row]))}", help=AGREE)


AGREE = f"give as many images as there are {MARKER} in the text; without one, all images stand before the text"


def mismatch(images: int, count: int) -> str:
    """How markers and images differ, in words."""
    marked = f"{images} {MARKER} {'marker' if images == 1 else 'markers'}"
    return f"the text has {marked}, and there {'is' if count == 1 else 'are'} {count} image{'' if count == 1 else 's'}"


def _packed(ids: Tensor, mask: Tensor) -> Layout:
    """Real tokens to the left, in their order."""
    order = (~mask).long().argsort(dim=1, stable=True)
    return Layout(ids.gather(1, order), mask.gather(1, order))
