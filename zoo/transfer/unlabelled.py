"""Strategies that learn from rows of the target without labels: self-training, CORAL, DANN. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import Examples, TaskKind
from zoo.errors import DataError, UsageError
from zoo.transfer.strategies import LinearProbe, Phase, ProbeThenFull, StageRow, Strategy

if TYPE_CHECKING:
    from zoo.transfer.terms import Setting, Term

_CLASSES: tuple[TaskKind, ...] = ("binary", "multiclass", "multilabel")
_ONE_ANSWER: tuple[TaskKind, ...] = (*_CLASSES, "regression")


@runtime_checkable
class Transductive(Protocol):
    """A strategy that learns from unlabelled rows too, and cannot do without."""

    name: ClassVar[str]
    unlabelled_tasks: ClassVar[tuple[TaskKind, ...]]
    """Kinds of task that it can do."""


@runtime_checkable
class Aligning(Protocol):
    """A strategy that moves the features of the training rows before a head is solved on them."""

    def align(self, source: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D) features of the training rows as those of the unlabelled rows (M, D) are spread."""


@dataclass(frozen=True)
class _Adapted:
    """What the strategies here share: a solved head first, then everything trained from there, as in lp-ft."""

    backbone_lr: float = 0.1
    """Rate of the backbone relative to the head."""
    weight: float = 1.0
    """Of the term beside the loss of the labelled rows."""

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise UsageError(f"weight {self.weight:g} is not above 0", help="without the term, use --strategy lp-ft")

    @property
    def task_weight(self) -> float:
        """The loss of the labelled rows counts in full."""
        return 1.0

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        """Those of lp-ft, but for batch norm, which learns the statistics of the unlabelled rows."""
        found = ProbeThenFull(self.backbone_lr).phases(stages)
        return tuple(replace(phase, keep_statistics=False) for phase in found)


@dataclass(frozen=True)
class SelfTraining(_Adapted):
    """Learn from the model's own answers to unlabelled rows, where it is confident.

    Pseudo-labels of Lee 2013 ("Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural
    Networks", ICML workshop) with the threshold and the weak and strong views of FixMatch, Sohn et al. 2020,
    https://arxiv.org/abs/2001.07685: the answer is that to the row as evaluation sees it, and what learns it is a
    strongly changed one where training images are changed at all.
    """

    name: ClassVar[str] = "self-training"
    unlabelled_tasks: ClassVar[tuple[TaskKind, ...]] = _CLASSES
    threshold: float = 0.95
    """Probability from which an answer is taken for true."""
    rampup: float = 0.3
    """Share of all steps over which the weight rises from 0."""
    ratio: int = 1
    """Unlabelled rows for each labelled one in a step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.5 <= self.threshold < 1:
            raise UsageError(f"threshold {self.threshold:g} is outside [0.5, 1)", help="give one such as 0.95")
        if not 0 <= self.rampup <= 1:
            raise UsageError(f"rampup {self.rampup:g} is outside [0, 1]", help="give a share of the steps such as 0.3")
        if self.ratio < 1:
            raise UsageError(f"ratio {self.ratio} is below 1", help="give 1 or more")

    def terms(self, setting: Setting) -> tuple[Term, ...]:
        from zoo.transfer.adaptation import PseudoLabels

        return (PseudoLabels(setting, self),)


@dataclass(frozen=True)
class Coral(_Adapted):
    """Train everything so that the features of labelled and of unlabelled rows have one covariance.

    Deep CORAL, Sun and Saenko 2016, https://arxiv.org/abs/1607.01719.
    """

    name: ClassVar[str] = "coral"
    unlabelled_tasks: ClassVar[tuple[TaskKind, ...]] = _ONE_ANSWER
    mean: float = 1.0
    """Weight of the squared distance of the means beside that of the covariances; the paper has none, as with 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mean < 0:
            raise UsageError(f"mean {self.mean:g} is below 0", help="give 0 or a greater number")

    def terms(self, setting: Setting) -> tuple[Term, ...]:
        from zoo.transfer.adaptation import Correlation

        return (Correlation(setting, self),)


@dataclass(frozen=True)
class Dann(_Adapted):
    """Train everything so that a classifier cannot tell features of labelled rows from those of unlabelled ones.

    Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks", https://arxiv.org/abs/1505.07818.
    """

    name: ClassVar[str] = "dann"
    unlabelled_tasks: ClassVar[tuple[TaskKind, ...]] = _ONE_ANSWER
    width: int = 256
    """Units of the domain classifier's hidden layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1:
            raise UsageError(f"width {self.width} is below 1", help="give one such as 256")

    def terms(self, setting: Setting) -> tuple[Term, ...]:
        from zoo.transfer.adaptation import Adversary

        return (Adversary(setting, self),)


@dataclass(frozen=True)
class CoralProbe:
    """Freeze the backbone, give the features of labelled rows the mean and covariance of the unlabelled, solve a head.

    Sun, Feng and Saenko 2016, "Return of Frustratingly Easy Domain Adaptation", https://arxiv.org/abs/1511.05547.
    """

    name: ClassVar[str] = "coral-probe"
    unlabelled_tasks: ClassVar[tuple[TaskKind, ...]] = _ONE_ANSWER

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return LinearProbe().phases(stages)

    def align(self, source: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float32]:
        return recoloured(source, target)


def recoloured(source: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float32]:
    """The source with the mean and covariance of the target: (X - m_s) C_s^(-1/2) C_t^(1/2) + m_t.

    The covariances are those of Ledoit and Wolf 2004, which have an inverse however few the rows are; the paper adds
    the identity to features in units of their deviation to that end.

    Args:
        source: (N, D).
        target: (M, D).

    Raises:
        DataError: fewer than two rows on a side.
    """
    if min(len(source), len(target)) < 2:
        raise DataError("a covariance needs two rows or more of either side", help="give more rows")
    from sklearn.covariance import ledoit_wolf

    sides = []
    for rows in (source.astype(np.float64), target.astype(np.float64)):
        values, vectors = np.linalg.eigh(ledoit_wolf(rows)[0])
        sides.append((rows.mean(0), np.clip(values, 1e-12 * max(values[-1], 1e-300), None), vectors))
    (mean_s, values_s, vectors_s), (mean_t, values_t, vectors_t) = sides
    whiten = (vectors_s / np.sqrt(values_s)) @ vectors_s.T
    colour = (vectors_t * np.sqrt(values_t)) @ vectors_t.T
    moved = (source - mean_s) @ whiten @ colour + mean_t
    return np.asarray(moved, dtype=np.float32)


def check_unlabelled(
    strategy: Strategy | Any, unlabelled: Examples | None, task: TaskKind, *, taught: bool = False
) -> None:
    """Refuse a strategy without the unlabelled rows that it needs, and such rows where no use is made of them.

    Args:
        strategy: of the run.
        unlabelled: the rows, if any were given.
        task: what is predicted.
        taught: whether a teacher answers them.

    Raises:
        UsageError: one of them is missing, or the strategy is not for this task.
        DataError: a single unlabelled row.
    """
    if not isinstance(strategy, Transductive):
        if unlabelled is not None and not taught:
            raise UsageError(
                f"strategy {strategy.name} has no use for --unlabelled",
                help="use --strategy self-training, coral, dann or coral-probe, or leave --unlabelled out",
            )
        return
    if unlabelled is None:
        raise UsageError(
            f"strategy {strategy.name} learns from rows without labels, and none are given",
            help="add --unlabelled DATA: a folder, a table, a text file, or DATA:test for the rows of a split",
        )
    if task not in strategy.unlabelled_tasks:
        known = ", ".join(strategy.unlabelled_tasks)
        raise UsageError(f"--strategy {strategy.name} is not for a task of {task}", help=f"it is for {known}")
    if len(unlabelled) < 2:
        raise DataError("a single unlabelled row tells nothing of the target", help="give more rows to --unlabelled")
