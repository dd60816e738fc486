"""Which strategy, stages, epochs and rate fit the data and the time: evidence in, a choice and its reasons out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from zoo.transfer.evidence import Evidence
from zoo.transfer.recipes import (
    Given,
    Recipe,
    epoch_seconds,
    epochs_within,
    in_small_batches,
    rates,
    seconds_of,
    steps,
    views_of,
    warm,
)

TIMES_PROBE = 3.0
"""Without a budget `auto` takes at most so many times as long as a linear probe would."""
SPARE = 0.8
"""Share of the time that is planned for: steps that were timed alone are faster than those of a run, which also writes
checkpoints."""
FEW = 16
"""Training rows a class up to which a backbone is not moved. A few more are enough to gain by it: of 200 rows, three
draws, TREC ended at 0.883 (its probe 0.758), emoji at 0.747 (0.725), all of these half of the way."""
CEILING = 0.995
"""A cross-validated probe that is right so often leaves nothing that held-out rows could show."""
SOME = 50
"""Training steps after which each further one counts for less."""


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
    solved = warm(evidence)
    for locked in evidence.locks if solved else [()]:
        lr, backbone_lr = rates(evidence, given, locked)
        for depth in range(evidence.reach(locked), 0, -1):
            whole = depth == evidence.reach(locked)
            name = solved or ("full" if whole else "partial")
            options = {"stages": float(depth)} if solved and not whole else {}
            unfreeze = depth if name == "partial" else 1
            recipe = Recipe(
                name, depth, 1, lr, backbone_lr, options, unfreeze, locked=locked, views=views_of(evidence, locked)
            )
            yield _timed(recipe, evidence, given, allowed)
    if evidence.solvable:
        yield Recipe("linear-probe")
    else:
        yield _timed(Recipe("head", 0, 1, lr, 0.0), evidence, given, allowed)


def _timed(recipe: Recipe, evidence: Evidence, given: Given, allowed: float) -> Recipe:
    """With as many epochs as the time allows."""
    return in_small_batches(recipe, evidence, given, lambda each: given.epochs or _epochs(each, evidence, allowed))


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
    fitting = [each for each in moving if each.fits]
    if not evidence.pretrained:
        whole = replace(considered[0].recipe, epochs=given.epochs or evidence.epochs)
        return whole, "the weights are random, so everything has to learn"
    if not fitting:
        return considered[-1].recipe, "moving even the last stage for one epoch would take longer than that"
    deepest = max(fitting, key=lambda each: worth(each.recipe, evidence))
    return deepest.recipe, _why(deepest.recipe, evidence)


def worth(recipe: Recipe, evidence: Evidence) -> float:
    """How much a recipe is expected to change for the better: with falling returns of stages and of steps.

    On 500 rows of TREC, two seeds, the upper 4, 5 and 6 of MiniLM's seven stages reached 0.945, 0.938 and 0.933 in 3, 2
    and 2 epochs, all seven 0.904 in one; each took about as long. What is moved at a lower rate moves less: beside
    MiniLM the plain SqueezeNet holds both to its pace. On 500 rows of emoji, five seeds, half of the way, MiniLM moved
    alone for four epochs reached 0.835, both for one 0.811, and both for ten 0.821.
    """
    branches = [stages for branch, stages in evidence.branches.items() if branch in evidence.moving]
    free = [stages for stages in branches if stages[0].branch not in recipe.locked]
    moved = sum(1 - max(1 - recipe.depth / len(stages), 0.0) ** 2 for stages in free) / max(len(branches), 1)
    pace = recipe.lr * recipe.backbone_lr or 1.0
    return moved * pace * math.log2(1 + steps(recipe, evidence) / SOME)


def _why(recipe: Recipe, evidence: Evidence) -> str:
    whole = recipe.depth == evidence.reach(recipe.locked)
    which = "every stage" if whole else f"the upper {recipe.depth} of {evidence.reach(recipe.locked)} stages"
    if recipe.locked:
        free = " and ".join(name for name in evidence.branches if name not in recipe.locked)
        which += f" of branch {free}, which has more to gain in this time than all together"
    each = "rows" if evidence.classes <= 1 else "rows a class"
    why = f"{evidence.per_class:,.0f} training {each} are enough to move {which}"
    if recipe.strategy != "wise-ft":
        return why
    return f"{why}, and half of the way, as {evidence.rows:,} rows of {evidence.dim:,} features overfit"


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
