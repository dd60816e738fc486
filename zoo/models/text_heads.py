"""A head that begins with the names of the classes, in the space that images and texts share."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.features import Features
from zoo.models.heads import Head

START_SCALE = 1 / 0.07
"""Factor on cosines where no backbone gives its own: the one that CLIP began with."""


class NamedHead(Head):
    """A head that begins as zero-shot classification."""

    @abstractmethod
    def begin(self, classes: Tensor, log_scale: float) -> None:
        """Take these (K, E) embeddings as classes, and this logarithm of the scale."""


class TextHead(NamedHead):
    """Scaled cosines with one vector a class, which begins as the embedding of the class's name.

    So training begins where zero-shot classification ends (Wortsman et al. 2022, https://arxiv.org/abs/2109.01903).
    """

    def __init__(self, dim: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.outputs = outputs
        self.dropout = nn.Dropout(dropout)
        # Of two classes the one logit is the difference of theirs.
        self.classes = nn.Parameter(torch.randn(max(outputs, 2), dim) / dim**0.5)
        self.log_scale = nn.Parameter(torch.tensor(math.log(START_SCALE)))

    def forward(self, features: Features) -> Tensor:
        return compared(self.dropout(features.pooled), self.classes, self.log_scale, self.outputs)

    @torch.no_grad()
    def begin(self, classes: Tensor, log_scale: float) -> None:
        self.classes.copy_(classes)
        self.log_scale.fill_(log_scale)


def compared(pooled: Tensor, classes: Tensor, log_scale: Tensor, outputs: int) -> Tensor:
    """(B, outputs) logits of (B, E) embeddings with those of (K, E) classes; one of two classes has the difference."""
    logits = log_scale.exp() * F.normalize(pooled, dim=1) @ F.normalize(classes, dim=1).T
    return logits if outputs > 1 else logits[:, 1:] - logits[:, :1]


def text(dim: int, token_dim: int, outputs: int, dropout: float) -> Head:
    """The head `text`."""
    return TextHead(dim, outputs, dropout)
