"""Heads of dual encoders that learn from pairs: what belongs together is to be nearer than what does not."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.dual import DualEncoder
from zoo.models.features import Features
from zoo.models.heads import Head, LossHead

LARGEST = math.log(100.0)
"""Of the logarithm of CLIP's scale while it is trained (Radford et al. 2021, section 2.4)."""


class PairHead(LossHead):
    """Embeddings of both sides, each of length one, from pooled features that hold the image's before the text's."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, features: Features) -> Tensor:
        """(B, 2 E): the image's, then the text's."""
        return torch.cat(self.sides(features), dim=1)

    def loss(self, features: Features, targets: Tensor) -> Tensor:
        """The pairs of the batch are told from all other combinations of its rows."""
        del targets  # every row belongs to itself
        return self.of_pairs(*self.sides(features))

    @abstractmethod
    def of_pairs(self, image: Tensor, text: Tensor) -> Tensor:
        """A scalar of (B, E) embeddings of length one; row i of one belongs to row i of the other."""

    def sides(self, features: Features) -> tuple[Tensor, Tensor]:
        """(B, E) embeddings of length one, in float32."""
        pooled = self.dropout(features.pooled).float()
        width = pooled.shape[1] // 2
        return F.normalize(pooled[:, :width], dim=1), F.normalize(pooled[:, width:], dim=1)

    @torch.no_grad()
    def begin(self, backbone: DualEncoder) -> None:
        """Take the scale that the backbone was trained with."""
        self.log_scale.copy_(backbone.logit_scale)

    @torch.no_grad()
    def end(self, backbone: DualEncoder) -> None:
        """Give the backbone the scale that was learned."""
        backbone.logit_scale.copy_(self.log_scale)


class ContrastiveHead(PairHead):
    """Cross-entropy over the texts of the batch for each image, and over its images for each text (CLIP)."""

    def of_pairs(self, image: Tensor, text: Tensor) -> Tensor:
        return contrastive(image, text, self.log_scale)


class SigmoidHead(PairHead):
    """Every combination of the batch by itself: does it belong together? (SigLIP).

    Zhai et al. 2023, https://arxiv.org/abs/2303.15343.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        # The paper's beginning: few of all combinations belong together.
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def of_pairs(self, image: Tensor, text: Tensor) -> Tensor:
        logits = self.log_scale.exp() * image @ text.T + self.bias
        signs = 2 * torch.eye(len(logits), device=logits.device) - 1
        return -F.logsigmoid(signs * logits).sum() / len(logits)

    @torch.no_grad()
    def begin(self, backbone: DualEncoder) -> None:
        super().begin(backbone)
        if backbone.logit_bias is not None:
            self.bias.copy_(backbone.logit_bias)

    @torch.no_grad()
    def end(self, backbone: DualEncoder) -> None:
        super().end(backbone)
        if backbone.logit_bias is not None:
            backbone.logit_bias.copy_(self.bias)


def contrastive(image: Tensor, text: Tensor, log_scale: Tensor) -> Tensor:
    """CLIP's loss of (B, E) embeddings of length one; row i of one belongs to row i of the other.

    The mean of the cross-entropies of both ways, cosines times exp(log_scale), at most 100 (Radford et al. 2021,
    https://arxiv.org/abs/2103.00020, figure 3).
    """
    logits = log_scale.clamp(max=LARGEST).exp() * image @ text.T
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def contrastive_head(dim: int, token_dim: int, outputs: int, dropout: float) -> Head:
    """The head `contrastive`."""
    return ContrastiveHead(dropout)


def sigmoid_head(dim: int, token_dim: int, outputs: int, dropout: float) -> Head:
    """The head `sigmoid`."""
    return SigmoidHead(dropout)
