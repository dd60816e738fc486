"""Terms of the loss that are made from unlabelled rows: pseudo-labels, correlation alignment, a domain classifier."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.data.augment import RECIPES, Augment, recipe
from zoo.data.batches import Batch, Loader
from zoo.transfer.terms import Seen, Setting, Term
from zoo.transfer.trained import task_processors

if TYPE_CHECKING:
    from zoo.transfer.unlabelled import Coral, Dann, SelfTraining


_STATISTICS = ("running_mean", "running_var")


class Stream:
    """Unlabelled rows in batches, without end; which come in a step only the seed and the step decide.

    Args:
        setting: with the rows.
        augment: of images.
        ratio: rows for each row of a training batch.
    """

    def __init__(self, setting: Setting, augment: Augment, ratio: int = 1) -> None:
        assert setting.unlabelled is not None
        assert setting.training.batch_size is not None
        self.loader = Loader(
            setting.unlabelled,
            task_processors(setting.model.backbone, setting.task),
            batch_size=min(setting.training.batch_size * ratio, len(setting.unlabelled)),
            train=True,
            seed=setting.training.seed,
            augment=augment,
        )
        self.device = setting.device
        self.accumulate = setting.training.accumulate
        self.calls = (-1, 0)
        """The last step, and how often it has asked."""
        self.place = -1
        """Of the batch that `upcoming` gives next, over all epochs."""
        self.upcoming: Iterator[Batch] = iter(())

    def at(self, step: int) -> Batch:
        """The next batch of this step, on the device; a step that gathers several batches asks as often."""
        self.calls = (step, self.calls[1] + 1 if step == self.calls[0] else 0)
        place = step * self.accumulate + self.calls[1]
        epoch, start = divmod(place, len(self.loader))
        if place != self.place or start == 0:
            self.upcoming = self.loader.epoch(epoch, start=start)
        self.place = place + 1
        return next(self.upcoming).to(self.device)


class TargetNorms(nn.Module):
    """Running statistics of batch norm over unlabelled rows alone: where the model shall work, and is measured.

    Labelled rows are normalised by their own batch in training and leave no trace (AdaBN, Li et al. 2016,
    https://arxiv.org/abs/1603.04779); of both mixed, neither side would be normalised as it was in training.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        for number, norm in enumerate(_norms(backbone)):
            for name in _STATISTICS:
                self.register_buffer(f"{name}_{number}", getattr(norm, name).detach().clone())

    @contextmanager
    def used(self, backbone: nn.Module) -> Iterator[None]:
        """Put them in the place of what the labelled batch left there, and remember what the passes within make."""
        # A frozen stage is in eval mode: nothing has changed its statistics, and nothing shall.
        norms = [(number, norm) for number, norm in enumerate(_norms(backbone)) if norm.training]
        for number, norm in norms:
            for name in _STATISTICS:
                # A new tensor: the graph of the labelled batch refuses one that was changed after it.
                setattr(norm, name, self.get_buffer(f"{name}_{number}").clone())
        yield
        for number, norm in norms:
            for name in _STATISTICS:
                self.get_buffer(f"{name}_{number}").copy_(getattr(norm, name))


def _norms(backbone: nn.Module) -> list[nn.Module]:
    return [m for m in backbone.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


class PseudoLabels(Term):
    """Cross-entropy of unlabelled rows to the model's own confident answers.

    Args:
        setting: of the run.
        strategy: threshold, ramp-up and weight.
    """

    confident: Tensor
    offered: Tensor

    def __init__(self, setting: Setting, strategy: SelfTraining) -> None:
        super().__init__()
        strong = strong_view(setting.training.augment or "none")
        self.weak = Stream(setting, RECIPES["none"], strategy.ratio)
        self.strong = None if strong == RECIPES["none"] else Stream(setting, strong, strategy.ratio)
        self.norms = TargetNorms(setting.model.backbone)
        self.kind, self.strategy, self.steps, self.say = setting.task.kind, strategy, setting.steps, setting.say
        self.register_buffer("confident", torch.zeros((), dtype=torch.float64))
        self.register_buffer("offered", torch.zeros((), dtype=torch.float64))

    def forward(self, seen: Seen) -> Tensor:
        plain = self.weak.at(seen.step)
        # The rows are the same: both streams draw their order from one seed.
        changed = plain if self.strong is None else self.strong.at(seen.step)
        with self.norms.used(seen.model.backbone):
            with torch.no_grad(), evaluating(seen.model):
                answers = seen.model(plain.inputs).float()
            outputs = seen.model(changed.inputs).float()
        labels, sure = pseudo_labels(self.kind, answers, self.strategy.threshold)
        loss = masked_loss(self.kind, outputs, labels, sure)
        self._count(sure, seen.step)
        return self.strategy.weight * ramp(seen.step, self.strategy.rampup * self.steps) * loss

    def _count(self, sure: Tensor, step: int) -> None:
        self.confident += sure.sum()
        self.offered += sure.numel()
        if step + 1 == self.steps:
            share = float(self.confident) / float(self.offered)
            self.say(f"self-training was confident of {share:.0%} of its answers to unlabelled rows")


def pseudo_labels(kind: str, answers: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """The classes that outputs (B, K) say, and where they say it with at least this probability.

    Returns:
        (B,) indices for multiclass, (B, 1) of 0 and 1 for binary, (B, K) of 0 and 1 for multilabel; bool of that shape.
    """
    if kind == "multiclass":
        highest, labels = answers.softmax(1).max(1)
        return labels, highest >= threshold
    positive = answers.sigmoid()
    return (positive >= 0.5).float(), torch.maximum(positive, 1 - positive) >= threshold


def masked_loss(kind: str, outputs: Tensor, labels: Tensor, sure: Tensor) -> Tensor:
    """Cross-entropy where `sure`, divided by all answers, so that few confident ones count little (FixMatch, eq. 4)."""
    if kind == "multiclass":
        each = F.cross_entropy(outputs, labels, reduction="none")
    else:
        each = F.binary_cross_entropy_with_logits(outputs, labels, reduction="none")
    return (each * sure).mean()


def ramp(step: int, steps: float) -> float:
    """From 0 to 1 over so many steps, linearly, then 1: alpha(t) of Lee 2013, eq. 16."""
    return min((step + 1) / steps, 1.0) if steps >= 1 else 1.0


def strong_view(augment: str) -> Augment:
    """The changes of the image that has to learn: as strong as can be, unless the user said which fit the data."""
    return RECIPES["strong"] if augment in ("light", "strong") else recipe(augment)


class Correlation(Term):
    """The distance of two covariances: of the features of a training batch, and of one of unlabelled rows.

    Args:
        setting: of the run.
        strategy: weights.
    """

    compares: ClassVar[bool] = True

    def __init__(self, setting: Setting, strategy: Coral) -> None:
        super().__init__()
        self.stream = Stream(setting, recipe(setting.training.augment or "none"))
        self.norms = TargetNorms(setting.model.backbone)
        self.strategy = strategy

    def forward(self, seen: Seen) -> Tensor:
        with self.norms.used(seen.model.backbone):
            target = seen.model.backbone(self.stream.at(seen.step).inputs).pooled
        return self.strategy.weight * coral_loss(seen.features.pooled, target, mean=self.strategy.mean)


def coral_loss(source: Tensor, target: Tensor, *, mean: float = 0.0) -> Tensor:
    """||C_s - C_t||_F^2 / 4 D^2 of (B, D) features in units of the source's spread, and `mean` ||m_s - m_t||^2 / D.

    Sun and Saenko 2016, eq. 1, whose loss grows with the fourth power of the features: in units of the root mean square
    deviation of the source, taken as a constant, one weight serves every backbone, and to shrink all features is no
    way out.
    """
    source, target = source.float(), target.float()
    dim = source.shape[1]
    unit = source.detach().var(0).mean().sqrt().clamp(min=1e-6)
    source, target = source / unit, target / unit
    difference = _covariance(source) - _covariance(target)
    loss = difference.square().sum() / (4 * dim**2)
    return loss + mean * (source.mean(0) - target.mean(0)).square().mean() if mean else loss


def _covariance(rows: Tensor) -> Tensor:
    """(D, D) of (B, D)."""
    centred = rows - rows.mean(0)
    return centred.T @ centred / (len(rows) - 1)


class Adversary(Term):
    """The cross-entropy of a domain classifier, whose gradient reaches the backbone reversed.

    Args:
        setting: of the run.
        strategy: weight, and width of the classifier.
    """

    compares: ClassVar[bool] = True

    def __init__(self, setting: Setting, strategy: Dann) -> None:
        super().__init__()
        dim = setting.model.backbone.dim
        self.stream = Stream(setting, recipe(setting.training.augment or "none"))
        self.classifier = nn.Sequential(
            # Features of backbones differ a hundredfold in size.
            nn.LayerNorm(dim, elementwise_affine=False),
            nn.Linear(dim, strategy.width),
            nn.ReLU(),
            nn.Linear(strategy.width, 1),
        )
        self.norms = TargetNorms(setting.model.backbone)
        self.strategy, self.steps = strategy, setting.steps

    def forward(self, seen: Seen) -> Tensor:
        source = seen.features.pooled.float()
        with self.norms.used(seen.model.backbone):
            target = seen.model.backbone(self.stream.at(seen.step).inputs).pooled.float()
        strength = adversary_strength(seen.step / max(self.steps - 1, 1))
        guesses = self.classifier(reversed_gradient(torch.cat([source, target]), strength)).squeeze(1)
        domains = torch.cat([guesses.new_ones(len(source)), guesses.new_zeros(len(target))])
        return self.strategy.weight * F.binary_cross_entropy_with_logits(guesses.float(), domains)


def adversary_strength(progress: float) -> float:
    """From 0 to 1 with the progress of training: 2 / (1 + exp(-10 p)) - 1, Ganin et al. 2016, section 5.2.2."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


def reversed_gradient(values: Tensor, strength: float) -> Tensor:
    """The values as they are; their gradient times -strength (Ganin et al. 2016, eqs. 16 and 17)."""
    return _Reversal.apply(values, strength)  # type: ignore[no-any-return]


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In eval mode, then each module back in its own: of a backbone some stages may be frozen."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
