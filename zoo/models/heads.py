"""Heads: Features to outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.errors import UnknownNameError
from zoo.models.features import Features


class Head(nn.Module, ABC):
    """Features of a backbone to (B, outputs)."""

    @abstractmethod
    def forward(self, features: Features) -> Tensor:
        """(B, outputs): logits for classes, numbers for regression."""


class LinearHead(Head):
    """One linear layer on the pooled features."""

    def __init__(self, dim: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(dim, outputs)

    def forward(self, features: Features) -> Tensor:
        return self.linear(self.dropout(features.pooled))  # type: ignore[no-any-return]


class MlpHead(Head):
    """Norm, a hidden layer of the same width, then a linear one."""

    def __init__(self, dim: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, outputs)
        )

    def forward(self, features: Features) -> Tensor:
        return self.layers(features.pooled)  # type: ignore[no-any-return]


class GapDenseHead(Head):
    """Global average of the real tokens, dense(1024), then a linear layer: the classic recipe for VGG16."""

    WIDTH = 1024

    def __init__(self, token_dim: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dense = nn.Linear(token_dim, self.WIDTH)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(self.WIDTH, outputs)

    def forward(self, features: Features) -> Tensor:
        averaged = _mean(features)
        return self.linear(self.dropout(torch.relu(self.dense(averaged))))  # type: ignore[no-any-return]


class AttentionHead(Head):
    """A learned query attends to the real tokens; a linear layer follows.

    One query and one head, as the pooling of Lee et al. 2019, https://arxiv.org/abs/1810.00825, with k = 1.
    """

    def __init__(self, token_dim: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(token_dim)
        self.query = nn.Parameter(torch.zeros(token_dim))  # zero: it starts as the mean
        self.key = nn.Linear(token_dim, token_dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(token_dim, outputs)

    def forward(self, features: Features) -> Tensor:
        tokens = self.norm(features.tokens)
        scores = self.key(tokens) @ self.query / tokens.shape[-1] ** 0.5  # (B, T)
        if features.mask is not None:
            scores = scores.masked_fill(~features.mask, torch.finfo(scores.dtype).min)
        pooled = (scores.softmax(1).unsqueeze(-1) * tokens).sum(1)
        return self.linear(self.dropout(pooled))  # type: ignore[no-any-return]


def linear(dim: int, token_dim: int, outputs: int, dropout: float) -> Head:
    """The head `linear`."""
    return LinearHead(dim, outputs, dropout)


def mlp(dim: int, token_dim: int, outputs: int, dropout: float) -> Head:
    """The head `mlp`."""
    return MlpHead(dim, outputs, dropout)


def gap_dense(dim: int, token_dim: int, outputs: int, dropout: float) -> Head:
    """The head `gap-dense`."""
    return GapDenseHead(token_dim, outputs, dropout)


def attention(dim: int, token_dim: int, outputs: int, dropout: float) -> Head:
    """The head `attention`."""
    return AttentionHead(token_dim, outputs, dropout)


HeadFactory = Callable[[int, int, int, float], Head]


def build_head(name: str, *, dim: int, token_dim: int, outputs: int, dropout: float = 0.0) -> Head:
    """The head of this name, from the catalogue.

    Args:
        name: such as "linear".
        dim: D of the pooled features.
        token_dim: D' of the tokens.
        outputs: columns of the output.
        dropout: before the last layer.

    Raises:
        UnknownNameError: no head has that name.
    """
    from zoo.catalog.discovery import default_catalog
    from zoo.catalog.factories import import_factory

    heads = default_catalog().heads
    if name not in heads:
        raise UnknownNameError("head", name, heads)
    factory: HeadFactory = import_factory(heads[name].factory, f"head {name}")
    return factory(dim, token_dim, outputs, dropout)


def _mean(features: Features) -> Tensor:
    from zoo.models.features import pool

    return pool(features.tokens, features.mask, "mean")
