"""Losses of pairs, against those of open_clip."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from zoo.models.features import Features
from zoo.models.pair_heads import ContrastiveHead, PairHead, SigmoidHead


def features(pooled: torch.Tensor) -> Features:
    return Features(pooled=pooled, tokens=pooled.unsqueeze(1))


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_the_loss_is_that_of_open_clip(kind: str) -> None:
    open_clip: Any = pytest.importorskip("open_clip.loss")
    pooled = torch.randn(7, 12)
    image, text = F.normalize(pooled[:, :6], dim=1), F.normalize(pooled[:, 6:], dim=1)
    head: PairHead = ContrastiveHead() if kind == "clip" else SigmoidHead()
    with torch.no_grad():
        head.log_scale.fill_(math.log(8.0))
    scale = head.log_scale.exp()
    if isinstance(head, SigmoidHead):
        expected = open_clip.SigLipLoss()(image, text, scale, head.bias)
    else:
        expected = open_clip.ClipLoss()(image, text, scale)
    found = head.loss(features(pooled), torch.zeros(7, 2, dtype=torch.int64))
    torch.testing.assert_close(found, expected)


def test_outputs_are_embeddings_of_length_one() -> None:
    found = ContrastiveHead()(features(torch.randn(5, 8) * 3))
    torch.testing.assert_close(found[:, :4].norm(dim=1), torch.ones(5))
    torch.testing.assert_close(found[:, 4:].norm(dim=1), torch.ones(5))


def test_the_scale_of_clip_ends_at_a_hundred() -> None:
    head, pooled = ContrastiveHead(), torch.randn(5, 8)
    losses = []
    for scale in (100.0, 1000.0):
        with torch.no_grad():
            head.log_scale.fill_(math.log(scale))
        losses.append(float(head.loss(features(pooled), torch.zeros(5, 2)).detach()))
    assert losses[0] == pytest.approx(losses[1])
