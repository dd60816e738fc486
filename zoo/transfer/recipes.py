"""Ways to train with their rates, and how long each would take. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from zoo.transfer.evidence import Evidence
from zoo.transfer.options import Training

SGD_BACKBONE, ADAM_BACKBONE, ADAM_LARGE, ADAM_PLAIN = 1e-3, 1e-4, 5e-5, 3e-5
"""Rates of pretrained weights: under momentum, under Adam, and under Adam of more than 50 million parameters or without
normalisation, where each layer passes on what those below it changed."""
LARGE = 50_000_000
STEPS = 100
"""Training steps for which a batch is made smaller, down to `SMALLEST` rows."""
SMALLEST = 8
VIEWS = 2
"""Versions of each augmented input that stages see which stay as they are."""
CERTAIN = 2_000
"""Training rows from which the trained weights are taken as they are, however many features there are."""


@dataclass(frozen=True)
class Given:
    """What the user fixed, which no choice may change; None: open."""

    epochs: int | None = None
    lr: float | None = None
    backbone_lr: float | None = None
    batch_size: int | None = None


@dataclass(frozen=True)
class Recipe:
    """One way to train, ready to run."""

    strategy: str
    depth: int = 0
    """Stages of every branch that learn, counted from the top."""
    epochs: int = 0
    """0 for a head that is solved."""
    lr: float = 0.0
    backbone_lr: float = 0.0
    options: Mapping[str, float] = field(default_factory=dict)
    """Of the strategy."""
    unfreeze: int = 1
    batch_size: int = 0
    """0: as it would be without `auto`."""
    locked: tuple[str, ...] = ()
    """Branches that stay as they are."""
    views: int = 0
    """Versions of each augmented input that they see; 0: as it would be without `auto`."""

    def applied(self, training: Training) -> Training:
        """These choices in place of what was left open."""
        chosen = replace(
            training, strategy=self.strategy, unfreeze=self.unfreeze, strategy_options=dict(self.options), budget=None
        )
        if not self.epochs:
            return chosen
        return replace(
            chosen,
            freeze=(*training.freeze, *self.locked),
            views=self.views if 0 < self.views < self.epochs else training.views,
            epochs=self.epochs,
            lr=self.lr,
            backbone_lr=self.backbone_lr,
            batch_size=self.batch_size or training.batch_size,
        )

    def __str__(self) -> str:
        if not self.epochs:
            return self.strategy
        options = "".join(f", {key} {value:g}" for key, value in self.options.items())
        top = f", unfreeze {self.unfreeze}" if self.strategy == "partial" else ""
        top += f", freeze {' and '.join(self.locked)}" if self.locked else ""
        top += f", {self.views} views" if 0 < self.views < self.epochs else ""
        batch = f" of {self.batch_size} rows a step" if self.batch_size else ""
        rates = f"lr {self.lr:.2g}" + (f" and {self.lr * self.backbone_lr:.2g}" if self.backbone_lr else "")
        return f"{self.strategy}{top}{options}, {count(self.epochs, 'epoch')}{batch}, {rates}"


def rates(evidence: Evidence, given: Given | None = None, locked: Collection[str] = ()) -> tuple[float, float]:
    """Of the head, and of the backbone relative to it.

    Under Adam every weight moves by about the rate at each step, so that the outputs of a linear head on D features
    move by a multiple that grows with D: its rate falls with the root of D. Under momentum the gradient's own size
    sets the pace. Pretrained weights take the step that suits them, whatever the head's and however few the epochs: of
    500 rows of AG News MiniLM ended two epochs at 0.858 with 1e-4 and at 0.845 with three times that.

    Args:
        evidence: of the data and the backbone.
        given: what the user fixed.
        locked: branches that stay as they are.
    """
    given = given or Given()
    sgd = evidence.optimizer == "sgd"
    lr = given.lr or (1e-2 if sgd else _rounded(1e-3 * min(max(math.sqrt(512 / evidence.dim), 0.5), 2.0)))
    if given.backbone_lr is not None:
        return lr, given.backbone_lr
    if not evidence.pretrained:
        return lr, 1.0
    plain = any(not stage.normalised and stage.params > 0 for stage in evidence.top(evidence.depth, locked))
    adam = min(ADAM_LARGE if evidence.params > LARGE else ADAM_BACKBONE, ADAM_PLAIN if plain else 1.0)
    step = SGD_BACKBONE if sgd else adam
    return lr, _rounded(step / lr)


def warm(evidence: Evidence) -> str | None:
    """The strategy that trains from a solved head; None where no head can be solved or the weights are random.

    With fewer rows than features a head fits just any labels, and training goes on from there to be too sure: half of
    the way back the answers are calibrated better, and about as often right. On 500 rows of emoji with 896 features,
    five seeds, up to ten epochs: 0.816 and a log-loss of 0.62 half way, 0.825 and 0.79 at the end, the probe 0.806.
    """
    if not (evidence.solvable and evidence.pretrained):
        return None
    return "wise-ft" if evidence.rows < min(evidence.dim, CERTAIN) else "lp-ft"


def seconds_of(recipe: Recipe, evidence: Evidence) -> float:
    """From known features to the result, predicted: the head solved where it is, all epochs, and the held-out rows."""
    solved = evidence.costs.solving if recipe.strategy in SOLVED else 0.0
    return solved + training_seconds(recipe, evidence) + evidence.costs.measuring


def training_seconds(recipe: Recipe, evidence: Evidence) -> float:
    """All epochs, each with a look at the held-out rows; 0 for a head that is solved."""
    if not recipe.epochs:
        return 0.0
    first, later = epoch_seconds(recipe, evidence)
    fresh = min(max(recipe.views, 1), recipe.epochs)
    return fresh * first + (recipe.epochs - fresh) * later


def epochs_within(recipe: Recipe, evidence: Evidence, seconds: float) -> int:
    """As many as fit."""
    first, later = epoch_seconds(recipe, evidence)
    fresh = max(recipe.views, 1)
    if seconds < fresh * first:
        return max(int(seconds / max(first, 1e-9)), 0)
    return fresh + int((seconds - fresh * first) / max(later, 1e-9))


def views_of(evidence: Evidence, locked: Collection[str]) -> int:
    """Versions of augmented inputs, where nothing that they go through learns: two for all, and kept; 0: as always.

    On 500 rows of emoji, five seeds, MiniLM beside a frozen SqueezeNet reached 0.824 in four epochs without
    augmentation, 0.835 with pictures that are new in each, and 0.832 in five epochs of two versions, in less time.
    """
    stays = all(branch in locked or branch not in evidence.moving for branch in evidence.augmented)
    return VIEWS if evidence.augmented and stays else 0


def in_small_batches(recipe: Recipe, evidence: Evidence, given: Given, epochs: Callable[[Recipe], int]) -> Recipe:
    """With as many epochs as it gets, and with smaller batches where these are few steps.

    Args:
        recipe: with batches as they would be.
        evidence: of the data and this machine.
        given: what the user fixed.
        epochs: that a recipe gets; more steps of an epoch take longer.
    """
    found = replace(recipe, epochs=epochs(recipe))
    whole = given.batch_size or evidence.batch_size
    while given.batch_size is None and steps(found, evidence) < STEPS:
        smaller = replace(recipe, batch_size=(found.batch_size or whole) // 2)
        if smaller.batch_size < SMALLEST or (count := epochs(smaller)) < (given.epochs or 1):
            break
        found = replace(smaller, epochs=count)
    return found


def epoch_seconds(recipe: Recipe, evidence: Evidence) -> tuple[float, float]:
    """Each epoch in which an input is new, and each later one, in which frozen leading stages are replayed."""
    costs, top = evidence.costs, evidence.top(recipe.depth, recipe.locked)
    measuring = evidence.shown * costs.measuring
    through = recipe.strategy in THROUGH  # gradients run through everything, though few parameters move
    share = 1.0 if through else sum(stage.time for stage in top)
    update = 0.1 if through else sum(stage.params for stage in top)
    update *= evidence.batch_size / (recipe.batch_size or evidence.batch_size)
    learning = share * costs.backward + update * costs.update
    first = costs.reading + costs.forward + learning + measuring
    # A single frozen stage is not worth keeping, and what is augmented anew never comes again.
    shallow = evidence.depth - recipe.depth < 2 and not recipe.locked
    if not (evidence.replays or recipe.views) or through or shallow:
        return first, first
    return first, share * (costs.forward + measuring) + learning


SOLVED: Collection[str] = ("linear-probe", "lp-ft", "wise-ft")
"""Strategies that solve a head."""
THROUGH: Collection[str] = ("lora", "dora", "bitfit", "norm-tuning")
"""Strategies that change few parameters in every stage."""


def steps(recipe: Recipe, evidence: Evidence) -> int:
    """Of the optimiser."""
    return recipe.epochs * math.ceil(evidence.rows / (recipe.batch_size or evidence.batch_size))


def count(number: int, noun: str) -> str:
    """Such as "1 epoch" and "3 epochs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _rounded(value: float) -> float:
    """To two digits, as people write rates."""
    return float(f"{value:.2g}")
