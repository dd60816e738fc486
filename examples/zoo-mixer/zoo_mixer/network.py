"""MLP-Mixer as its authors might ship it: plain torch, no idea of zoo."""

from __future__ import annotations

from torch import Tensor, nn


class MixerBlock(nn.Module):
    """Mixes patches with each other, then the channels of each patch."""

    def __init__(self, patches: int, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.across = nn.Sequential(nn.Linear(patches, dim // 2), nn.GELU(), nn.Linear(dim // 2, patches))
        self.within = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.within(self.norm2(x))  # type: ignore[no-any-return]


class Mixer(nn.Module):
    """(B, 3, H, W) to (B, patches, dim)."""

    def __init__(self, image_size: int, patch: int, dim: int, depth: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, dim, kernel_size=patch, stride=patch)
        self.blocks = nn.ModuleList(MixerBlock((image_size // patch) ** 2, dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patches(pixels).flatten(2).transpose(1, 2)  # (B, dim, H, W) -> (B, H*W, dim)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)  # type: ignore[no-any-return]
