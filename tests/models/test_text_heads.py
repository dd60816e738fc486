"""The head that begins with class names: cosines, their scale, and two classes with one logit."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from zoo.models.features import Features
from zoo.models.text_heads import TextHead


def features(pooled: torch.Tensor) -> Features:
    return Features(pooled=pooled, tokens=pooled.unsqueeze(1))


def test_logits_are_scaled_cosines() -> None:
    pooled, classes = torch.randn(5, 6), torch.randn(3, 6) * 7
    head = TextHead(6, 3)
    head.begin(classes, math.log(20.0))
    expected = 20 * torch.stack([F.cosine_similarity(pooled, each[None]) for each in classes], dim=1)
    torch.testing.assert_close(head(features(pooled)), expected)


def test_the_length_of_features_does_not_matter() -> None:
    head, pooled = TextHead(6, 3), torch.randn(4, 6)
    torch.testing.assert_close(head(features(pooled)), head(features(pooled * 9)))


def test_of_two_classes_the_logit_is_the_difference() -> None:
    pooled, classes = torch.randn(5, 6), torch.randn(2, 6)
    one, both = TextHead(6, 1), TextHead(6, 2)
    one.begin(classes, 1.0)
    both.begin(classes, 1.0)
    positive = both(features(pooled)).softmax(1)[:, 1:]
    torch.testing.assert_close(one(features(pooled)).sigmoid(), positive)


@pytest.mark.parametrize("outputs", [1, 4])
def test_every_part_of_it_learns(outputs: int) -> None:
    head = TextHead(6, outputs)
    head(features(torch.randn(5, 6))).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in head.parameters())
