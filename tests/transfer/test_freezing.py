"""`--freeze`: stages and branches that no strategy trains, in tables and in real runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import zoo
from zoo import UnknownNameError, UsageError
from zoo.transfer.freezing import frozen_stages, phases_of
from zoo.transfer.layered import ChainThaw, GradualUnfreezing
from zoo.transfer.options import Training
from zoo.transfer.strategies import Full, ProbeThenFull, StageRow
from zoo.verbs.config import Output

STAGES = (StageRow("stem"), StageRow("layer1"), StageRow("layer2"), StageRow("layer10"))
TWO = (StageRow("0.image.stem", "0.image"), StageRow("0.text.stem", "0.text"), StageRow("1.low", "1"),
       StageRow("1.top", "1"), StageRow("10.top", "10"))  # fmt: skip
ROWS = zoo.ReadOptions(limit=100)


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        ((), set()),
        (("stem",), {"stem"}),
        (("layer1",), {"layer1"}),
        (("layer*", "stem"), None),
        (("layer[12]",), {"layer1", "layer2"}),
        (("layer?", "layer2"), {"layer1", "layer2"}),
    ],
)
def test_stages_are_meant_by_name_or_pattern(names: tuple[str, ...], meant: set[str] | None) -> None:
    if meant is None:
        with pytest.raises(UsageError, match=r"--freeze layer\*,stem leaves no stage to train"):
            frozen_stages(names, STAGES)
    else:
        assert frozen_stages(names, STAGES) == meant


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("0", {"0.image.stem", "0.text.stem"}),
        ("0.text", {"0.text.stem"}),
        ("1", {"1.low", "1.top"}),
        ("1.top", {"1.top"}),
        ("*.stem", {"0.image.stem", "0.text.stem"}),
    ],
)
def test_a_branch_or_a_part_is_meant_by_its_name(name: str, meant: set[str]) -> None:
    assert frozen_stages([name], TWO) == meant


def test_a_name_that_means_nothing_is_refused_with_those_that_do() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean layer") as caught:
        frozen_stages(["stem", "layer3"], STAGES)
    assert "stem, layer1, layer2, layer10" in str(caught.value.help)


def test_a_strategy_keeps_its_table_for_the_rest() -> None:
    (phase,) = phases_of(Full(0.2), TWO, frozenset({"0.image.stem", "1.low"}))
    assert phase.lr == {"0.text.stem": 0.2, "1.top": 0.2, "10.top": 0.2, "head": 1.0}
    assert phases_of(ProbeThenFull(), STAGES, frozenset()) == ProbeThenFull().phases(STAGES)


def test_a_phase_of_frozen_stages_alone_gives_its_epochs_to_the_others() -> None:
    whole = ChainThaw(groups=4).phases(STAGES)
    left = phases_of(ChainThaw(groups=4), STAGES, frozenset({"stem", "layer1"}))
    assert [phase.name for phase in left] == ["head", "group 3 of 4", "group 4 of 4", "all"]
    assert sum(phase.share for phase in left) == pytest.approx(sum(phase.share for phase in whole)) == pytest.approx(1)
    assert left[-1].lr == {"layer2": 0.1, "layer10": 0.1, "head": 1.0}
    # A phase with the head has something to train whatever is frozen.
    assert len(phases_of(GradualUnfreezing(), STAGES, frozenset({"layer10"}))) == 4


@pytest.mark.parametrize("strategy", ["full", "lp-ft", "chain-thaw", "surgical", "lora", "bitfit"])
def test_a_run_leaves_not_a_bit_of_what_is_frozen_changed(strategy: str, tmp_path: Path) -> None:
    training = Training(strategy=strategy, freeze=("block2", "block4"), epochs=1, lr=0.01, device="cpu")
    run = zoo.finetune("starter/glyph-cnn", "sklearn:digits", training=training, read=ROWS, baseline="none",
                       out=Output(dir=str(tmp_path)))  # fmt: skip
    before, after = (
        {stage.name: torch.nn.ModuleList(stage.modules).state_dict() for stage in backbone.stages()}
        for backbone in (zoo.load("starter/glyph-cnn"), run.load().backbone)
    )
    moved = [name for name in before if any(not torch.equal(before[name][k], after[name][k]) for k in before[name])]
    assert moved
    assert set(moved) <= {"block1", "block3"}
    if strategy != "surgical":  # it moves a single stage
        assert moved == ["block1", "block3"]
    assert {name for phase in run.plan.phases for name in phase.lr} <= {"block1", "block3", "head", "adapters"}
    # A resumed run, and one from its configuration, are the same run.
    assert "block2" in (run.path / "config.yaml").read_text()


def test_a_frozen_branch_of_two_stays_and_the_other_learns(tmp_path: Path) -> None:
    name = "starter/glyph-cnn+starter/gru"
    training = Training(strategy="lp-ft", freeze=("0",), epochs=2, lr=0.01, device="cpu")
    run = zoo.finetune(name, "builtin:numerals", training=training, read=zoo.ReadOptions(limit=120),
                       baseline="none", out=Output(dir=str(tmp_path)))  # fmt: skip
    assert any(note.startswith("0.block4") or "0.block4" in note for note in run.plan.notes), run.plan.notes
    before, after = (backbone.state_dict() for backbone in (zoo.load(name), run.load().backbone))
    moved = {key.split(".")[1] for key in before if not torch.equal(before[key], after[key])}
    assert moved == {"1"}


def test_everything_frozen_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    training = Training(strategy="full", freeze=("block*",), device="cpu")
    with pytest.raises(UsageError, match=r"leaves no stage to train(.|\n)*--strategy linear-probe"):
        zoo.finetune("starter/glyph-cnn", "sklearn:digits", training=training, read=ROWS, out=Output(dir=str(tmp_path)))


def test_auto_keeps_what_is_frozen_and_says_what_it_moves(tmp_path: Path) -> None:
    training = Training(strategy="auto", freeze=("block1",), epochs=1, device="cpu")
    run = zoo.finetune("starter/glyph-cnn", "sklearn:digits", training=training, read=zoo.ReadOptions(limit=300),
                       baseline="none", out=Output(dir=str(tmp_path)))  # fmt: skip
    assert all("block1" not in phase.lr for phase in run.plan.phases)
    assert run.choice is not None
    assert run.choice["seen"]["frozen"] == ("block1",) or run.choice["seen"]["frozen"] == ["block1"]
