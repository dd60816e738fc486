"""Faults of heads and of their solvers that make no sound, and the checks that catch them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from faults import failed
from torch import Tensor, nn

import zoo
from zoo import Features, Head, HeadSpec
from zoo.testing import check_head


class Plain(Head):
    def __init__(self, dim: int, token_dim: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(dim, outputs)

    def forward(self, features: Features) -> Tensor:
        return self.linear(self.dropout(features.pooled))  # type: ignore[no-any-return]


class FixedWidth(Plain):
    def __init__(self, dim: int, token_dim: int, outputs: int, dropout: float) -> None:
        super().__init__(24, token_dim, outputs, dropout)


class Squeezed(Plain):
    def forward(self, features: Features) -> Tensor:
        return super().forward(features).squeeze(1)


class Softmax(Plain):
    def forward(self, features: Features) -> Tensor:
        return super().forward(features).softmax(1)


class ReadsPadding(Plain):
    def __init__(self, dim: int, token_dim: int, outputs: int, dropout: float) -> None:
        super().__init__(token_dim, token_dim, outputs, dropout)

    def forward(self, features: Features) -> Tensor:
        return self.linear(self.dropout(features.tokens.mean(1)))  # type: ignore[no-any-return]


class ForgetsDropout(Plain):
    def __init__(self, dim: int, token_dim: int, outputs: int, dropout: float) -> None:
        super().__init__(dim, token_dim, outputs, 0.0)


class Detached(Plain):
    def forward(self, features: Features) -> Tensor:
        return super().forward(features).detach() + self.linear.bias


class BatchNormed(Plain):
    def forward(self, features: Features) -> Tensor:
        pooled = (features.pooled - features.pooled.mean(0)) / features.pooled.std(0, correction=0).clamp(min=1e-3)
        return self.linear(self.dropout(pooled))  # type: ignore[no-any-return]


class AlwaysDrops(Plain):
    def forward(self, features: Features) -> Tensor:
        return self.linear(nn.functional.dropout(features.pooled, 0.5, training=True))  # type: ignore[no-any-return]


class Constant(Plain):
    def forward(self, features: Features) -> Tensor:
        return self.linear(self.dropout(features.pooled) * 1e-6)  # type: ignore[no-any-return]


class HidesState(Plain):
    def __init__(self, dim: int, token_dim: int, outputs: int, dropout: float) -> None:
        super().__init__(dim, token_dim, outputs, dropout)
        self.hidden = [nn.Linear(dim, outputs)]
        self.hidden[0].weight.data.copy_(torch.randn(outputs, dim, generator=torch.Generator()))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {name: value for name, value in super().state_dict(*args, **kwargs).items() if "bias" not in name}


class ChangesFeatures(Plain):
    def forward(self, features: Features) -> Tensor:
        features.pooled.add_(1)
        return super().forward(features)


HEADS = [
    (FixedWidth, "widths"),
    (Squeezed, "outputs"),
    (Softmax, "logits"),
    (ReadsPadding, "padding"),
    (ForgetsDropout, "dropout"),
    (Detached, "gradients"),
    (BatchNormed, "batch-of-one"),
    (AlwaysDrops, "eval-deterministic"),
    (Constant, "learns"),
    (HidesState, "state-round-trip"),
    (ChangesFeatures, "global-state"),
]


@pytest.mark.parametrize(("kind", "check"), HEADS)
def test_a_fault_of_a_head_is_caught(kind: type[Head], check: str) -> None:
    assert check in failed(check_head(HeadSpec("broken", f"{__name__}:{kind.__name__}", "a head")))


def test_a_sound_head_passes_every_check_and_each_check_has_a_fault() -> None:
    found = check_head(HeadSpec("plain", f"{__name__}:Plain", "a head"))
    assert found.passed, str(found)
    assert {result.check for result in found.results} == {check for _, check in HEADS} | {"solved"}


def guess(features: Any, targets: Any, task: Any, *, seed: int, class_weights: Any) -> Any:
    weight = np.random.default_rng(seed).normal(size=(task.num_outputs, features.shape[1])).astype(np.float32)
    return zoo.Solution({"linear.weight": weight, "linear.bias": weight[:, 0]}, {}, "a guess")


def half_a_state(features: Any, targets: Any, task: Any, *, seed: int, class_weights: Any) -> Any:
    found = guess(features, targets, task, seed=seed, class_weights=class_weights)
    return zoo.Solution({"linear.bias": found.state["linear.bias"]}, {}, "half of it")


def restless(features: Any, targets: Any, task: Any, *, seed: int, class_weights: Any) -> Any:
    return guess(features, targets, task, seed=int(np.random.randint(1 << 30)), class_weights=class_weights)


@pytest.mark.parametrize(
    ("solver", "said"),
    [
        (guess, "on new rows, where 0.9 is easy"),
        (half_a_state, "does not take the solution"),
        (restless, "two solutions"),
    ],
)
def test_a_fault_of_a_solver_is_caught(solver: Any, said: str) -> None:
    spec = HeadSpec("broken", f"{__name__}:Plain", "a head", solver=f"{__name__}:{solver.__name__}")
    (result,) = check_head(spec, only=["solved"]).results
    assert result.status == "fail"
    assert said in result.measured


@pytest.mark.parametrize("name", zoo.default_catalog().heads)
def test_every_head_of_zoo_passes(name: str) -> None:
    assert check_head(name).passed, str(check_head(name))
