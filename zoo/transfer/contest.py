"""Who competes within a time budget, on how many rows, and who wins. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from zoo.transfer.auto import FEW, worth
from zoo.transfer.evidence import Evidence
from zoo.transfer.recipes import (
    Given,
    Recipe,
    epochs_within,
    in_small_batches,
    rates,
    seconds_of,
    training_seconds,
    views_of,
    warm,
)

FINAL = 0.6
"""Share of the budget that the training of the winner may have; what it does not need goes to the search."""
SAFETY = 0.85
"""Share of what is left that is planned for: a shared machine is never as fast as it was when it was timed."""
HELD = 0.2
"""Share of the training rows that judges trials."""
JUDGES = 1_000
"""Rows that judge trials, at most."""
ENTERED = 10
"""Recipes that compete, at most."""
WORTH_IT = 3
"""Recipes from which a search is worth its time: of two the first is nearly always as good, trained for longer."""
TRIED = 0.5
"""Share of its epochs that a trial takes on average before it is pruned or done."""
REDUCTION = 3
"""Of the trials that reach an epoch 1, 3, 9, ... the best of each three go on (Li et al. 2018,
https://arxiv.org/abs/1810.05934)."""


@dataclass(frozen=True)
class Contest:
    """Recipes and the terms on which they compete, fixed before the first trial."""

    recipes: tuple[Recipe, ...]
    """The one that would be taken without a search first."""
    rows: int
    """Training rows of a trial."""
    judges: int
    """Other training rows, which judge it."""
    until: float
    """Seconds since the run began at which the search ends."""
    budget: float
    """Seconds for everything."""

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` gave, by way of JSON."""
        recipes = (Recipe(**{**each, "locked": tuple(each["locked"])}) for each in value["recipes"])
        return cls(**{**value, "recipes": tuple(recipes)})


def contest(evidence: Evidence, given: Given, budget: float, spent: float) -> Contest:
    """Recipes that can be trained on all rows within their share of the budget, and trials that fit into the rest.

    Args:
        evidence: of the data, the backbone and this machine.
        given: what the user fixed.
        budget: seconds for everything.
        spent: of these, so far.
    """
    left = max(SAFETY * (budget - spent) - evidence.costs.measuring, 0.0)
    whole = Recipe("full", evidence.depth, given.epochs or evidence.epochs)
    final = min(training_seconds(whole, evidence), FINAL * left)
    recipes = [timed for each in _entries(evidence, given) if (timed := _within(each, evidence, given, final))]
    if not recipes:  # a head that cannot be solved, and no time for one epoch of any: it takes longer than that
        recipes = [replace(each, epochs=given.epochs or 1) for each in _entries(evidence, given)][:1]
    judges = max(min(round(HELD * evidence.rows), JUDGES), 1)
    search = left - final
    least = min(max(FEW * evidence.classes, 256), evidence.rows - judges)
    entered = _first(recipes, ENTERED)
    while True:
        rows = _rows(entered, evidence, judges, search)
        if rows >= least or len(entered) < WORTH_IT:
            break
        entered = entered[:-1]
    if rows < least or len(entered) < min(WORTH_IT, len(recipes)):
        first = next(_entries(evidence, given))
        entered, rows = [_within(first, evidence, given, left) or entered[0]], least
    return Contest(tuple(entered), max(min(rows, evidence.rows - judges), 1), judges, spent + search, budget)


def trial_seconds(recipe: Recipe, evidence: Evidence, rows: int, judges: int) -> float:
    """A whole trial, predicted."""
    costs, share = evidence.costs, rows / evidence.rows
    fewer = replace(
        costs,
        reading=share * costs.reading,
        forward=share * costs.forward,
        backward=share * costs.backward,
        update=share * costs.update,
        measuring=judges * costs.extracting / evidence.rows,
    )
    return seconds_of(recipe, replace(evidence, costs=fewer, shown=1.0))


@dataclass(frozen=True)
class Tried:
    """How a trial ended."""

    index: int
    """Of its recipe."""
    score: float | None
    """Greater is better; None: it did not get so far."""
    whole: bool
    """Whether it was neither pruned nor stopped."""


def winner(tried: Sequence[Tried], judges: int, *, share: bool) -> int | None:
    """The recipe with the best score, or an earlier one that is hardly worse: the judging rows are few.

    Of recipes within half a standard error of the best the first is taken, which more data were the reason for.

    Args:
        tried: ended trials; those that were pruned cannot win while any other has ended.
        judges: rows that judged.
        share: whether scores are shares of rows, such as accuracy.

    Returns:
        The index of its recipe; None where no trial has a score.
    """
    scored = [(each.index, each.score, each.whole) for each in tried if each.score is not None]
    running = [(index, score) for index, score, whole in scored if whole] or [(i, score) for i, score, _ in scored]
    if not running:
        return None
    best = max(score for _, score in running)
    error = math.sqrt(max(best * (1 - best), 0.0) / max(judges, 1)) if share else 0.0
    return min(index for index, score in running if score >= best - 0.5 * error)


def final_epochs(recipe: Recipe, evidence: Evidence, given: Given, left: float, slower: float) -> int:
    """Epochs of the winner on all rows in what is left; 0: not even one.

    Args:
        recipe: the winner.
        evidence: with the costs as predicted.
        given: what the user fixed.
        left: seconds.
        slower: how many times longer than predicted the trials took.
    """
    if not recipe.epochs:
        return 0
    room = SAFETY * left / slower - seconds_of(replace(recipe, epochs=0), evidence)
    return min(given.epochs or evidence.epochs, epochs_within(recipe, evidence, room))


def _entries(evidence: Evidence, given: Given) -> Iterator[Recipe]:
    # Of several branches those are left as they are whose rest is worth most, were it trained to the end.
    locked = max(_warm(evidence, given), key=lambda each: worth(each, evidence), default=Recipe("")).locked
    lr, backbone_lr = rates(evidence, given, locked)
    depth = evidence.reach(locked)
    half = max(depth // 2, 1)
    epochs = given.epochs or evidence.epochs
    faster = 1.0 if given.lr is not None or given.backbone_lr is not None else 3.0
    solved = warm(evidence)

    def recipe(name: str, top: int, rate: float = 1.0, **options: float) -> Recipe:
        below = float(f"{backbone_lr * rate:.2g}")
        unfreeze, views = top if name == "partial" else 1, views_of(evidence, locked)
        return Recipe(name, top, epochs, lr, below, options, unfreeze, locked=locked, views=views)

    probe = [Recipe("linear-probe")] if evidence.solvable else [recipe("head", 0)]
    if evidence.params == 0:
        yield from probe
        return
    few = evidence.per_class <= FEW
    if few:
        yield from probe
    yield recipe(solved or "full", depth)
    if half < depth:
        yield recipe(solved, half, stages=half) if solved else recipe("partial", half)
    if not few:
        yield from probe
    yield from (each for each in _warm(evidence, given) if each.locked != locked)
    yield recipe("layer-decay", depth)
    yield recipe("gradual-unfreezing", depth)
    if solved:
        yield recipe("full", depth)
    if faster > 1:
        yield recipe(solved or "full", depth, faster)
        if half < depth:
            yield recipe(solved, half, faster, stages=half) if solved else recipe("partial", half, faster)
    yield replace(recipe("lora", depth), backbone_lr=0.0)
    if half > 1:
        yield recipe(solved, 1, stages=1) if solved else recipe("partial", 1)


def _warm(evidence: Evidence, given: Given) -> list[Recipe]:
    """From a solved head everything, or one branch alone; none where no head can be solved."""
    solved = warm(evidence)
    if solved is None:
        return []
    epochs = given.epochs or evidence.epochs
    return [
        Recipe(
            solved,
            evidence.reach(each),
            epochs,
            *rates(evidence, given, each),
            locked=each,
            views=views_of(evidence, each),
        )
        for each in evidence.locks
    ]


def _within(recipe: Recipe, evidence: Evidence, given: Given, final: float) -> Recipe | None:
    """With as many epochs as its share of the time allows; None where that is none."""
    if not recipe.epochs:
        return recipe
    most = recipe.epochs
    found = in_small_batches(
        recipe, evidence, given, lambda each: min(most, epochs_within(each, evidence, final * 1.001))
    )
    return found if found.epochs >= (given.epochs or 1) else None


def _first(recipes: Sequence[Recipe], count: int) -> list[Recipe]:
    """Without those that are the same."""
    found: list[Recipe] = []
    for each in recipes:
        if each not in found:
            found.append(each)
    return found[:count]


def _rows(recipes: Sequence[Recipe], evidence: Evidence, judges: int, seconds: float) -> int:
    """Training rows of a trial with which the first takes all its epochs and the others their usual share."""
    most = evidence.rows - judges

    def cost(rows: int) -> float:
        each = [trial_seconds(recipe, evidence, rows, judges) for recipe in recipes]
        return sum(each[:1]) + TRIED * sum(each[1:])

    fixed, whole = cost(0), cost(most)
    if whole <= seconds:
        return most
    return int(most * max(seconds - fixed, 0.0) / max(whole - fixed, 1e-9))
