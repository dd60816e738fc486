"""Mixing the rows of a training batch, pixels or pooled features, with targets to match."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.types import MANY_ANSWERS, Task
from zoo.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from zoo.data.batches import Batch
    from zoo.models.backbone import Inputs
    from zoo.models.features import Features
    from zoo.transfer.model import Model

_KINDS = ("mixup", "cutmix")


@dataclass(frozen=True)
class Mix:
    """Which kinds of mixing, one of them drawn for each step, with the alpha of each: lambda is Beta(alpha, alpha)."""

    alphas: Mapping[str, float]

    def pick(self, seed: int, step: int, row: int) -> tuple[str, float, int]:
        """The kind of one step, its alpha, and a seed for lambda and box; of nothing but what is given."""
        rng = np.random.default_rng((seed, step, row))
        kind = list(self.alphas)[int(rng.integers(len(self.alphas)))]
        return kind, self.alphas[kind], int(rng.integers(2**62))


def mix_of(text: str) -> Mix:
    """The kinds of mixing in "mixup=0.2", "cutmix=1" or "mixup=0.2,cutmix=1".

    Raises:
        UnknownNameError: another kind.
        UsageError: an alpha that is not above 0.
    """
    found: dict[str, float] = {}
    for part in (each.strip() for each in text.split(",")):
        kind, _, value = part.partition("=")
        if kind not in _KINDS:
            raise UnknownNameError("mixing", kind, _KINDS, help="write it as mixup=0.2, cutmix=1 or mixup=0.2,cutmix=1")
        found[kind] = _alpha(kind, value)
    return Mix(found)


def _alpha(kind: str, value: str) -> float:
    try:
        alpha = float(value or {"mixup": 0.2, "cutmix": 1.0}[kind])  # the values of their papers
    except ValueError:
        alpha = math.nan
    if not 0 < alpha < math.inf:
        raise UsageError(f"--mix {kind}={value} is no alpha above 0", help="write it as mixup=0.2 or cutmix=1")
    return alpha


@dataclass(frozen=True)
class PixelMixer:
    """Mixup (Zhang et al. 2017, https://arxiv.org/abs/1710.09412) and CutMix (Yun et al. 2019,
    https://arxiv.org/abs/1905.04899) of normalised images, as torchvision has them.

    Each row is mixed with its neighbour in the batch, whose order is random; lambda, box and kind come from
    (seed, step, first row), so that a resumed run mixes alike.
    """

    mix: Mix
    task: Task
    seed: int

    def __call__(self, batch: Batch, step: int) -> Batch:
        """The batch with mixed pixels and targets, those as `soft` makes them."""
        from torchvision.transforms import v2

        assert batch.targets is not None
        ((key, pixels),) = batch.inputs["image"].items()
        kind, alpha, drawn = self.mix.pick(self.seed, step, int(batch.rows[0]))
        transform = (v2.MixUp if kind == "mixup" else v2.CutMix)(alpha=alpha)
        with _seeded(drawn):
            mixed, targets = transform(pixels, soft(batch.targets, self.task))
        return replace(batch, inputs={"image": {key: mixed}}, targets=targets)


@dataclass(frozen=True)
class FeatureMixer:
    """Mixup of pooled features, for what has no pixels: words cannot be halved.

    Verma et al. 2018, "Manifold mixup", https://arxiv.org/abs/1806.05236, at the last layer before the head.
    """

    mix: Mix
    task: Task
    seed: int

    def __call__(self, features: Features, batch: Batch, step: int) -> tuple[Features, Batch]:
        """Mixed features (B, D), and the batch with targets to match."""
        import torch

        assert batch.targets is not None
        _, alpha, drawn = self.mix.pick(self.seed, step, int(batch.rows[0]))
        with _seeded(drawn):
            share = float(torch.distributions.Beta(alpha, alpha).sample())

        def mixed(rows: Tensor) -> Tensor:
            return share * rows + (1 - share) * rows.roll(1, 0)

        batch = replace(batch, targets=mixed(soft(batch.targets, self.task)))
        return replace(features, pooled=mixed(features.pooled)), batch


@dataclass(frozen=True)
class Mixers:
    """How the rows of a run are mixed; at most one of the two."""

    mix: PixelMixer | None = None
    blend: FeatureMixer | None = None


NO_MIXERS = Mixers()


def mixers(text: str, task: Task, seed: int, model: Model, inputs: Inputs, *, gradient: bool) -> Mixers:
    """What mixes images by their pixels, and everything else by its pooled features.

    Args:
        text: as `mix_of` reads it.
        task: what is predicted.
        seed: of the run.
        model: whose head must answer from pooled features alone where those are mixed.
        inputs: a batch of one row, as its backbone takes it.
        gradient: whether anything is trained by steps.

    Raises:
        UsageError: rows of this kind cannot be mixed so.
    """
    import torch

    mix, said = mix_of(text), f"--mix {text}"
    if task.kind in MANY_ANSWERS:
        what = {"segmentation": "pixel", "tokens": "word", "detection": "object", "pairs": "other row"}[task.kind]
        raise UsageError(
            f"{said} mixes rows with one answer each, and this task has one for every {what}",
            help="leave it out; --augment changes images and their answers together",
        )
    if not gradient:
        raise UsageError(
            f"{said} mixes the rows of training steps, and a solved probe takes none",
            help="use --strategy head, partial, full or lp-ft",
        )
    pixels = set(inputs) == {"image"} and [t.ndim for t in inputs["image"].values()] == [4]
    if "cutmix" in mix.alphas and not pixels:
        raise UsageError(
            f"{said}: cutmix pastes a part of one image into another, and these rows are not one image each",
            help="use --mix mixup=0.2, which then mixes pooled features",
        )
    if pixels:
        return Mixers(mix=PixelMixer(mix, task, seed))
    with torch.no_grad():
        features = model.backbone(inputs)
    if not takes_pooled(model.head, features):
        raise UsageError(
            f"{said} mixes pooled features where rows are not images, and this head looks at single tokens",
            help="use --head linear or mlp",
        )
    return Mixers(blend=FeatureMixer(mix, task, seed))


def check_guides(text: str, guides: Sequence[object]) -> None:
    """Refuse what has answers of its own for each row, which belong to rows that are not mixed.

    Raises:
        UsageError: a teacher, or a strategy that leaves the task's own loss out.
    """
    strategy, *others = guides
    if others or getattr(strategy, "task_weight", 1.0) == 0:
        who = "a teacher has answers" if others else f"--strategy {getattr(strategy, 'name', '')} learns from pairs"
        raise UsageError(f"--mix {text} mixes rows, and {who} of single rows", help="leave --mix out")


def soft(targets: Tensor, task: Task) -> Tensor:
    """Targets that can be mixed: (B, K) probabilities of classes, (B, 1) of two, labels and numbers as they are."""
    import torch.nn.functional as F

    if task.kind == "multiclass":
        return F.one_hot(targets, len(task.classes)).float()
    return targets.float().unsqueeze(1) if targets.ndim == 1 else targets.float()


def takes_pooled(head: nn.Module, features: Features) -> bool:
    """Whether the answers of a head come from the pooled features alone."""
    import torch

    tokens = features.tokens.detach().clone().requires_grad_()
    with torch.enable_grad():
        outputs: Tensor = head(replace(features, pooled=features.pooled.detach().clone(), tokens=tokens))
    if not outputs.requires_grad:
        return True
    return torch.autograd.grad(outputs.sum(), tokens, allow_unused=True)[0] is None


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch's own generator on the CPU set to a seed and put back: torchvision takes no other."""
    import torch

    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)
