"""A head of this plugin: `zoo finetune ... --head cosine-prototypes --strategy full`, on any backbone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import Features, Head


class CosinePrototypes(Head):
    """Likeness to one direction a class, whatever the length of the features.

    As the cosine classifier of Gidaris and Komodakis 2018, https://arxiv.org/abs/1804.09458, with a scale that learns.
    """

    def __init__(self, dim: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.prototypes = nn.Parameter(torch.randn(outputs, dim))
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, features: Features) -> Tensor:
        """(B, outputs): `scale` times the cosine to each prototype."""
        pooled = F.normalize(self.dropout(features.pooled), dim=1)
        return self.scale * pooled @ F.normalize(self.prototypes, dim=1).T


def build(dim: int, token_dim: int, outputs: int, dropout: float) -> CosinePrototypes:
    """The head; it reads no tokens."""
    return CosinePrototypes(dim, outputs, dropout)
