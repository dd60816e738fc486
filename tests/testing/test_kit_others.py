"""Faults of heads, strategies, scorers and data sets that make no sound, and the checks that catch them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo import DataError, DatasetSpec, Features, Head, HeadSpec, Phase, ScorerSpec, StageRow, Table
from zoo.testing import check_dataset, check_head, check_scorer, check_strategy
from zoo.transfer.options import Training
from zoo.transfer.terms import Seen, Term


def failed(found: Any) -> list[str]:
    return [result.check for result in found.failed]


# Heads


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


# Strategies


@dataclass(frozen=True)
class Everything:
    name: ClassVar[str] = "everything"
    backbone_lr: float = 0.1

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {**{stage.name: self.backbone_lr for stage in stages}, "head": 1.0}),)


class ForgetsTheHead(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {stage.name: 0.1 for stage in stages}),)


class UnknownStage(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {"layer4": 0.1, "head": 1.0}),)


class SharesOfTwo(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("one", {"head": 1.0}), Phase("two", {"head": 1.0}))


class Backwards(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {stages[0].name: -0.1, "head": 1.0}),)


class Nothing(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("idle", {}, share=0.5), Phase("head", {"head": 1.0}, share=0.5))


class SolvesABackbone(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {stages[0].name: 1.0, "head": 1.0}, solver="closed-form"),)


class Dice(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {"head": float(np.random.default_rng().random()) + 0.1}),)


class DeafToItsOption(Everything):
    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {**{stage.name: 0.1 for stage in stages}, "head": 1.0}),)


@dataclass(frozen=True)
class DeadAdapters(Everything):
    """As LoRA on the output projection of torch's attention: inserted, counted, and never run through."""

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("all", {"adapters": 1.0, "head": 1.0}),)

    def adapt(self, backbone: Any, inputs: Any) -> Any:
        extra = nn.Parameter(torch.zeros(3))
        return type("Inserted", (), {"layers": ("top",), "parameters": (extra,), "fold": lambda self: None})()


class Counting(Term):
    """Counts its calls where no checkpoint finds it, and has a parameter that it never uses."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.idle = 0, nn.Parameter(torch.zeros(3))

    def forward(self, seen: Seen) -> Tensor:
        self.calls += 1
        return self.calls * seen.outputs.square().mean()


class Counted(Everything):
    task_weight = 1.0

    def terms(self, setting: Any) -> tuple[Term, ...]:
        return (Counting(),)


STRATEGIES = [
    (ForgetsTheHead, "trains-the-head"),
    (UnknownStage, "known-names"),
    (SharesOfTwo, "rates"),
    (Backwards, "rates"),
    (Nothing, "table"),
    (SolvesABackbone, "solver"),
    (Dice, "repeats"),
    (DeafToItsOption, "options"),
    (DeadAdapters, "trains-what-it-says"),
    (Counted, "trains-what-it-says"),
    (Counted, "resumes-alike"),
]


@pytest.mark.parametrize(("kind", "check"), STRATEGIES)
def test_a_fault_of_a_strategy_is_caught(kind: Any, check: str) -> None:
    assert check in failed(check_strategy(kind))


def scheduler_inert(
    phase: Phase, stages: Sequence[Any], head: nn.Module, training: Training, total: int
) -> Callable[[int], None]:
    """Layer decay as timm writes it, `lr_scale` in the groups, under torch's own scheduler, which does not know it."""
    parts = [*((stage.name, list(stage.parameters())) for stage in stages), ("head", list(head.parameters()))]
    groups = [{"params": params, "lr_scale": phase.lr[name]} for name, params in parts if name in phase.lr]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)

    def step(number: int) -> None:
        optimizer.step()
        scheduler.step()

    return step


def test_layer_decay_that_a_scheduler_ignores_is_caught() -> None:
    found = check_strategy(Everything, engine=scheduler_inert, only=["rates-survive-schedules"])
    assert failed(found) == ["rates-survive-schedules"]
    assert "moves 1 of the base rate, the table says 0.1" in found.failed[0].measured


def test_a_sound_strategy_passes_every_check_and_each_check_has_a_fault() -> None:
    found = check_strategy(Everything)
    assert found.passed, str(found)
    caught = {check for _, check in STRATEGIES} | {"rates-survive-schedules"}
    assert {result.check for result in found.results} == caught


@pytest.mark.parametrize("name", zoo.default_catalog().strategies)
def test_every_strategy_of_zoo_passes(name: str) -> None:
    assert check_strategy(name).passed, str(check_strategy(name))


# Scorers

Array = np.ndarray[Any, Any]


def published_logme(features: Array, labels: Array) -> float:
    """LogME as its authors publish it: for N < D the sum over log(alpha) misses the D - N directions without data."""
    if not np.isfinite(features).all() or len(set(labels.tolist())) < 2:
        raise DataError("nothing to compare")
    f = features.astype(np.float64)
    (n, d), total = f.shape, []
    u, s, _ = np.linalg.svd(f, full_matrices=False)
    for each in np.unique(labels):
        y = (labels == each).astype(np.float64)
        projected, alpha, beta = u.T @ y, 1.0, 1.0
        for _ in range(11):
            weights = beta * s * projected / (alpha + beta * s**2)
            gamma = (beta * s**2 / (alpha + beta * s**2)).sum()
            residual = ((y - u @ (s * weights)) ** 2).sum()
            alpha, beta = gamma / ((weights**2).sum() + 1e-12), (n - gamma) / (residual + 1e-12)
        evidence = d / 2 * np.log(alpha) + n / 2 * np.log(beta) - n / 2 * np.log(2 * np.pi)
        evidence -= 0.5 * np.log(alpha + beta * s**2).sum() + beta / 2 * residual + alpha / 2 * (weights**2).sum()
        total.append(evidence / n)
    return float(np.mean(total))


def plain_h_score(features: Array, labels: Array) -> float:
    """The trace of between-class over total covariance, without the shrinkage that few rows call for."""
    f = features - features.mean(0)
    means = np.stack([f[labels == each].mean(0) for each in labels])
    return float(np.trace(np.linalg.pinv(np.cov(f.T)) @ np.cov(means.T)))


def first_rows(features: Array, labels: Array) -> float:
    half = len(labels) // 2
    return float(features[:half].std() + labels[:half].mean())


def random_score(features: Array, labels: Array) -> float:
    return float(np.random.rand())


def standardises_in_place(features: Array, labels: Array) -> float:
    features -= features.mean(0)
    return float(features.std())


def by_axis(features: Array, labels: Array) -> float:
    means = np.stack([features[labels == each].mean(0) for each in np.unique(labels)])
    return float(np.abs(means).max(1).mean())


SCORERS = [
    ("published_logme", "signal-above-wider-noise"),
    ("plain_h_score", "signal-above-wider-noise"),
    ("plain_h_score", "refuses-nonsense"),
    ("first_rows", "row-order"),
    ("first_rows", "class-names"),
    ("random_score", "repeats"),
    ("random_score", "signal-above-noise"),
    ("random_score", "grows-with-signal"),
    ("standardises_in_place", "repeats"),
    ("by_axis", "rotation"),
]


@pytest.mark.parametrize(("function", "check"), SCORERS)
def test_a_fault_of_a_scorer_is_caught(function: str, check: str) -> None:
    assert check in failed(check_scorer(ScorerSpec("broken", f"{__name__}:{function}", "a score")))


def test_a_score_that_is_no_number_is_caught() -> None:
    assert "finite" in failed(check_scorer(ScorerSpec("broken", f"{__name__}:standardises_nothing", "a score")))


def standardises_nothing(features: Array, labels: Array) -> float:
    return float("nan")


# Data sets

_LETTERS = {"text": ["good", "fine", "dull", "poor"] * 5, "label": ["pos", "pos", "neg", "neg"] * 5}


def sound_words() -> Table:
    texts = [f"{word} {row}" for row, word in enumerate(_LETTERS["text"])]
    return Table("words", {"text": texts, "label": _LETTERS["label"]})


def uneven() -> Table:
    return Table("words", {"text": _LETTERS["text"], "label": _LETTERS["label"][:-1]})


def changing() -> Table:
    table = sound_words()
    texts = [f"{text} {np.random.default_rng().integers(10**9)}" for text in table.columns["text"]]
    return Table("words", {**table.columns, "text": texts})


def leaking() -> Table:
    table = sound_words()
    split = ["train", "train", "test", "test"] * 5
    texts = [table.columns["text"][0] if row in (0, 2) else text for row, text in enumerate(table.columns["text"])]
    return Table("words", {"text": texts, "label": table.columns["label"]}, split=split)


@pytest.mark.parametrize(
    ("function", "rows", "task", "check"),
    [
        ("uneven", 20, "binary", "columns"),
        ("changing", 20, "binary", "repeats"),
        ("leaking", 20, "binary", "sound"),
        ("sound_words", 21, "binary", "as-promised"),
        ("sound_words", 20, "multiclass", "as-promised"),
    ],
)
def test_a_fault_of_a_data_set_is_caught(function: str, rows: int, task: str, check: str) -> None:
    spec = DatasetSpec("broken", f"{__name__}:{function}", ("text",), task, rows, "words")
    assert check in failed(check_dataset(spec))


def test_a_sound_data_set_passes() -> None:
    found = check_dataset(DatasetSpec("words", f"{__name__}:sound_words", ("text",), "binary", 20, "words"))
    assert found.passed, str(found)


@pytest.mark.parametrize("name", zoo.default_catalog().datasets)
def test_every_data_set_of_zoo_passes(name: str) -> None:
    assert check_dataset(name).passed, str(check_dataset(name))
