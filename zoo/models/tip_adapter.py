"""Tip-Adapter: class names, and the training rows beside them as keys that are looked up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.features import Features
from zoo.models.heads import Head
from zoo.models.text_heads import START_SCALE, NamedHead, compared

OWN = 1 - 1e-4
"""Cosine from which a key is taken for the row itself."""


class TipAdapterHead(NamedHead):
    """Zero-shot logits, and a vote of the training rows for their classes, the more the nearer they are.

    scale * x c' + alpha * exp(-beta (1 - x F')) L, x of length one, with the class embeddings c, the features F of the
    training rows, of length one, and their classes L (Zhang et al. 2022, https://arxiv.org/abs/2111.03930). Solved it
    is Tip-Adapter; with F trained by steps, the rest fixed, Tip-Adapter-F. While it is trained no row votes for itself:
    on features that do not change it would always be right, and nothing would be left to learn.
    """

    classes: Tensor
    log_scale: Tensor
    labels: Tensor
    rows: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self, dim: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.outputs = outputs
        self.dropout = nn.Dropout(dropout)
        count = max(outputs, 2)
        self.register_buffer("classes", torch.randn(count, dim) / dim**0.5)
        self.register_buffer("log_scale", torch.tensor(math.log(START_SCALE)))
        # Until it is solved, one row of each class.
        self.keys = nn.Parameter(F.normalize(torch.randn(count, dim), dim=1))
        self.register_buffer("labels", torch.arange(count))
        self.register_buffer("alpha", torch.tensor(1.0))
        self.register_buffer("beta", torch.tensor(5.5))
        self.register_buffer("rows", self.keys.detach().clone(), persistent=False)  # the keys before training
        self.register_load_state_dict_pre_hook(_make_room)  # type: ignore[no-untyped-call]

    def forward(self, features: Features) -> Tensor:
        x = F.normalize(self.dropout(features.pooled), dim=1)
        near = (self.beta * (x @ self.keys.T - 1)).exp()  # (B, N)
        if self.training:
            near = near * (x.detach() @ self.rows.T < OWN)
        votes = near.new_zeros(len(x), len(self.classes)).index_add_(1, self.labels, near)
        votes = self.alpha * (votes if self.outputs > 1 else votes[:, 1:] - votes[:, :1])
        return compared(x, self.classes, self.log_scale, self.outputs) + votes

    @torch.no_grad()
    def begin(self, classes: Tensor, log_scale: float) -> None:
        self.classes.copy_(classes)
        self.log_scale.fill_(log_scale)


def tip_adapter(dim: int, token_dim: int, outputs: int, dropout: float) -> Head:
    """The head `tip-adapter`."""
    return TipAdapterHead(dim, outputs, dropout)


def _make_room(module: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    """It takes as many rows as are loaded into it."""
    keys, labels = state.get(f"{prefix}keys"), state.get(f"{prefix}labels")
    own: Any = module
    # The width is that of the features: keys that do not fit stay an error.
    if keys is not None and labels is not None and keys.ndim == 2 and keys.shape[1] == own.keys.shape[1]:
        own.keys = nn.Parameter(torch.zeros_like(keys, device=own.keys.device))
        own.rows = keys.detach().to(own.rows.device, copy=True)
        own.labels = torch.zeros_like(labels, device=own.labels.device)
