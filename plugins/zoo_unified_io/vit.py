"""The two ViTs that see before the encoder does: CLIP's on patches of pixels, AST's on patches of a spectrogram."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_unified_io.layers import attended, heads_of, pair_bias
from zoo_unified_io.sizes import ViTSizes

PARTS = ("query_in_proj", "key_in_proj", "value_in_proj")
SECOND = 1
"""Index of the block whose output is kept beside the last one's."""


class Seen(NamedTuple):
    """What a ViT makes of patches, without its class tokens."""

    last: Tensor
    """(B, T, D') of the last block."""
    second: Tensor
    """(B, T, D') of the second."""


class SelfAttention(nn.Module):
    """Attention with biases, in the spelling of the published names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        for part in PARTS:
            weight = nn.init.xavier_uniform_(torch.empty(width, width))
            self.register_parameter(f"{part}_weight", nn.Parameter(weight))
            self.register_parameter(f"{part}_bias", nn.Parameter(torch.zeros(width)))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        query, key, value = (
            heads_of(F.linear(x, self.get_parameter(f"{part}_weight"), self.get_parameter(f"{part}_bias")), self.heads)
            for part in PARTS
        )
        found: Tensor = self.out_proj(attended(query, key, value, bias))
        return found


class MLP(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self, width: int, inner: int, approximate: str) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc2(F.gelu(self.fc1(x), approximate=self.approximate))
        return found


class Block(nn.Module):
    """A block with norms in front."""

    def __init__(self, sizes: ViTSizes, approximate: str, eps: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(sizes.width, eps=eps)
        self.attn = SelfAttention(sizes.width, sizes.heads)
        self.ln_2 = nn.LayerNorm(sizes.width, eps=eps)
        self.mlp = MLP(sizes.width, sizes.mlp, approximate)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        x = x + self.attn(self.ln_1(x), bias)
        found: Tensor = x + self.mlp(self.ln_2(x))
        return found


class Transformer(nn.Module):
    """The blocks."""

    def __init__(self, sizes: ViTSizes, approximate: str, eps: float) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(sizes, approximate, eps) for _ in range(sizes.layers))

    def forward(self, x: Tensor, mask: Tensor | None, skip: int) -> Seen:
        bias, kept = None if mask is None else pair_bias(mask), x
        for index, block in enumerate(self.resblocks):
            x = block(x, bias)
            kept = x if index == SECOND else kept
        return Seen(x[:, skip:], kept[:, skip:])


class ImageViT(nn.Module):
    """CLIP's ViT without its top: a class token, positions fitted to the grid, exact GELU."""

    extra = 1
    """Tokens before the patches."""

    def __init__(self, sizes: ViTSizes) -> None:
        super().__init__()
        self.embedding = nn.Linear(sizes.patch, sizes.width, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(sizes.width) * sizes.width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn(sizes.positions, sizes.width) * sizes.width**-0.5)
        self.pre_ln = nn.LayerNorm(sizes.width)
        self.transformer = Transformer(sizes, "none", 1e-5)

    def forward(self, patches: Tensor, places: Tensor, mask: Tensor | None, grid: tuple[int, int]) -> Seen:
        """Tokens of patches.

        Args:
            patches: (B, T, P).
            places: (B, T) of each in the grid, row by row.
            mask: (B, T) bool, True = real.
            grid: (H, W) patches of a whole image.
        """
        own = self.positional_embedding
        first = (own[0] + self.class_embedding).expand(len(patches), 1, -1)
        x = torch.cat(
            [first.to(patches.dtype), self.embedding(patches) + _taken(_fitted(own[1:], grid), places)], dim=1
        )
        seen: Seen = self.transformer(self.pre_ln(x), _with_extra(mask, self.extra), self.extra)
        return seen


class AudioViT(nn.Module):
    """AST without its top: two class tokens, positions in order of frequency, GELU by its tanh form."""

    extra = 2
    """Tokens before the patches."""

    def __init__(self, sizes: ViTSizes) -> None:
        super().__init__()
        self.embedding = nn.Linear(sizes.patch, sizes.width)
        self.cls_token = nn.Parameter(torch.randn(sizes.width) * 0.02)
        self.dist_token = nn.Parameter(torch.randn(sizes.width) * 0.02)
        self.positional_embedding = nn.Parameter(torch.randn(sizes.positions, sizes.width) * 0.02)
        self.transformer = Transformer(sizes, "tanh", 1e-6)

    def forward(self, patches: Tensor, places: Tensor, mask: Tensor | None, grid: tuple[int, int]) -> Seen:
        """Tokens of patches, as `ImageViT.forward`; the grid is (time, frequency)."""
        own = self.positional_embedding
        time, frequencies = grid
        # The checkpoint's table goes through time first, patches go through frequency first.
        by_frequency = (places % frequencies) * time + places // frequencies
        first = (own[:2] + torch.stack([self.cls_token, self.dist_token])).expand(len(patches), 2, -1)
        x = torch.cat([first.to(patches.dtype), self.embedding(patches) + _taken(own[2:], by_frequency)], dim=1)
        seen: Seen = self.transformer(x, _with_extra(mask, self.extra), self.extra)
        return seen


def _fitted(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """(H * W, D') positions of a square grid, stretched to another."""
    side = round(len(table) ** 0.5)
    if (side, side) == grid:
        return table
    square = table.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    stretched = F.interpolate(square, size=grid, mode="bicubic", antialias=True, align_corners=False)
    return stretched.flatten(2)[0].T.to(table.dtype)


def _taken(table: Tensor, places: Tensor) -> Tensor:
    """Rows of a table. The gradient of plain indexing adds in an order that changes from call to call on a CPU."""
    return F.embedding(places, table)


def _with_extra(mask: Tensor | None, count: int) -> Tensor | None:
    return None if mask is None else F.pad(mask, (count, 0), value=True)
