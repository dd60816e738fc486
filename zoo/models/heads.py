"""Heads: Features to outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.catalog.spec import HeadSpec
from zoo.errors import UnknownNameError, UsageError
from zoo.models.backbone import Inputs
from zoo.models.features import Features
from zoo.models.pyramid import MapShapes


class Head(nn.Module, ABC):
    """Features of a backbone to (B, outputs)."""

    @abstractmethod
    def forward(self, features: Features) -> Tensor:
        """(B, outputs): logits for classes, numbers for regression.

        Logits of pixels are (B, outputs, H, W) at `features.size`, those of tokens (B, T, outputs).
        """


class LossHead(Head):
    """A head with a loss of its own, because what it learns from is not in its outputs."""

    @abstractmethod
    def loss(self, features: Features, targets: Tensor) -> Tensor:
        """A scalar, in training mode; targets as the task's batches hold them."""


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
PyramidHeadFactory = Callable[[MapShapes, int, float], Head]


def head_spec(name: str) -> HeadSpec:
    """The head of this name as the catalogue has it.

    Raises:
        UnknownNameError: no head has that name.
    """
    from zoo.catalog.discovery import default_catalog

    heads = default_catalog().heads
    if name not in heads:
        raise UnknownNameError("head", name, heads)
    return heads[name]


def check_answers(name: str, task: str, features: Features, inputs: Inputs) -> None:
    """Refuse a head of another task, and a backbone whose tokens are not those of its text.

    Args:
        name: of the head.
        task: its kind.
        features: of one batch.
        inputs: that batch.

    Raises:
        UnknownNameError: no head has that name.
        UsageError: head, task and backbone do not go together.
    """
    from zoo.catalog.discovery import default_catalog

    if task not in head_spec(name).tasks:
        fitting = [each for each, spec in default_catalog().heads.items() if task in spec.tasks]
        raise UsageError(
            f"--head {name} is not for a task of {task}", help=f"leave it out, or use {' or '.join(fitting)}"
        )
    mask = inputs.get("text", {}).get("mask")
    if task == "tokens" and (mask is None or mask.shape != features.tokens.shape[:2]):
        raise UsageError(
            "this backbone does not give one feature for each token of a text, so words have none",
            help="choose an encoder, such as starter/text-transformer; `zoo list --modality text` shows others",
        )


def build_head(
    name: str, *, dim: int, token_dim: int, outputs: int, dropout: float = 0.0, maps: MapShapes | None = None
) -> Head:
    """The head of this name, from the catalogue.

    Args:
        name: such as "linear".
        dim: D of the pooled features.
        token_dim: D' of the tokens.
        outputs: columns of the output.
        dropout: before the last layer.
        maps: of the pyramid, for heads that take one.

    Raises:
        UnknownNameError: no head has that name.
    """
    from zoo.catalog.factories import import_factory

    factory = import_factory(head_spec(name).factory, f"head {name}")
    if maps is not None:
        of_maps: PyramidHeadFactory = factory
        return of_maps(maps, outputs, dropout)
    of_features: HeadFactory = factory
    return of_features(dim, token_dim, outputs, dropout)


def _mean(features: Features) -> Tensor:
    from zoo.models.features import pool

    return pool(features.tokens, features.mask, "mean")
