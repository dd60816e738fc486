"""What every backbone returns, and how tokens become one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.errors import UsageError

Pooling = Literal["native", "cls", "mean", "max", "last"]
"""How tokens become one vector; "native" is what the weights' authors do."""


@dataclass(frozen=True)
class Features:
    """The output of a backbone, the same for every modality."""

    pooled: Tensor
    """(B, D) one vector an example."""
    tokens: Tensor
    """(B, T, D') words, patches or positions."""
    mask: Tensor | None = None
    """(B, T) bool, True = real; None: every token is real."""
    grid: tuple[int, int] | None = None
    """(H, W) with H * W == T for spatial tokens in row order."""
    maps: tuple[Tensor, ...] = ()
    """(B, C, H, W) of the stages, fine to coarse; only for heads that ask for a pyramid."""
    size: tuple[int, int] | None = None
    """(H, W) of the image that `maps` were made from."""

    def map(self) -> Tensor:
        """(B, D', H, W) spatial map of image tokens.

        Raises:
            UsageError: the tokens have no grid.
        """
        if self.grid is None:
            raise UsageError("these features have no spatial grid", help="use an image backbone for spatial tasks")
        height, width = self.grid
        return self.tokens.transpose(1, 2).reshape(len(self.tokens), -1, height, width)


def join(parts: Sequence[Features]) -> Features:
    """Features of several backbones side by side: pooled vectors concatenated, tokens one after another.

    Tokens of different width are padded with zeros to the widest; the grid is lost.
    """
    if len(parts) == 1:
        return parts[0]
    width = max(part.tokens.shape[-1] for part in parts)
    tokens = [nn.functional.pad(part.tokens, (0, width - part.tokens.shape[-1])) for part in parts]
    masks = [
        part.mask
        if part.mask is not None
        else torch.ones(part.tokens.shape[:2], dtype=torch.bool, device=part.tokens.device)
        for part in parts
    ]
    return Features(
        pooled=torch.cat([part.pooled for part in parts], dim=1),
        tokens=torch.cat(tokens, dim=1),
        mask=torch.cat(masks, dim=1),
    )


def pool(tokens: Tensor, mask: Tensor | None, how: Literal["cls", "mean", "max", "last"]) -> Tensor:
    """(B, D) summary of (B, T, D) tokens; masked positions never count, on whichever side they are.

    Args:
        tokens: (B, T, D).
        mask: (B, T) bool, True = real.
        how: "cls" takes the first real token, "last" the last real one.
    """
    B, T, _ = tokens.shape
    if mask is None:
        mask = torch.ones(B, T, dtype=torch.bool, device=tokens.device)
    if how == "mean":
        weights = mask.unsqueeze(-1).to(tokens.dtype)
        return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)
    if how == "max":
        return tokens.masked_fill(~mask.unsqueeze(-1), torch.finfo(tokens.dtype).min).amax(1)
    index = first_real(mask) if how == "cls" else last_real(mask)
    return tokens[torch.arange(B, device=tokens.device), index]


def last_real(mask: Tensor) -> Tensor:
    """(B,) index of the last True in each row of a (B, T) mask, for left and right padding."""
    T = mask.shape[1]
    return (mask.long() * torch.arange(1, T + 1, device=mask.device)).argmax(1)


def first_real(mask: Tensor) -> Tensor:
    """(B,) index of the first True in each row of a (B, T) mask."""
    return mask.long().argmax(1)


def positions(mask: Tensor) -> Tensor:
    """(B, T) position ids counted over real tokens, so that left padding changes no feature."""
    return (mask.long().cumsum(1) - 1).clamp(min=0)
