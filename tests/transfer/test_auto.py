"""What `auto` decides, from evidence alone: no model, no data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from zoo.errors import UsageError
from zoo.transfer.auto import decide
from zoo.transfer.budget import budget_seconds
from zoo.transfer.contest import Contest, Tried, contest, final_epochs, trial_seconds, winner
from zoo.transfer.evidence import Costs, Evidence, Probed, StageSeen
from zoo.transfer.options import Training
from zoo.transfer.recipes import Given, Recipe, epoch_seconds, epochs_within, rates, seconds_of, steps, training_seconds

COSTS = Costs(
    opening=3, looking=2, extracting=10, measuring=1, solving=5, reading=1, forward=10, backward=20, update=10
)
STAGES = tuple(StageSeen(f"stage{i}", "", time=0.25, params=0.25) for i in range(4))
EVIDENCE = Evidence(
    rows=2000,
    classes=4,
    dim=512,
    params=10_000_000,
    pretrained=True,
    solvable=True,
    optimizer="adamw",
    epochs=5,
    batch_size=16,
    costs=COSTS,
    probe=Probed("accuracy", 0.85, 0.83, 0.25),
    stages=STAGES,
)
PLAIN = tuple(StageSeen(f"0.block{i}", "0", time=0.2, params=0.1, normalised=False) for i in range(4))
TEXT = tuple(StageSeen(f"1.layer{i}", "1", time=0.2 / 6, params=0.1) for i in range(6))
TWO = replace(EVIDENCE, stages=(*PLAIN, *TEXT), replays=True)
"""A slow network without normalisation beside a fast one with it."""
SECONDS = st.floats(0.01, 500)
COST = st.builds(Costs, **dict.fromkeys(asdict(COSTS), SECONDS))
ANY = st.builds(
    Evidence,
    rows=st.integers(20, 100_000),
    classes=st.integers(1, 50),
    dim=st.integers(8, 4096),
    params=st.integers(1, 10**9),
    pretrained=st.booleans(),
    solvable=st.booleans(),
    optimizer=st.sampled_from(["sgd", "adamw"]),
    epochs=st.integers(1, 10),
    batch_size=st.sampled_from([8, 32]),
    replays=st.booleans(),
    costs=COST,
    probe=st.none() | st.builds(Probed, st.just("accuracy"), *[st.floats(0, 1)] * 3),
    stages=st.integers(1, 8).map(lambda n: tuple(StageSeen(f"s{i}", "", 1 / n, 1 / n) for i in range(n)))
    | st.just(TWO.stages),
)


def over(*drawers: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A law, on so many examples as take a fraction of a second."""
    return lambda law: settings(max_examples=40)(drawn(*drawers)(law))


@over(ANY, st.floats(1.5, 20))
def test_what_moves_a_pretrained_backbone_fits_into_the_limit(evidence: Evidence, times: float) -> None:
    evidence = replace(evidence, pretrained=True, solvable=True)
    recipe = decide(evidence, times=times).recipe
    costs = evidence.costs
    if recipe.depth:
        spent = costs.opening + costs.looking + costs.extracting + costs.solving
        assert spent + seconds_of(recipe, evidence) <= times * costs.probe * (1 + 1e-9)


@over(ANY)
def test_a_choice_is_among_what_was_considered_and_says_its_reason(evidence: Evidence) -> None:
    decision = decide(evidence)
    assert decision.recipe.strategy in {each.recipe.strategy for each in decision.considered} | {"linear-probe", "full"}
    assert decision.why.startswith(f"auto takes {decision.recipe}: ")
    assert 1 <= decision.recipe.epochs <= evidence.epochs or decision.recipe.strategy == "linear-probe"
    json.dumps(decision.to_json(), allow_nan=False)


def test_with_time_to_spare_everything_is_trained_from_a_solved_head() -> None:
    decision = decide(EVIDENCE, times=100)
    assert (decision.recipe.strategy, decision.recipe.depth, decision.recipe.epochs) == ("lp-ft", 4, 5)


def test_with_less_time_fewer_stages_or_epochs_are_trained() -> None:
    whole, short = decide(EVIDENCE, times=100).recipe, decide(EVIDENCE, times=4).recipe
    assert short.depth < whole.depth or short.epochs < whole.epochs
    assert short.depth > 0


def test_without_time_for_one_epoch_of_the_last_stage_the_probe_is_taken() -> None:
    slow = replace(EVIDENCE, costs=replace(COSTS, forward=1000))
    decision = decide(slow)
    assert decision.recipe == Recipe("linear-probe")
    assert "would take longer" in decision.why


def test_two_hundred_rows_go_half_of_the_way() -> None:
    decision = decide(replace(EVIDENCE, rows=200), times=1000)
    assert decision.recipe.strategy == "wise-ft"


def test_batches_get_smaller_where_steps_would_be_few_unless_they_were_given() -> None:
    few = replace(EVIDENCE, rows=600, batch_size=32)
    recipe = decide(few, Given(epochs=2), times=100).recipe
    assert recipe.batch_size == 8
    assert decide(few, Given(epochs=2, batch_size=32), times=100).recipe.batch_size == 0
    assert decide(few, Given(epochs=5), times=100).recipe.batch_size == 16
    assert steps(decide(few, Given(epochs=5), times=100).recipe, few) >= 100


def test_with_fewer_rows_than_features_training_goes_half_of_the_way_from_the_solved_head() -> None:
    decision = decide(replace(EVIDENCE, rows=1000, dim=1024), times=100)
    assert decision.recipe.strategy == "wise-ft"
    assert "half of the way, as 1,000 rows of 1,024 features overfit" in decision.why
    partly = decide(replace(EVIDENCE, rows=1000, dim=1024), times=4).recipe
    assert (partly.strategy, partly.options) == ("wise-ft", {"stages": partly.depth} if partly.depth < 4 else {})
    assert decide(replace(EVIDENCE, rows=1000, dim=512), times=100).recipe.strategy == "lp-ft"
    assert decide(replace(EVIDENCE, rows=2000, dim=4096), times=100).recipe.strategy == "lp-ft"


def test_of_two_backbones_the_one_that_gains_more_in_the_time_is_moved_alone() -> None:
    decision = decide(TWO, times=4)
    assert decision.recipe.locked == ("0",)
    assert "of branch 1, which has more to gain in this time" in decision.why
    assert "freeze 0" in str(decision.recipe)
    assert decision.recipe.applied(Training(freeze=("1.layer0",))).freeze == ("1.layer0", "0")
    # Both move where both do so at the same pace and there is time.
    alike = tuple(replace(stage, normalised=True) for stage in TWO.stages)
    assert decide(replace(TWO, stages=alike), times=100).recipe.locked == ()
    assert decide(replace(TWO, stages=alike), times=100).recipe.depth == 6


def test_a_branch_that_never_runs_or_is_frozen_is_no_choice() -> None:
    idle = tuple(replace(stage, time=0.0) if stage.branch == "0" else stage for stage in TWO.stages)
    frozen = replace(TWO, frozen=tuple(stage.name for stage in PLAIN))
    assert TWO.locks == [(), ("1",), ("0",)]
    assert replace(TWO, stages=idle).locks == frozen.locks == [()]
    assert {stage.branch for stage in frozen.top(2)} == {"1"}
    # What moves at all sets the rate: the plain network is frozen, so the other learns at its own.
    assert math.prod(rates(TWO)) == pytest.approx(3e-5, rel=0.06)
    still = tuple(replace(stage, params=0.0) if stage.branch == "0" else stage for stage in TWO.stages)
    assert math.prod(rates(replace(TWO, stages=still))) == pytest.approx(1e-4, rel=0.06)
    assert math.prod(rates(frozen)) == math.prod(rates(TWO, locked=("0",))) == pytest.approx(1e-4, rel=0.06)


def test_a_locked_branch_is_replayed_even_where_every_other_stage_learns() -> None:
    first, later = epoch_seconds(Recipe("lp-ft", 6, 2, locked=("0",)), TWO)
    assert first == pytest.approx(1 + 10 + 0.2 * 20 + 0.6 * 10 + 1)
    assert later == pytest.approx(0.2 * 11 + 0.2 * 20 + 0.6 * 10)


def test_a_locked_branch_sees_two_versions_of_what_is_augmented_and_these_are_kept() -> None:
    drawn = replace(TWO, replays=False, augmented=("0",))
    recipe = decide(drawn, Given(epochs=5), times=100).recipe
    assert (recipe.locked, recipe.views) == (("0",), 2)
    assert recipe.applied(Training(strategy="auto")).views == 2
    first, later = epoch_seconds(recipe, drawn)
    assert later < first
    assert training_seconds(recipe, drawn) == pytest.approx(2 * first + 3 * later)
    assert epochs_within(recipe, drawn, 2 * first + 3 * later + 1e-6) == 5
    assert epochs_within(recipe, drawn, 1.5 * first) == 1
    assert epochs_within(recipe, drawn, 0.5 * first) == 0
    # Not where the other branch is locked, nor for fewer epochs than versions.
    assert {each.recipe.views for each in decide(drawn).considered if each.recipe.locked != ("0",)} == {0}
    assert replace(recipe, epochs=2).applied(Training(strategy="auto")).views is None
    assert contest(drawn, Given(), 100_000, 20).recipes[0].views == 2


def test_branches_alone_compete_with_all_together() -> None:
    made = contest(TWO, Given(), 100_000, 20)
    assert made.recipes[0].locked == ("0",)
    assert {each.locked for each in made.recipes if each.strategy == "lp-ft"} == {(), ("0",), ("1",)}
    assert {each.locked for each in made.recipes if each.strategy == "full"} == {("0",)}


def test_few_rows_a_class_leave_the_backbone_alone() -> None:
    decision = decide(replace(EVIDENCE, rows=40), times=1000)
    assert decision.recipe.strategy == "linear-probe"
    assert "10 training rows a class are too few" in decision.why


def test_a_perfect_probe_leaves_nothing_to_gain() -> None:
    perfect = replace(EVIDENCE, probe=Probed("accuracy", 0.999, 0.998, 0.25))
    assert decide(perfect, times=1000).recipe.strategy == "linear-probe"


def test_random_weights_are_trained_throughout() -> None:
    recipe = decide(replace(EVIDENCE, pretrained=False)).recipe
    assert (recipe.strategy, recipe.epochs, recipe.backbone_lr) == ("full", 5, 1.0)


def test_a_head_that_is_trained_gets_partial_instead_of_a_solved_start() -> None:
    recipe = decide(replace(EVIDENCE, solvable=False), times=4).recipe
    assert recipe.strategy in ("partial", "full")
    assert recipe.strategy == "full" or recipe.unfreeze == recipe.depth


def test_what_the_user_fixed_stays() -> None:
    recipe = decide(EVIDENCE, Given(epochs=2, lr=0.02, backbone_lr=0.5), times=100).recipe
    assert (recipe.epochs, recipe.lr, recipe.backbone_lr) == (2, 0.02, 0.5)


@over(st.integers(8, 8192))
def test_the_rate_of_a_head_falls_with_its_width_under_adam_and_the_backbones_step_stays(dim: int) -> None:
    narrow, wide = rates(replace(EVIDENCE, dim=dim)), rates(replace(EVIDENCE, dim=4 * dim))
    assert wide[0] <= narrow[0]
    assert narrow[0] * narrow[1] == pytest.approx(1e-4, rel=0.06)  # each is rounded to two digits


def test_a_recipe_becomes_training_options() -> None:
    training = Recipe("lp-ft", 2, 3, 0.002, 0.05, {"stages": 2}).applied(Training(strategy="auto", seed=7))
    assert (training.strategy, training.epochs, training.lr, training.seed) == ("lp-ft", 3, 0.002, 7)
    assert training.strategy_options == {"stages": 2}
    assert Recipe("linear-probe").applied(Training(strategy="auto")).epochs is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1h", 3600), ("1h30m", 5400), ("1.5m", 90), ("2M 5S", 125)]
)
def test_a_budget_is_a_time_with_units(text: str, seconds: float) -> None:
    assert budget_seconds(text) == seconds


@pytest.mark.parametrize("text", ["5", "", "soon", "m5", "-5m", "5m5m", "nan s"])
def test_a_budget_without_a_unit_says_how_to_write_it(text: str) -> None:
    with pytest.raises(UsageError, match="is no time") as caught:
        budget_seconds(text)
    assert "5m" in str(caught.value.help)


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="no time at all"):
        budget_seconds("0s")


def test_a_budget_does_not_go_with_a_strategy_of_ones_own() -> None:
    with pytest.raises(UsageError, match="--strategy full was given"):
        Training(strategy="full", budget="5m")
    assert Training(strategy="auto", budget="5m").budget == "5m"


@over(ANY, st.floats(1, 10_000), st.floats(0, 100))
def test_a_contest_leaves_rows_to_judge_and_time_for_the_winner(
    evidence: Evidence, budget: float, spent: float
) -> None:
    made = contest(evidence, Given(), budget, spent)
    assert 1 <= made.rows <= evidence.rows - made.judges
    assert 1 <= len(made.recipes) <= 10
    assert len(made.recipes) == len({str(each) for each in made.recipes})
    assert spent <= made.until <= max(budget, spent) + 1e-9
    assert Contest.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_with_time_every_trial_has_all_rows_but_those_that_judge() -> None:
    made = contest(EVIDENCE, Given(), 100_000, 20)
    assert made.rows + made.judges == EVIDENCE.rows
    assert {"lp-ft", "full", "linear-probe", "layer-decay", "lora"} <= {each.strategy for each in made.recipes}


def test_with_less_time_trials_have_fewer_rows_then_fewer_recipes() -> None:
    rich, poor = contest(EVIDENCE, Given(), 100_000, 20), contest(EVIDENCE, Given(), 300, 20)
    assert poor.rows < rich.rows
    assert len(poor.recipes) <= len(rich.recipes)
    spending = [trial_seconds(each, EVIDENCE, poor.rows, poor.judges) for each in poor.recipes]
    assert spending[0] < poor.until - 20


def test_what_competes_for_few_epochs_has_smaller_batches() -> None:
    few = replace(EVIDENCE, rows=600, batch_size=32)
    first = contest(few, Given(), 350, 20).recipes[0]
    assert (first.epochs, first.batch_size) == (5, 16)
    assert steps(first, few) >= 100
    assert contest(few, Given(batch_size=32), 350, 20).recipes[0].batch_size == 0
    assert contest(few, Given(), 10_000, 20).recipes[0].batch_size == 16  # 5 epochs of 32 rows are 95 steps


def test_without_time_there_is_nothing_to_search() -> None:
    assert len(contest(EVIDENCE, Given(), 21, 20).recipes) == 1


def test_few_rows_a_class_put_the_probe_first() -> None:
    first = contest(replace(EVIDENCE, rows=16 * EVIDENCE.classes), Given(), 1000, 10).recipes[0]
    assert first.strategy == "linear-probe"


def test_with_fewer_rows_than_features_what_competes_goes_half_of_the_way() -> None:
    entered = {each.strategy for each in contest(replace(EVIDENCE, rows=1000, dim=1024), Given(), 10_000, 10).recipes}
    assert "wise-ft" in entered
    assert "lp-ft" not in entered


def test_the_best_wins_unless_an_earlier_one_is_hardly_worse() -> None:
    # 0.92 of 100 rows has a standard error of 0.027, so 0.91 is hardly worse and 0.90 is.
    assert winner([Tried(0, 0.91, True), Tried(1, 0.92, True)], 100, share=True) == 0
    assert winner([Tried(0, 0.90, True), Tried(1, 0.92, True)], 100, share=True) == 1
    assert winner([Tried(0, 0.91, True), Tried(1, 0.92, True)], 100, share=False) == 1


def test_what_was_pruned_wins_only_where_nothing_else_ended() -> None:
    assert winner([Tried(0, 0.5, True), Tried(1, 0.9, False)], 100, share=True) == 0
    assert winner([Tried(0, None, False), Tried(1, 0.9, False)], 100, share=True) == 1
    assert winner([Tried(0, None, False)], 100, share=True) is None


@over(ANY, st.floats(0, 1000), st.floats(0.5, 5))
def test_the_winner_trains_for_no_longer_than_is_left(evidence: Evidence, left: float, slower: float) -> None:
    recipe = Recipe("lp-ft", evidence.depth, evidence.epochs, 1e-3, 0.1)
    epochs = final_epochs(recipe, evidence, Given(), left, slower)
    assert epochs <= evidence.epochs
    assert epochs <= 0 or slower * seconds_of(replace(recipe, epochs=epochs), evidence) <= left


def test_an_epoch_costs_more_the_more_stages_learn() -> None:
    seconds = [epoch_seconds(Recipe("partial", depth, 1), EVIDENCE)[0] for depth in range(5)]
    assert seconds == sorted(seconds)
    assert math.isclose(seconds[4] - seconds[0], COSTS.backward + COSTS.update)


def test_what_frozen_stages_compute_is_paid_for_once() -> None:
    replaying = replace(EVIDENCE, replays=True)
    first, later = epoch_seconds(Recipe("partial", 1, 2), replaying)
    assert (first, later) == (1 + 10 + 5 + 2.5 + 1, 0.25 * 11 + 5 + 2.5)
    assert len(set(epoch_seconds(Recipe("full", 4, 2), replaying))) == 1


def test_evidence_survives_json() -> None:
    assert Evidence.from_json(json.loads(json.dumps(asdict(EVIDENCE)))) == EVIDENCE
