"""Tables of the strategies that treat stages by their height, and options by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo import UnknownNameError, UsageError
from zoo.transfer.layered import ChainThaw, GradualUnfreezing, LayerDecay
from zoo.transfer.strategies import StageRow, strategy_named

STAGES = tuple(StageRow(name) for name in ("stem", "one", "two", "three", "four", "top"))
TOWERS = (StageRow("image.low", "image"), StageRow("image.top", "image"), StageRow("text.only", "text"))


def test_layer_decay_gives_each_stage_a_share_of_the_rate_above_it() -> None:
    (phase,) = LayerDecay(backbone_lr=0.4, decay=0.5).phases(STAGES[-3:])
    assert phase.lr == {"three": 0.1, "four": 0.2, "top": 0.4, "head": 1.0}


def test_layer_decay_counts_from_the_top_of_every_branch() -> None:
    (phase,) = LayerDecay(backbone_lr=1.0, decay=0.5).phases(TOWERS)
    assert phase.lr == {"image.low": 0.5, "image.top": 1.0, "text.only": 1.0, "head": 1.0}


def test_gradual_unfreezing_begins_with_the_head_and_ends_with_everything() -> None:
    phases = GradualUnfreezing(groups=3).phases(STAGES)
    assert [phase.trained(STAGES) for phase in phases] == [
        (),
        ("four", "top"),
        ("two", "three", "four", "top"),
        ("stem", "one", "two", "three", "four", "top"),
    ]
    assert all(phase.lr["head"] == 1.0 for phase in phases)


def test_chain_thaw_trains_each_part_alone_from_the_bottom_up() -> None:
    head, *alone, every = ChainThaw(groups=2).phases(STAGES)
    assert head.lr == {"head": 1.0}
    assert [phase.trained(STAGES) for phase in alone] == [("stem", "one", "two"), ("three", "four", "top")]
    assert all("head" not in phase.lr for phase in alone)
    assert every.trained(STAGES) == tuple(stage.name for stage in STAGES)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=3), st.integers(1, 8))
def test_every_stage_is_in_one_group_and_the_lowest_of_a_branch_come_first(sizes: list[int], groups: int) -> None:
    rows = [StageRow(f"{branch}.{place}", str(branch)) for branch, size in enumerate(sizes) for place in range(size)]
    _, *alone, _ = ChainThaw(groups=groups).phases(rows)
    order = [name for phase in alone for name in phase.lr]
    assert sorted(order) == sorted(row.name for row in rows)
    assert len(alone) <= groups
    for branch, size in enumerate(sizes):
        places = [int(name.split(".")[1]) for name in order if name.startswith(f"{branch}.")]
        assert places == list(range(size))


def test_options_reach_the_strategy_and_strange_ones_are_refused() -> None:
    assert strategy_named("layer-decay", options={"decay": 0.5}) == LayerDecay(0.1, 0.5)
    assert strategy_named("chain-thaw", backbone_lr=0.2, options={"groups": 4.0}) == ChainThaw(0.2, 4)
    with pytest.raises(UnknownNameError, match=r"No strategy option is named 'rank'(.|\n)*layer-decay has decay"):
        strategy_named("layer-decay", options={"rank": 4})
    with pytest.raises(UnknownNameError, match=r"'decay'(.|\n)*full has none"):
        strategy_named("full", options={"decay": 0.5})
    with pytest.raises(UsageError, match=r"groups=2\.5 is no whole number"):
        strategy_named("chain-thaw", options={"groups": 2.5})


@pytest.mark.parametrize("decay", [0.0, 1.5])
def test_a_decay_outside_of_its_range_is_refused(decay: float) -> None:
    with pytest.raises(UsageError, match="is outside"):
        LayerDecay(decay=decay)


@pytest.mark.parametrize("kind", [GradualUnfreezing, ChainThaw])
def test_no_group_at_all_is_refused(kind: type[GradualUnfreezing] | type[ChainThaw]) -> None:
    with pytest.raises(UsageError, match="groups 0 is below 1"):
        kind(groups=0).phases(STAGES)
