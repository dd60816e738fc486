"""A head and a strategy that somebody else offers serve like zoo's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import zoo
from zoo import Catalog, Features, Head, HeadSpec, Output, Phase, StageRow, StrategySpec, hookimpl
from zoo.catalog import discovery
from zoo.catalog.catalog import offer_of


@dataclass(frozen=True)
class TopThenAll:
    """Half of the epochs for the head and the top stage, then everything."""

    name: ClassVar[str] = "top-then-all"
    backbone_lr: float = 0.5

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        top = {stages[-1].name: self.backbone_lr, "head": 1.0}
        every = {**{stage.name: self.backbone_lr for stage in stages}, "head": 1.0}
        return (Phase("top", top, share=0.5), Phase("all", every, share=0.5))


class Cosine(Head):
    """Likeness to one direction a class."""

    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__()
        self.directions = torch.nn.Parameter(torch.randn(outputs, dim))

    def forward(self, features: Features) -> torch.Tensor:
        normal = torch.nn.functional.normalize
        return 10 * normal(features.pooled, dim=1) @ normal(self.directions, dim=1).T


def cosine(dim: int, token_dim: int, outputs: int, dropout: float) -> Head:
    return Cosine(dim, outputs)


class Plugin:
    @hookimpl
    def zoo_heads(self) -> Iterable[HeadSpec]:
        return [HeadSpec("cosine", f"{__name__}:cosine", "likeness to one direction a class")]

    @hookimpl
    def zoo_strategies(self) -> Iterable[StrategySpec]:
        return [StrategySpec("top-then-all", f"{__name__}:TopThenAll", "the top first, then everything")]


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    (manager,) = Catalog.of({"mine": Plugin()}).managers.values()
    both = discovery.default_catalog().plus("mine", manager, offer_of("mine", manager))
    monkeypatch.setattr(discovery, "default_catalog", lambda: both)


def test_a_strategy_and_a_head_of_a_plugin_train_and_come_back(offered: None, tmp_path: Path) -> None:
    run = zoo.finetune(
        "starter/glyph-cnn",
        "sklearn:digits",
        read=zoo.ReadOptions(limit=400),
        strategy="top-then-all",
        head="cosine",
        epochs=4,
        lr=0.01,
        baseline="none",
        out=Output(str(tmp_path)),
    )
    assert [(phase.name, len(phase.trained(run.plan.stages))) for phase in run.plan.phases] == [("top", 1), ("all", 4)]
    assert run.plan.phases[0].lr["block4"] == run.plan.training.backbone_lr
    assert run.metrics["accuracy"] > 0.8
    assert isinstance(run.load().head, Cosine)
    assert zoo.evaluate(run.path).metrics["accuracy"] == pytest.approx(run.metrics["accuracy"])


def test_what_nobody_offers_is_a_usage_error_that_names_those_there_are(offered: None, tmp_path: Path) -> None:
    with pytest.raises(zoo.UsageError, match=r"top-then-al.*Did you mean top-then-all"):
        zoo.finetune("starter/glyph-cnn", "sklearn:digits", strategy="top-then-al", out=Output(str(tmp_path)))
