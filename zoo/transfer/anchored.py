"""Strategies that keep what training began with in sight: a pull back, a way between, an average. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from zoo.errors import UsageError
from zoo.transfer.options import Training
from zoo.transfer.strategies import Phase, ProbeThenFull, StageRow

if TYPE_CHECKING:
    from zoo.transfer.terms import Ended, Setting, Term


@runtime_checkable
class Souping(Protocol):
    """A strategy that trains several times from the same start and averages the weights."""

    name: ClassVar[str]

    def ingredients(self, training: Training) -> tuple[Training, ...]:
        """How each is trained."""


@dataclass(frozen=True)
class L2SP:
    """`lp-ft` with a pull of the backbone back to the weights that it began with.

    The loss grows by pull / 2 times the squared distance. Li et al. 2018, L2-SP, https://arxiv.org/abs/1802.01483.
    """

    name: ClassVar[str] = "l2-sp"
    backbone_lr: float = 0.1
    """Rate of the backbone relative to the head."""
    pull: float = 0.1
    """Of the backbone; the head, which is new, has none."""

    def __post_init__(self) -> None:
        if self.pull < 0:
            raise UsageError(f"pull {self.pull:g} is below 0", help="give a number such as 0.1")

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return ProbeThenFull(self.backbone_lr).phases(stages)

    @property
    def task_weight(self) -> float:
        return 1.0

    def terms(self, setting: Setting) -> tuple[Term, ...]:
        from zoo.transfer.distances import Pull

        return (Pull(setting.model.backbone, self.pull),)


@dataclass(frozen=True)
class WiseFT:
    """`lp-ft`, then a step back: weights between the solved probe and the fine-tuned model.

    Robust where the target shifts. Wortsman et al. 2022, WiSE-FT, https://arxiv.org/abs/2109.01903; one half is their
    advice where there are no rows to choose by.
    """

    name: ClassVar[str] = "wise-ft"
    backbone_lr: float = 0.1
    """Rate of the backbone relative to the head."""
    stages: int = 0
    """Stages of every branch that are trained, from the top; 0 trains everything."""
    alpha: float = 0.5
    """0: the probe; 1: the fine-tuned model."""

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"alpha {self.alpha:g} is outside [0, 1]", help="give a share such as 0.5")

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return ProbeThenFull(self.backbone_lr, self.stages).phases(stages)

    def finish(self, ended: Ended) -> str:
        from zoo.transfer.distances import between

        between(ended, self.alpha)
        return f"wise-ft: {self.alpha:g} of the way from the probe to the fine-tuned weights"


@dataclass(frozen=True)
class Soup:
    """`lp-ft` several times from one probe, other seeds and rates; averaged as long as held-out rows gain by it.

    Wortsman et al. 2022, greedy soup, https://arxiv.org/abs/2203.05482.
    """

    name: ClassVar[str] = "soup"
    backbone_lr: float = 0.1
    """Rate of the backbone relative to the head."""
    members: int = 3

    def __post_init__(self) -> None:
        if self.members < 2:
            raise UsageError(f"members {self.members} make no soup", help="give 2 or more")

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return ProbeThenFull(self.backbone_lr).phases(stages)

    def ingredients(self, training: Training) -> tuple[Training, ...]:
        """The rate as it is, a third and three times as high, in turn; every one with a seed of its own."""
        assert training.lr is not None
        factors = (1.0, 1 / 3, 3.0)
        return tuple(
            replace(training, seed=training.seed + 1_000 * index, lr=training.lr * factors[index % 3])
            for index in range(self.members)
        )
