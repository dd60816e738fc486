"""Heads that answer for every pixel or every token."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.features import Features
from zoo.models.heads import Head
from zoo.models.pyramid import MapShapes

WIDTH = 128
"""Channels of the pyramid, as in the semantic branch of Kirillov et al."""
FINEST = 4
"""The stride from which features are upsampled to pixels without learning, as in Kirillov et al."""
USUAL = 224
"""Pixels of the images for which that stride was chosen; smaller images want finer maps."""


class SegmentHead(Head):
    """A feature pyramid over the stages' maps, then the class of every pixel.

    Each map goes through a 1 x 1 convolution and takes in the coarser one, upsampled (Lin et al. 2017,
    https://arxiv.org/abs/1612.03144); convolutions with group norm refine the finest, and double it where it is coarse,
    as that of a ViT (Kirillov et al. 2019, https://arxiv.org/abs/1901.02446).
    """

    def __init__(self, maps: MapShapes, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = _first(maps)
        self.lateral = nn.ModuleList(nn.Conv2d(channels, WIDTH, 1) for channels in maps.channels[self.first :])
        doublings = max(round(math.log2(maps.strides[self.first] / _finest(maps))), 0)
        self.refine = nn.ModuleList(_refining() for _ in range(1 + doublings))
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(WIDTH, outputs, 1)

    def forward(self, features: Features) -> Tensor:
        """(B, outputs, H, W) logits at the size of the input."""
        maps = [lateral(each) for lateral, each in zip(self.lateral, features.maps[self.first :], strict=True)]
        x = maps.pop()
        while maps:
            finer = maps.pop()
            x = finer + F.interpolate(x, size=finer.shape[2:], mode="nearest")
        for number, layer in enumerate(self.refine):
            if number:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = layer(x)
        logits = self.classify(self.dropout(x))
        assert features.size is not None
        return F.interpolate(logits, size=features.size, mode="bilinear", align_corners=False)


class TokenHead(Head):
    """One linear layer on every token."""

    def __init__(self, token_dim: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(token_dim, outputs)

    def forward(self, features: Features) -> Tensor:
        """(B, T, outputs) logits."""
        return self.linear(self.dropout(features.tokens))  # type: ignore[no-any-return]


def segment(maps: MapShapes, outputs: int, dropout: float) -> Head:
    """The head `segment`."""
    return SegmentHead(maps, outputs, dropout)


def token_classifier(dim: int, token_dim: int, outputs: int, dropout: float) -> Head:
    """The head `token-classifier`."""
    return TokenHead(token_dim, outputs, dropout)


def _refining() -> nn.Module:
    # Group norm: batches of segmentation are small.
    return nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), nn.GroupNorm(32, WIDTH), nn.ReLU())


def _finest(maps: MapShapes) -> int:
    """The stride to classify at: `FINEST` for images of the usual size, down to 1 for small ones."""
    exact = FINEST * min(maps.size) / USUAL
    return max(min(2 ** round(math.log2(exact)), FINEST), 1) if exact > 1 else 1


def _first(maps: MapShapes) -> int:
    """The first map that is coarse enough: a finer one costs four times as much."""
    return next((i for i, stride in enumerate(maps.strides) if stride >= _finest(maps)), len(maps.strides) - 1)
