"""Heads that are solved instead of trained: the nearest training rows, and the means of classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.features import Features
from zoo.models.heads import Head

START_SCALE = 10.0
"""Of the logits of prototypes that nothing was fitted to: features of length one give too even answers without it."""
AT_ONCE = 1024
"""Rows whose likeness to all kept rows is in memory at a time."""


class KnnHead(Head):
    """Answers as the k training rows do whose features have the greatest cosine.

    A vote weighs exp((s - s_1) / temperature), s being the cosine and s_1 the greatest (Wu et al. 2018,
    https://arxiv.org/abs/1805.01978; Caron et al. 2021, https://arxiv.org/abs/2104.14294); an infinite temperature
    counts heads. One more vote goes to the shares of the classes among all training rows, so that no class has
    probability 0. Numbers are the weighted mean. Its state holds the features of every training row.
    """

    centre: Tensor
    spread: Tensor
    bank: Tensor
    """(N, D) standardised features of the training rows, of length one."""
    answers: Tensor
    """What each row votes for: (N,) int64 classes, (N, outputs) uint8 labels, or (N, outputs) float32 numbers."""
    prior: Tensor
    """(K,) shares of the classes or labels."""
    k: Tensor
    temperature: Tensor

    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(dim))
        self.register_buffer("bank", torch.zeros(0, dim))
        self.register_buffer("answers", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("prior", torch.full((max(outputs, 2),), 1 / max(outputs, 2)))
        self.register_buffer("k", torch.tensor(1))
        self.register_buffer("temperature", torch.tensor(math.inf))
        self.register_load_state_dict_pre_hook(_make_room)  # type: ignore[no-untyped-call]

    def forward(self, features: Features) -> Tensor:
        """(B, outputs): logarithms of the votes for classes, their log-odds for labels, the mean of numbers."""
        pooled = features.pooled.float()
        if not len(self.bank):  # before it is solved
            return pooled.new_zeros(len(pooled), self.outputs)
        return torch.cat([self._answer(part) for part in torch.split(pooled, AT_ONCE)])

    def _answer(self, pooled: Tensor) -> Tensor:
        cosine = of_length_one((pooled - self.centre) / self.spread) @ self.bank.T  # (B, N)
        k = min(int(self.k), len(self.bank))
        nearest, rows = cosine.topk(k, dim=1)
        found = votes(nearest, self.answers[rows], float(self.temperature), len(self.prior))
        if self.answers.is_floating_point():
            return found
        found = (k * found + self.prior) / (k + 1)
        if self.answers.ndim == 2:
            return found.logit()
        return found.log() if self.outputs > 1 else (found[:, 1:] / found[:, :1]).log()


class PrototypeHead(Head):
    """The class whose mean feature is nearest, features having length one.

    The logit of class k is -scale * |x - c_k|^2 / 2 up to what all classes have in common, which makes it linear in x:
    scale * (x c_k - |c_k|^2 / 2) (Snell et al. 2017, https://arxiv.org/abs/1703.05175, section 2.4). A label, and the
    second of two classes, has that of its rows less that of the others. It can be trained further.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, dim: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(dim))
        self.weight = nn.Parameter(torch.randn(outputs, dim) / dim**0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.log_scale = nn.Parameter(torch.tensor(math.log(START_SCALE)))

    def forward(self, features: Features) -> Tensor:
        x = of_length_one((self.dropout(features.pooled) - self.centre) / self.spread)
        return self.log_scale.exp() * F.linear(x, self.weight, self.bias)


def of_length_one(x: Tensor) -> Tensor:
    """Rows of (B, D) divided by their length; a row of zeros stays one."""
    return F.normalize(x, dim=1)


def votes(nearest: Tensor, answers: Tensor, temperature: float, size: int) -> Tensor:
    """(B, size) share of the votes, or weighted mean of numbers.

    Args:
        nearest: (B, k) cosines, greatest first.
        answers: (B, k) classes, or (B, k, size) labels or numbers.
        temperature: of the weights; infinite: all weigh the same.
        size: classes, labels or numbers.
    """
    weights = ((nearest - nearest[:, :1]) / temperature).exp()
    weights = weights / weights.sum(1, keepdim=True)
    if answers.ndim == 2:
        return weights.new_zeros(len(nearest), size).scatter_add_(1, answers, weights)
    return (weights.unsqueeze(-1) * answers.to(weights.dtype)).sum(1)


def knn(dim: int, token_dim: int, outputs: int, dropout: float) -> Head:
    """The head `knn`; it has nothing that dropout could reach."""
    return KnnHead(dim, outputs)


def prototypes(dim: int, token_dim: int, outputs: int, dropout: float) -> Head:
    """The head `prototypes`."""
    return PrototypeHead(dim, outputs, dropout)


def _make_room(module: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    """A head takes as many rows as are loaded into it, and what each of them votes for."""
    for name in ("bank", "answers", "prior"):
        given, own = state.get(prefix + name), getattr(module, name)
        # The width of a bank is that of the features: one that does not fit stays an error.
        if given is not None and given.ndim and (name != "bank" or given.shape[1:] == own.shape[1:]):
            setattr(module, name, torch.zeros_like(given, device=own.device))
