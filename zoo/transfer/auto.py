"""Which strategy, stages, epochs and rates fit the data and the time: evidence in, a choice and its reasons out."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from zoo.transfer.options import Training

TIMES_PROBE = 3.0
"""Without a budget `auto` takes at most so many times as long as a linear probe would."""
SPARE = 0.9
"""Share of the time that is planned for: steps that were timed alone are a little faster than those of a run."""
FEW = 16
"""Training rows a class up to which a backbone is not moved."""
CEILING = 0.995
"""A cross-validated probe that is right so often leaves nothing that held-out rows could show."""
SGD_BACKBONE, ADAM_BACKBONE, ADAM_LARGE = 1e-3, 1e-4, 5e-5
"""Rates of pretrained weights: under momentum, under Adam, and of more than 50 million parameters under Adam."""
LARGE = 50_000_000
STEPS = 100
"""Training steps below which a backbone hardly moves to where it is better off."""
MOST_HURRIED = 4.0
"""Times the usual rate of a backbone, at most."""


@dataclass(frozen=True)
class StageSeen:
    """One stage as a look at the backbone found it."""

    name: str
    branch: str
    time: float
    """Share of the time of a forward pass."""
    params: float
    """Share of all parameters."""
    score: float | None = None
    """Cross-validated, of a probe on the mean of its output, on a sample of the training rows."""


@dataclass(frozen=True)
class Probed:
    """What a cross-validated probe on frozen features says, from training rows alone."""

    metric: str
    score: float
    half: float | None
    """The same from half as many rows."""
    floor: float
    """Of an answer that looks at no features: the majority class, the mean."""
    log_loss: float | None = None


@dataclass(frozen=True)
class Costs:
    """Seconds on this machine, measured on a sample and scaled to all rows."""

    opening: float
    """Until data were read and the backbone loaded."""
    looking: float
    """For the evidence, beyond what the probe itself needs."""
    extracting: float
    """A frozen pass over the training rows."""
    measuring: float
    """A frozen pass over the held-out rows."""
    solving: float
    """The probe, from features to the head."""
    reading: float
    """Of the training rows, decoded and batched, once an epoch."""
    forward: float
    """Of the training rows, once an epoch."""
    backward: float
    """Through every stage, once an epoch."""
    update: float
    """Of every parameter at each step, once an epoch."""

    @property
    def probe(self) -> float:
        """Of a linear probe from beginning to end."""
        return self.opening + self.extracting + self.solving + self.measuring


@dataclass(frozen=True)
class Evidence:
    """All that a choice rests on."""

    rows: int
    classes: int
    """1 where there are none."""
    dim: int
    params: int
    pretrained: bool
    solvable: bool
    """Whether the head can be solved instead of trained."""
    optimizer: str
    epochs: int
    """As many as a run without a limit takes."""
    batch_size: int
    costs: Costs
    replays: bool = False
    """Whether what frozen stages compute is kept from one epoch to the next."""
    probe: Probed | None = None
    """None: too few rows to tell, or the head cannot be solved."""
    stages: tuple[StageSeen, ...] = ()

    @property
    def per_class(self) -> float:
        """Training rows a class."""
        return self.rows / max(self.classes, 1)

    @property
    def depth(self) -> int:
        """Stages of the longest branch."""
        return max((len(names) for names in self.branches.values()), default=0)

    @property
    def branches(self) -> dict[str, list[StageSeen]]:
        """Stages by branch, from the stem to the top."""
        found: dict[str, list[StageSeen]] = {}
        for stage in self.stages:
            found.setdefault(stage.branch, []).append(stage)
        return found

    def top(self, depth: int) -> list[StageSeen]:
        """The upper stages of every branch."""
        return [stage for names in self.branches.values() for stage in names[-depth:] if depth > 0]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` gave, by way of JSON."""
        probe = value["probe"]
        return cls(
            **{
                **value,
                "costs": Costs(**value["costs"]),
                "probe": Probed(**probe) if probe else None,
                "stages": tuple(StageSeen(**each) for each in value["stages"]),
            }
        )


@dataclass(frozen=True)
class Given:
    """What the user fixed, which no choice may change; None: open."""

    epochs: int | None = None
    lr: float | None = None
    backbone_lr: float | None = None


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

    def applied(self, training: Training) -> Training:
        """These choices in place of what was left open."""
        chosen = replace(
            training, strategy=self.strategy, unfreeze=self.unfreeze, strategy_options=dict(self.options), budget=None
        )
        if not self.epochs:
            return chosen
        return replace(chosen, epochs=self.epochs, lr=self.lr, backbone_lr=self.backbone_lr)

    def __str__(self) -> str:
        if not self.epochs:
            return self.strategy
        options = "".join(f", {key} {value:g}" for key, value in self.options.items())
        top = f", unfreeze {self.unfreeze}" if self.strategy == "partial" else ""
        rates = f"lr {self.lr:.2g}" + (f" and {self.lr * self.backbone_lr:.2g}" if self.backbone_lr else "")
        return f"{self.strategy}{top}{options}, {count(self.epochs, 'epoch')}, {rates}"


@dataclass(frozen=True)
class Considered:
    """A recipe that was thought of, with what it would take."""

    recipe: Recipe
    seconds: float
    """Predicted, from now to the result."""
    fits: bool


@dataclass(frozen=True)
class Decision:
    """What to do and why."""

    recipe: Recipe
    why: str
    """One paragraph."""
    considered: tuple[Considered, ...]

    def to_json(self) -> dict[str, Any]:
        """For `auto.json`."""
        return {
            "chosen": asdict(self.recipe),
            "why": self.why,
            "considered": [
                {"recipe": str(c.recipe), "seconds": round(c.seconds, 1), "fits": c.fits} for c in self.considered
            ],
        }


def decide(evidence: Evidence, given: Given | None = None, *, times: float = TIMES_PROBE) -> Decision:
    """A recipe for these data that takes at most `times` as long as a linear probe.

    The backbone stays frozen where rows are few or the probe is perfect. Otherwise the head is solved first, and as
    many upper stages as the time allows are trained from there, everything if it can be: that order is what was best
    on the data that zoo is measured on.

    Args:
        evidence: of the data, the backbone and this machine.
        given: what the user fixed.
        times: the limit.
    """
    given = given or Given()
    allowed = times * evidence.costs.probe - evidence.costs.opening - evidence.costs.looking
    if evidence.solvable:
        # The probe's features and solution are there already; what follows is what is left.
        allowed -= evidence.costs.extracting + evidence.costs.solving
    considered = tuple(
        Considered(each, seconds := seconds_of(each, evidence), seconds <= SPARE * allowed)
        for each in recipes(evidence, given, allowed)
    )
    left = f"In {times:g} times as long as the probe, {max(allowed, 0):.0f} s were left for training."
    frozen = _reason_to_freeze(evidence)
    if frozen is not None:
        recipe, reason = Recipe("linear-probe"), frozen
    else:
        recipe, reason = _best(evidence, considered, given)
    return Decision(recipe, " ".join((f"auto takes {recipe}: {reason}.", *findings(evidence), left)), considered)


def recipes(evidence: Evidence, given: Given, allowed: float) -> Iterable[Recipe]:
    """Ways to train, the one that would be taken with time to spare first; each as long as the time allows."""
    lr, backbone_lr = rates(evidence, given)
    solved = "lp-ft" if evidence.solvable and evidence.pretrained else None
    for depth in range(evidence.depth, 0, -1):
        whole = depth == evidence.depth
        name = solved or ("full" if whole else "partial")
        options = {"stages": float(depth)} if solved and not whole else {}
        unfreeze = depth if name == "partial" else 1
        recipe = Recipe(name, depth, 1, lr, backbone_lr, options, unfreeze)
        timed = replace(recipe, epochs=given.epochs or _epochs(recipe, evidence, allowed))
        yield hurried(timed, evidence, given)
    if evidence.solvable:
        yield Recipe("linear-probe")
    else:
        recipe = Recipe("head", 0, 1, lr, 0.0)
        yield replace(recipe, epochs=given.epochs or _epochs(recipe, evidence, allowed))


def rates(evidence: Evidence, given: Given | None = None) -> tuple[float, float]:
    """Of the head, and of the backbone relative to it.

    Under Adam every weight moves by about the rate at each step, so that the outputs of a linear head on D features
    move by a multiple that grows with D: its rate falls with the root of D. Under momentum the gradient's own size
    sets the pace. Pretrained weights take the step that suits them, whatever the head's.
    """
    given = given or Given()
    sgd = evidence.optimizer == "sgd"
    lr = given.lr or (1e-2 if sgd else _rounded(1e-3 * min(max(math.sqrt(512 / evidence.dim), 0.5), 2.0)))
    if given.backbone_lr is not None:
        return lr, given.backbone_lr
    if not evidence.pretrained:
        return lr, 1.0
    step = SGD_BACKBONE if sgd else (ADAM_LARGE if evidence.params > LARGE else ADAM_BACKBONE)
    return lr, _rounded(step / lr)


def hurried(recipe: Recipe, evidence: Evidence, given: Given) -> Recipe:
    """With a greater rate of the backbone where there are fewer epochs than usual, so that it comes as far.

    Under Adam alone: momentum takes longer to gather than such a run lasts, and then goes too far.
    On TREC one epoch of the upper three of seven stages ended at 0.960 with the usual rate and 0.966 with four times
    it.
    """
    if given.backbone_lr is not None or not recipe.epochs or not evidence.pretrained or evidence.optimizer == "sgd":
        return recipe
    factor = min(max(evidence.epochs / recipe.epochs, 1.0), MOST_HURRIED)
    return replace(recipe, backbone_lr=_rounded(recipe.backbone_lr * factor))


def seconds_of(recipe: Recipe, evidence: Evidence) -> float:
    """From known features to the result, predicted: the head solved where it is, all epochs, and the held-out rows."""
    solved = evidence.costs.solving if recipe.strategy in SOLVED else 0.0
    return solved + training_seconds(recipe, evidence) + evidence.costs.measuring


def training_seconds(recipe: Recipe, evidence: Evidence) -> float:
    """All epochs, each with a look at the held-out rows; 0 for a head that is solved."""
    if not recipe.epochs:
        return 0.0
    first, later = epoch_seconds(recipe, evidence)
    return first + (recipe.epochs - 1) * later


def epochs_within(recipe: Recipe, evidence: Evidence, seconds: float) -> int:
    """As many as fit."""
    first, later = epoch_seconds(recipe, evidence)
    return 1 + int((seconds - first) / max(later, 1e-9)) if seconds >= first else 0


def epoch_seconds(recipe: Recipe, evidence: Evidence) -> tuple[float, float]:
    """The first epoch over all training rows and each later one, in which frozen leading stages are replayed."""
    costs, top = evidence.costs, evidence.top(recipe.depth)
    through = recipe.strategy in THROUGH  # gradients run through everything, though few parameters move
    share = 1.0 if through else sum(stage.time for stage in top)
    update = 0.1 if through else sum(stage.params for stage in top)
    learning = share * costs.backward + update * costs.update
    first = costs.reading + costs.forward + learning + costs.measuring
    # A single frozen stage is not worth keeping, and what is augmented anew never comes again.
    if not evidence.replays or through or evidence.depth - recipe.depth < 2:
        return first, first
    return first, share * (costs.forward + costs.measuring) + learning


SOLVED: Collection[str] = ("linear-probe", "lp-ft")
"""Strategies that solve a head."""
THROUGH: Collection[str] = ("lora", "dora", "bitfit", "norm-tuning")
"""Strategies that change few parameters in every stage."""


def steps(recipe: Recipe, evidence: Evidence) -> int:
    """Of the optimiser."""
    return recipe.epochs * math.ceil(evidence.rows / evidence.batch_size)


def count(number: int, noun: str) -> str:
    """Such as "1 epoch" and "3 epochs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _epochs(recipe: Recipe, evidence: Evidence, allowed: float) -> int:
    """As many as the time allows, one at least, and no more than a run without a limit takes."""
    ends = seconds_of(replace(recipe, epochs=0), evidence)
    fitting = epochs_within(recipe, evidence, SPARE * allowed - ends)
    return min(max(fitting, 1), evidence.epochs)


def _reason_to_freeze(evidence: Evidence) -> str | None:
    if not evidence.solvable:
        return None
    if evidence.params == 0:
        return "the backbone has no parameters, so only a head can learn"
    if not evidence.pretrained:
        return None
    if evidence.per_class <= FEW:
        return f"{evidence.per_class:.0f} training rows a class are too few to move a backbone safely"
    probe = evidence.probe
    if probe is not None and probe.metric == "accuracy" and probe.score >= CEILING:
        return f"a cross-validated probe is right on {probe.score:.1%} of the training rows, so nothing is to be gained"
    return None


def _best(evidence: Evidence, considered: Sequence[Considered], given: Given) -> tuple[Recipe, str]:
    """The first that fits; where nothing fits, the cheapest."""
    moving = [each for each in considered if each.recipe.depth > 0]
    fitting = [each for each in moving if each.fits and steps(each.recipe, evidence) >= STEPS]
    if not evidence.pretrained:
        whole = replace(considered[0].recipe, epochs=given.epochs or evidence.epochs)
        return whole, "the weights are random, so everything has to learn"
    if not fitting:
        return considered[-1].recipe, _why_frozen(moving)
    deepest = max(fitting, key=lambda each: _worth(each.recipe, evidence))
    return deepest.recipe, _why(deepest.recipe, evidence)


def _why_frozen(moving: Sequence[Considered]) -> str:
    if any(each.fits for each in moving):
        return f"in the time there is a backbone could take fewer than {STEPS} steps, which move it astray if anywhere"
    return "moving even the last stage for one epoch would take longer than that"


def _worth(recipe: Recipe, evidence: Evidence) -> float:
    """How much a recipe is expected to change for the better: stages first, then epochs, with falling returns.

    On TREC one epoch of the upper three of seven stages gave more than two epochs of the upper two.
    """
    return recipe.depth / evidence.depth + 0.5 * math.log2(recipe.epochs + 1) / math.log2(evidence.epochs + 1)


def _why(recipe: Recipe, evidence: Evidence) -> str:
    whole = recipe.depth == evidence.depth
    which = "every stage" if whole else f"the upper {recipe.depth} of {evidence.depth} stages"
    each = "rows" if evidence.classes <= 1 else "rows a class"
    start = ", from a head that fits already" if recipe.strategy in SOLVED else ""
    return f"{evidence.per_class:,.0f} training {each} are enough to move {which}{start}"


def findings(evidence: Evidence) -> list[str]:
    """What was seen, one sentence each."""
    found = []
    probe = evidence.probe
    if probe is not None:
        said = f"On the training rows a cross-validated probe has {probe.metric} {probe.score:.3f}"
        said += f" (without features {probe.floor:.3f})"
        if probe.half is not None:
            gain = probe.score - probe.half
            limit = "more rows would help" if gain > 0.01 else "more rows would help little"
            said += f", and {probe.half:.3f} with half as many: {limit}"
        found.append(said + ".")
    seen = [stage for stage in evidence.stages if stage.score is not None]
    if seen:
        best = max(seen, key=lambda stage: stage.score or 0.0)
        last = seen[-1]
        if best.score is not None and last.score is not None and best.score > last.score + 0.02:
            found.append(f"The stage {best.name} probes better ({best.score:.3f}) than the last ({last.score:.3f}).")
    costs = evidence.costs
    found.append(f"A probe takes about {costs.probe:.0f} s here and an epoch of everything {_whole(evidence):.0f} s.")
    return found


def _whole(evidence: Evidence) -> float:
    return epoch_seconds(Recipe("full", evidence.depth, 1), evidence)[0]


def _rounded(value: float) -> float:
    """To two digits, as people write rates."""
    return float(f"{value:.2g}")
