"""Distillation as terms of the loss: what a teacher says of the training rows, and how far the student is from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.data.augment import recipe
from zoo.data.types import Examples, Task
from zoo.errors import UsageError
from zoo.transfer.adaptation import Stream
from zoo.transfer.stage_outputs import StageOutput
from zoo.transfer.strategies import ADAPTERS, Phase, StageRow
from zoo.transfer.tasks import TargetScale
from zoo.transfer.teaching import DistillOptions
from zoo.transfer.terms import Seen, Setting, Term

Array = NDArray[np.float32]
NEAR = 1e-12
"""Squared distances are kept this far from 0, where a root has no slope."""


@dataclass(frozen=True)
class Taught:
    """What a teacher, in evaluation mode, says of rows, in their order."""

    outputs: Array | None
    """(N, K) logits in the student's order of classes, or numbers in the units of the data; None: not asked for."""
    features: Array | None
    """(N, D) pooled features."""
    hint: Array | None
    """(N, C) averaged output of the stage that was asked for."""

    def followed_by(self, other: Taught) -> Taught:
        """The same of these rows and then of others."""

        def both(one: Array | None, more: Array | None) -> Array | None:
            return None if one is None or more is None else np.concatenate([one, more])

        return Taught(
            both(self.outputs, other.outputs), both(self.features, other.features), both(self.hint, other.hint)
        )


@dataclass(frozen=True)
class Distillation:
    """What a teacher adds to the loss of a student.

    The whole loss is (1 - alpha) of the labels' own and alpha of the terms, each with its weight.
    """

    options: DistillOptions
    ask: Callable[[Examples], Taught]
    """The teacher's answers to rows of the student; kept, so that a run that goes on does not compute them again."""
    ask_unlabelled: Callable[[Examples], Taught]
    """The same of rows without labels."""

    @property
    def task_weight(self) -> float:
        """Of the labels."""
        return 1 - self.options.alpha

    def terms(self, setting: Setting) -> tuple[Term, ...]:
        """One for each of `options.by`, and all of them again for a batch of unlabelled rows, if there are any."""
        if setting.unlabelled is None:
            return self._terms(setting, self.ask(setting.train))
        taught = self.ask(setting.train).followed_by(self.ask_unlabelled(setting.unlabelled))
        terms = self._terms(setting, taught)
        stream = Stream(setting, recipe(setting.training.augment or "none"))
        return (*terms, UnlabelledTerm(terms, stream, len(setting.train)))

    def _terms(self, setting: Setting, taught: Taught) -> tuple[Term, ...]:
        options = self.options
        found: list[Term] = []
        for name in options.by:
            weight = options.weight(name)
            if name == "logits":
                assert taught.outputs is not None
                found.append(LogitsTerm(taught.outputs, weight, setting.task, setting.scale, options.temperature))
            elif name == "features" and options.stages is not None:
                assert taught.hint is not None
                stage = StageOutput(setting.model.backbone, options.stages[0])
                found.append(HintTerm(taught.hint, weight, stage, stage.width(setting.train)))
            else:
                assert taught.features is not None
                if name == "features":
                    found.append(FeaturesTerm(taught.features, weight, setting.model.backbone.dim))
                else:
                    found.append((DistancesTerm if name == "distances" else AnglesTerm)(taught.features, weight))
        return tuple(found)


class _FromTeacher(Term):
    """A term with the teacher's side of every row, which stays on the CPU: it may be as large as the data."""

    def __init__(self, rows: Array, weight: float) -> None:
        super().__init__()
        self.rows = torch.from_numpy(np.ascontiguousarray(rows))
        self.weight = weight

    def teacher(self, seen: Seen) -> Tensor:
        """(B, ...) of the rows of this batch."""
        return self.rows[seen.batch.rows].to(seen.outputs.device, non_blocking=True)


class LogitsTerm(_FromTeacher):
    """How far the student's answers are from the teacher's, both softened by a temperature T.

    T^2 KL(teacher || student) for classes, the same for each label where a row may have several (as cross-entropy
    with soft targets), and the squared difference for numbers, in units of the deviation of the targets. T^2 keeps
    the size of the gradient where T changes (Hinton et al. 2015, https://arxiv.org/abs/1503.02531, section 2).

    Args:
        outputs: (N, K) of the teacher, logits or numbers in the units of the data.
        weight: in the whole loss.
        task: what is predicted.
        scale: of regression targets.
        temperature: T; numbers have none.
    """

    def __init__(
        self, outputs: Array, weight: float, task: Task, scale: TargetScale | None, temperature: float
    ) -> None:
        super().__init__(outputs, weight)
        self.kind = task.kind
        self.scale = scale
        self.temperature = temperature

    def forward(self, seen: Seen) -> Tensor:
        student, teacher, t = seen.outputs, self.teacher(seen), self.temperature
        if self.kind == "regression":
            wanted = teacher if self.scale is None else self.scale.apply(teacher)
            return self.weight * F.mse_loss(student, wanted)
        if self.kind == "multiclass":
            own, wanted = (student / t).log_softmax(1), (teacher / t).log_softmax(1)
            return self.weight * t**2 * F.kl_div(own, wanted, log_target=True, reduction="batchmean")
        return self.weight * t**2 * F.binary_cross_entropy_with_logits(student / t, (teacher / t).sigmoid())


class FeaturesTerm(_FromTeacher):
    """How badly a linear map of the student's features gives those of the teacher.

    The teacher's are brought to mean 0 and deviation 1 over the training rows, so that 1 means: no better than their
    mean. The map is learned beside the student and dropped (Romero et al. 2015, https://arxiv.org/abs/1412.6550).

    Args:
        features: (N, D) of the teacher.
        weight: in the whole loss.
        dim: D of the student.
    """

    def __init__(self, features: Array, weight: float, dim: int) -> None:
        std = features.std(0, dtype=np.float64)
        std = np.where(std > 1e-7, std, 1.0)
        super().__init__(((features - features.mean(0, dtype=np.float64)) / std).astype(np.float32), weight)
        self.projection = nn.Linear(dim, features.shape[1])

    def forward(self, seen: Seen) -> Tensor:
        return self.weight * F.mse_loss(self.projection(self.student(seen)).float(), self.teacher(seen))

    def student(self, seen: Seen) -> Tensor:
        """(B, D) of this batch."""
        return seen.features.pooled


class HintTerm(FeaturesTerm):
    """The same for the averaged outputs of a stage of each.

    Args:
        outputs: (N, C) of the teacher's stage.
        weight: in the whole loss.
        stage: of the student.
        width: C of it.
    """

    def __init__(self, outputs: Array, weight: float, stage: StageOutput, width: int) -> None:
        super().__init__(outputs, weight, width)
        self.stage = stage

    def student(self, seen: Seen) -> Tensor:
        return self.stage.taken(seen.features.mask)


class DistancesTerm(_FromTeacher):
    """How differently the rows of a batch lie from each other: their distances, in units of the mean one, by Huber.

    Park et al. 2019, https://arxiv.org/abs/1904.05068, section 3.2.1.
    """

    compares: ClassVar[bool] = True

    def forward(self, seen: Seen) -> Tensor:
        wanted = distances(self.teacher(seen))
        return self.weight * F.smooth_l1_loss(distances(seen.features.pooled.float()), wanted)


class AnglesTerm(_FromTeacher):
    """How differently the rows of a batch lie from each other: the cosines of the angles of all triplets, by Huber.

    Park et al. 2019, https://arxiv.org/abs/1904.05068, section 3.2.2.
    """

    compares: ClassVar[bool] = True

    def forward(self, seen: Seen) -> Tensor:
        wanted = angles(self.teacher(seen))
        return self.weight * F.smooth_l1_loss(angles(seen.features.pooled.float()), wanted)


class UnlabelledTerm(Term):
    """The terms of a teacher for a batch of rows without labels, which only it has answers to.

    Args:
        terms: whose rows are those that are trained on and then the unlabelled ones.
        stream: of unlabelled rows.
        first: place of the first unlabelled row in the terms.
    """

    def __init__(self, terms: Sequence[Term], stream: Stream, first: int) -> None:
        super().__init__()
        # A tuple, in which torch sees no modules: their parameters are the other terms' own.
        self.terms = tuple(terms)
        self.stream = stream
        self.first = first

    def forward(self, seen: Seen) -> Tensor:
        batch = self.stream.at(seen.step)
        features = seen.model.features(batch.inputs)
        outputs = seen.model.head(features).float()
        other = Seen(seen.model, replace(batch, rows=batch.rows + self.first), features, outputs, seen.step)
        return torch.stack([term(other).float() for term in self.terms]).sum()


def distances(features: Tensor) -> Tensor:
    """(B, B) Euclidean distances of (B, D) features, divided by the mean of those between different rows."""
    count = len(features)
    squares = (features**2).sum(1)
    between = (squares[:, None] + squares[None, :] - 2 * features @ features.T).clamp(min=NEAR).sqrt()
    between = between * (1 - torch.eye(count, device=features.device))
    return between / (between.sum() / max(count * (count - 1), 1)).clamp(min=NEAR)


def angles(features: Tensor) -> Tensor:
    """(B, B, B) cosine of the angle at row i between rows j and k, for every i, j, k of (B, D) features."""
    towards = features[None, :, :] - features[:, None, :]  # (B, B, D): from i to j
    unit = towards * (towards**2).sum(2, keepdim=True).clamp(min=NEAR).rsqrt()
    return unit @ unit.transpose(1, 2)


def check_learns(
    options: DistillOptions, strategy: str, phases: Sequence[Phase], stages: Sequence[StageRow], head: str
) -> None:
    """Refuse a strategy by which a student learns nothing from its teacher.

    Args:
        options: of the distillation.
        strategy: its name.
        phases: its table.
        stages: of the student.
        head: of the student.

    Raises:
        UsageError: no steps, features that stay as they are where only features are taught, or a head that nothing
            is taught and that cannot be solved.
    """
    if options.imitates and head != "linear":
        raise UsageError(
            f"--alpha 1 --by {','.join(options.by)} teaches the head nothing, and --head {head} cannot be solved",
            help="leave --head out, add --by logits, or leave the labels a share of the loss",
        )
    steps = [phase for phase in phases if phase.solver == "gradient"]
    if not steps:
        raise UsageError(
            f"--strategy {strategy} solves the student's head and takes no step in which it could learn from a teacher",
            help="leave it out, or use full or lp-ft",
        )
    moves = any(phase.trained(stages) or phase.lr.get(ADAPTERS, 0.0) > 0 for phase in steps)
    if not moves and "logits" not in options.by:
        raise UsageError(
            f"--strategy {strategy} keeps the student's features as they are, and --by {','.join(options.by)} is about "
            "features",
            help="use --strategy full or lp-ft, or --by logits",
        )
