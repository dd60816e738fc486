"""Two processes that share the weights train as one with all of them, and what they write is what one would write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from launching import ACCELERATE, Runs, apart, launch, steps, write_texts
from safetensors.torch import load_file
from torch import nn

import zoo
from zoo.catalog.spec import ImagePreprocess
from zoo.cli.launched import asked_for_fsdp
from zoo.data.types import ReadOptions
from zoo.errors import UnknownNameError, UsageError
from zoo.models.backbone import Inputs
from zoo.models.wrap import wrap
from zoo.transfer.options import Training
from zoo.transfer.sharding import units_of
from zoo.transfer.team import working
from zoo.verbs.config import Output
from zoo.verbs.finetune import resume
from zoo.verbs.run import Interrupted

CNN = Training(strategy="full", epochs=1, batch_size=25, optimizer="sgd", lr=0.05, save_every=3, accumulate=2)
WORDS = Training(
    strategy="full",
    epochs=2,
    batch_size=16,
    optimizer="sgd",
    lr=0.05,
    ema=0.9,
    early_stop=2,
    save_every=1,
    clip_norm=0.1,
)
ROUNDED = 1e-4
"""As in test_distributed."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All commands of this file."""
    folder = tmp_path_factory.mktemp("runs")
    write_texts(folder / "texts.csv")
    (folder / "few.csv").write_text("text,label\none,a\ntwo words,b\nthree short words,a\n", encoding="utf-8")

    def one(name: str, backbone: str, data: str, training: Training, **more: Any) -> None:
        out = Output(dir=str(folder / "runs"), name=name)
        zoo.finetune(backbone, data, training=training, baseline="none", device="cpu", out=out, **more)

    one("cnn", "starter/glyph-cnn", "sklearn:digits", CNN, read=ReadOptions(limit=100))
    one("words", "starter/gru", str(folder / "texts.csv"), WORDS)
    asked = iter([False, *[True] * 20])
    stop: Callable[[], bool] = lambda: next(asked)  # noqa: E731
    with pytest.raises(Interrupted, match="stopped at step 2"):
        one("begun", "starter/gru", str(folder / "texts.csv"), WORDS, stop=stop)
    done = launch(
        ACCELERATE,
        "extract starter/text-transformer texts.csv --level tokens -o two.npy",
        "extract starter/text-transformer few.csv -o spread.npy --parallel fsdp",
        "finetune starter/glyph-cnn sklearn:digits --strategy full --epochs 1 --batch-size 25 --optimizer sgd --lr 0.05"
        " --save-every 3 --accumulate 2 --limit 100 --baseline none --name cnn-spread --parallel fsdp",
        "finetune --resume runs/begun --parallel fsdp",
        str(Path(__file__).with_name("spread_transformer.py")),
        "finetune starter/gru texts.csv --strategy l2-sp --parallel fsdp --name never",
        folder=folder,
    )
    return Runs(folder, done)


def test_two_processes_extract_the_features_of_one_bit_for_bit(runs: Runs) -> None:
    runs.done(0)
    assert runs.launch.done[0].stdout.count("wrote two.npy") == 1
    one = zoo.extract("starter/text-transformer", str(runs.folder / "texts.csv"), level="tokens", cache=False)
    assert np.array_equal(np.load(runs.folder / "two.npy"), one.features)
    assert len(list((runs.folder / "home").rglob("*.safetensors"))) == 2


def test_a_process_without_rows_helps_to_extract_those_of_others(runs: Runs) -> None:
    runs.done(1)
    one = zoo.extract("starter/text-transformer", str(runs.folder / "few.csv"), cache=False)
    assert np.array_equal(np.load(runs.folder / "spread.npy"), one.features)


def test_spread_weights_with_batch_norm_are_trained_as_whole_ones(runs: Runs) -> None:
    assert "2 processes share every batch of 25 rows, and the weights" in runs.done(2)
    assert apart(runs["cnn"], runs["cnn-spread"]) < ROUNDED


def test_checkpoints_of_spread_weights_are_those_of_one_process(runs: Runs) -> None:
    found = steps(runs["cnn-spread"])
    assert found == steps(runs["cnn"])
    one, two = (runs[name] / "checkpoints" / found[-1] for name in ("cnn", "cnn-spread"))
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    a, b = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    assert {name: each.shape for name, each in a.items()} == {name: each.shape for name, each in b.items()}
    a, b = (torch.load(path / "optimizer.pt", weights_only=True) for path in (one, two))
    for group in (*a["param_groups"], *b["param_groups"]):
        del group["fused"]  # weights that are spread have no kernel for a whole step of momentum
    assert a["param_groups"] == b["param_groups"]
    for index, state in a["state"].items():
        mine, theirs = (each["momentum_buffer"] for each in (state, b["state"][index]))
        assert float((mine - theirs).norm()) < 0.05 * float(mine.norm())  # what was not gathered would be missing


def test_one_process_goes_on_with_spread_weights(runs: Runs) -> None:
    shutil.rmtree(runs["cnn-spread"] / "model")
    shutil.rmtree(runs["cnn-spread"] / "checkpoints" / steps(runs["cnn-spread"])[-1])  # as if it had been killed before
    resume(runs["cnn-spread"])
    assert apart(runs["cnn"], runs["cnn-spread"]) < ROUNDED


def test_two_processes_that_share_weights_go_on_with_averages_of_one(runs: Runs) -> None:
    runs.done(3)
    assert apart(runs["words"], runs["begun"]) < 1e-5


def test_a_process_keeps_half_of_weights_and_optimiser(runs: Runs) -> None:
    runs.done(4)
    for rank in (0, 1):
        found = json.loads((runs.folder / f"shares-{rank}.json").read_text())
        assert found["units"] > 1
        assert found["weights"] < 1e-6
        assert found["state"] < 1e-6
        assert found["kept"] / found["all"] == pytest.approx(0.5, abs=0.01)


def test_what_needs_whole_weights_is_refused_before_training(runs: Runs) -> None:
    done = runs.launch.done[5]
    assert "error[usage]: --strategy l2-sp adds to the loss of the task" in done.stderr
    assert "--parallel ddp" in done.stderr
    assert not runs["never"].exists()


class Shy(nn.Module):
    """A network that looks into one layer and calls another twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.seen, self.twice = nn.Linear(12, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        hidden = nn.functional.linear(self.stem(pixels.flatten(1)), self.seen.weight)
        return self.twice(self.twice(hidden))  # type: ignore[no-any-return]


def test_what_is_used_outside_of_its_own_call_is_no_unit() -> None:
    backbone = wrap(Shy(), preprocess=ImagePreprocess(size=(2, 2)))
    inputs: Inputs = {"image": {"pixels": torch.zeros(1, 3, 2, 2)}}
    assert units_of(backbone, inputs) == (backbone.get_submodule("module.stem"),)


def test_one_process_and_unknown_ways_are_refused() -> None:
    with pytest.raises(UsageError, match="several processes, and this is one"), working("fsdp"):
        pass
    with pytest.raises(UnknownNameError, match="Did you mean fsdp"), working("fsdq"):
        pass


def test_what_accelerate_asks_of_fsdp_is_heard_or_refused() -> None:
    assert asked_for_fsdp({"ACCELERATE_USE_FSDP": "true", "FSDP_SHARDING_STRATEGY": "FULL_SHARD"})
    assert not asked_for_fsdp({"FSDP_OFFLOAD_PARAMS": "true"})
    with pytest.raises(UsageError, match="keep the weights on the CPU"):
        asked_for_fsdp({"ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true"})
    with pytest.raises(UsageError, match="HYBRID_SHARD"):
        asked_for_fsdp({"ACCELERATE_USE_FSDP": "true", "FSDP_SHARDING_STRATEGY": "HYBRID_SHARD"})
    with pytest.raises(UsageError, match="DEEPSPEED"):
        asked_for_fsdp({"ACCELERATE_USE_DEEPSPEED": "true"})
