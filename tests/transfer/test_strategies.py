"""Which parameters each strategy trains, in its table and in a real run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from zoo import Dataset, Examples, ImageRef, Task, UnknownNameError, UsageError
from zoo.transfer.options import Training
from zoo.transfer.strategies import (
    Full,
    HeadOnly,
    LinearProbe,
    Partial,
    ProbeThenFull,
    StageRow,
    choose,
    strategy_named,
)
from zoo.verbs.config import Output
from zoo.verbs.run import Run

STAGES = (StageRow("stem"), StageRow("mid"), StageRow("top"))
TWO = (StageRow("0.stem", "0"), StageRow("0.top", "0"), StageRow("1.low", "1"), StageRow("1.mid", "1"),
       StageRow("1.top", "1"))  # fmt: skip
ALL = ["block1", "block2", "block3", "block4"]


# --- the tables


def test_probe_and_head_train_no_stage() -> None:
    (probe,) = LinearProbe().phases(STAGES)
    (head,) = HeadOnly().phases(STAGES)
    assert probe.trained(STAGES) == head.trained(STAGES) == ()
    assert (probe.solver, head.solver) == ("closed-form", "gradient")
    assert probe.lr == head.lr == {"head": 1.0}


@pytest.mark.parametrize(("count", "expected"), [(1, {"top"}), (2, {"mid", "top"}), (3, {"stem", "mid", "top"})])
def test_partial_trains_the_last_stages(count: int, expected: set[str]) -> None:
    (phase,) = Partial(count).phases(STAGES)
    assert set(phase.trained(STAGES)) == expected
    assert phase.lr["head"] == 1.0
    assert phase.lr["top"] == 0.1


def test_partial_counts_from_the_top_of_every_branch() -> None:
    (phase,) = Partial(2).phases(TWO)
    assert phase.trained(TWO) == ("0.stem", "0.top", "1.mid", "1.top")


def test_unfreezing_more_stages_than_there_are_is_full() -> None:
    assert Partial(9).phases(STAGES)[0].lr == Full().phases(STAGES)[0].lr


@pytest.mark.parametrize("count", [0, -1])
def test_unfreezing_nothing_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match=rf"--unfreeze {count} trains no stage(.|\n)*--strategy head"):
        Partial(count).phases(STAGES)


def test_full_trains_every_stage_more_slowly_than_the_head() -> None:
    (phase,) = Full(backbone_lr=0.05).phases(STAGES)
    assert phase.trained(STAGES) == ("stem", "mid", "top")
    assert phase.lr == {"stem": 0.05, "mid": 0.05, "top": 0.05, "head": 1.0}


def test_lp_ft_solves_the_head_and_then_trains_everything() -> None:
    probe, full = ProbeThenFull().phases(STAGES)
    assert (probe.solver, probe.trained(STAGES)) == ("closed-form", ())
    assert (full.solver, full.trained(STAGES)) == ("gradient", ("stem", "mid", "top"))


def test_strategies_are_had_by_name_with_their_options() -> None:
    assert strategy_named("partial", unfreeze=3, backbone_lr=0.5) == Partial(3, 0.5)
    assert strategy_named("full", backbone_lr=0.5) == Full(0.5)
    with pytest.raises(UnknownNameError, match=r"No strategy is named 'linear_probe'\. Did you mean linear-probe"):
        strategy_named("linear_probe")


def test_every_listed_strategy_can_be_had_by_name() -> None:
    for name in zoo.default_catalog().strategies:
        assert strategy_named(name).name == name


@pytest.mark.parametrize(
    ("rows", "params", "pretrained", "gpu", "linear", "expected"),
    [
        (20, 10**6, True, False, True, "linear-probe"),  # few rows a class
        (1000, 10**6, True, False, True, "lp-ft"),
        (1000, 10**8, True, False, True, "linear-probe"),  # long on a CPU
        (1000, 10**8, True, True, True, "lp-ft"),
        (1000, 10**6, False, False, True, "full"),  # nothing to keep
        (1000, 10**6, True, False, False, "head"),  # a head that cannot be solved
        (1000, 10**6, False, False, False, "full"),
    ],
)
def test_the_default_suits_the_data(
    rows: int, params: int, pretrained: bool, gpu: bool, linear: bool, expected: str
) -> None:
    found = choose(rows=rows, classes=2, params=params, pretrained=pretrained, gpu=gpu, linear=linear)
    assert found.name == expected
    assert found.reason


# --- real runs


def squares() -> Dataset:
    rng = np.random.default_rng(0)
    labels = (np.arange(48) % 2).astype(np.int64)
    arrays = [rng.integers(60 * k, 196 + 60 * k, (16, 16, 3)).astype(np.uint8) for k in labels]
    names = tuple(f"row {i}" for i in range(48))
    examples = Examples({"image": [ImageRef(n, array=a) for n, a in zip(names, arrays, strict=True)]}, labels,
                        names, names)  # fmt: skip
    splits = {"train": examples.select(range(32)), "test": examples.select(range(32, 48))}
    return Dataset("squares", Task("binary", ("dark", "bright")), splits, {"image": "image"}, fingerprint="squares")


def tuned(folder: Path, **options: object) -> Run:
    training = Training(epochs=1, batch_size=8, **options)  # type: ignore[arg-type]
    out = Output(dir=str(folder), overwrite=True)
    return zoo.finetune("starter/glyph-cnn", squares(), training=training, out=out, baseline="none")


@pytest.mark.parametrize(
    ("strategy", "unfreeze", "moved"),
    [
        ("linear-probe", 1, []),
        ("head", 1, []),
        ("partial", 1, ALL[-1:]),
        ("partial", 3, ALL[-3:]),
        ("full", 1, ALL),
        ("lp-ft", 1, ALL),
    ],
)
def test_a_run_changes_the_stages_of_its_strategy_and_not_a_bit_of_the_others(
    strategy: str, unfreeze: int, moved: list[str], tmp_path: Path
) -> None:
    run = tuned(tmp_path, strategy=strategy, unfreeze=unfreeze, lr=0.05)
    before, after = zoo.load("starter/glyph-cnn"), run.load().backbone
    assert [stage.name for stage in before.stages()] == ALL
    changed = [
        old.name
        for old, new in zip(before.stages(), after.stages(), strict=True)
        for a, b in [(torch.nn.ModuleList(old.modules).state_dict(), torch.nn.ModuleList(new.modules).state_dict())]
        if any(not torch.equal(a[name], b[name]) for name in a)
    ]
    assert changed == moved
    assert run.plan.estimate.trained == sum(
        p.numel() for stage in before.stages() if stage.name in moved for p in stage.parameters()
    ) + sum(p.numel() for p in run.load().head.parameters())


def test_lp_ft_starts_from_the_solved_probe(tmp_path: Path) -> None:
    examples = squares().splits["test"]
    probe = tuned(tmp_path, strategy="linear-probe").load().predict(examples)
    barely = tuned(tmp_path, strategy="lp-ft", lr=1e-12, optimizer="sgd", momentum=0.0).load()
    # Batch norm moves with the data in training whatever the rate; the weights do not.
    barely.backbone.load_state_dict(zoo.load("starter/glyph-cnn").state_dict())
    np.testing.assert_allclose(barely.predict(examples), probe, atol=1e-4)


def test_a_head_that_cannot_be_solved_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--head mlp cannot be solved"):
        tuned(tmp_path, strategy="lp-ft", head="mlp")
