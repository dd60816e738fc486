"""Two processes do what one does: the same features, the same training, one who speaks; on the CPU, by gloo."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from launching import TORCHRUN, Runs, apart, launch, steps, write_texts

import zoo
from zoo.catalog.spec import Modality
from zoo.data.batches import Loader
from zoo.data.types import ReadOptions
from zoo.transfer.options import Training
from zoo.verbs.config import Output
from zoo.verbs.finetune import resume
from zoo.verbs.run import Interrupted

CNN = Training(strategy="full", epochs=2, batch_size=25, optimizer="sgd", lr=0.05, save_every=5)
HEAD = Training(strategy="head", epochs=2, batch_size=16, save_every=1)
ROUNDED = 1e-4
"""Sums in another order differ by 1e-7 after a step, which batch norm and ReLU make more of in each that follows."""


def test_shares_of_a_batch_are_the_batch_and_change_alike() -> None:
    data = zoo.read_dataset("sklearn:digits", ReadOptions(limit=30))
    processors: dict[Modality, Any] = {"image": zoo.load("starter/glyph-cnn").processor("image")}
    loaders = [
        Loader(data.splits["train"], processors, batch_size=8, train=True, share=share)
        for share in ((0, 1), (0, 3), (1, 3), (2, 3))
    ]
    for whole, *shares in zip(*(loader.epoch(1) for loader in loaders), strict=True):
        rows = torch.cat([share.rows for share in shares if not share.idle])
        assert sorted(rows.tolist()) == sorted(whole.rows.tolist())
        assert {share.whole for share in shares} == {len(whole.rows)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A network with batch norm by one process and by two; a transformer by one, and by one until it was stopped and
    then by two; a run that cannot be."""
    folder = tmp_path_factory.mktemp("runs")
    write_texts(folder / "texts.csv")

    def one(name: str, backbone: str, data: str, training: Training, **more: Any) -> None:
        out = Output(dir=str(folder / "runs"), name=name)
        zoo.finetune(backbone, data, training=training, baseline="none", device="cpu", out=out, **more)

    one("one", "starter/glyph-cnn", "sklearn:digits", CNN, read=ReadOptions(limit=100))
    words = ("starter/text-transformer", str(folder / "texts.csv"), HEAD)
    one("whole", *words)
    asked = iter([False, False, *[True] * 20])
    stop: Callable[[], bool] = lambda: next(asked)  # noqa: E731
    with pytest.raises(Interrupted, match="stopped at step 3"):
        one("stopped", *words, stop=stop)
    done = launch(
        TORCHRUN,
        "finetune starter/glyph-cnn sklearn:digits --strategy full --epochs 2 --batch-size 25 --optimizer sgd --lr 0.05"
        " --save-every 5 --limit 100 --baseline none --name two",
        "finetune --resume runs/stopped",
        "finetune starter/glyph-cn sklearn:digits --name never",
        folder=folder,
    )
    return Runs(folder, done)


def test_two_processes_train_as_one_with_the_same_batches(runs: Runs) -> None:
    assert runs.launch.done[0].code == 0, runs.launch.done[0].stderr
    assert apart(runs["one"], runs["two"]) < ROUNDED
    losses = [
        [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines() if "epoch" in line]
        for run in (runs["one"], runs["two"])
    ]
    assert losses[0] == pytest.approx(losses[1], rel=ROUNDED)


def test_the_first_process_alone_prints_and_writes(runs: Runs) -> None:
    done = runs.launch.done[0]
    assert done.stdout.count("saved ") == 1
    assert done.stderr.count("epoch 1 ") == 1
    assert "2 processes share every batch of 25 rows" in done.stderr
    assert {path.name for path in runs["two"].iterdir()} == {path.name for path in runs["one"].iterdir()}
    assert {path.name for path in runs["two"].parent.iterdir()} == {"one", "two", "whole", "stopped", "last"}
    assert steps(runs["two"]) == steps(runs["one"])


def test_one_process_goes_on_with_a_run_of_two(runs: Runs) -> None:
    shutil.rmtree(runs["two"] / "model")
    shutil.rmtree(runs["two"] / "checkpoints" / steps(runs["two"])[-1])  # as if it had been killed before
    resume(runs["two"])
    assert apart(runs["one"], runs["two"]) < ROUNDED


def test_two_processes_go_on_with_a_transformer_of_one(runs: Runs) -> None:
    assert runs.launch.done[1].code == 0, runs.launch.done[1].stderr
    assert apart(runs["whole"], runs["stopped"]) < 1e-6  # no batch norm: the sums alone


def test_an_error_is_told_once_and_ends_all_processes(runs: Runs) -> None:
    done = runs.launch.done[2]
    assert done.code != 0
    assert done.stderr.count("error[usage]: No backbone is named 'starter/glyph-cn'") == 1
    assert "exitcode  : 2 " in runs.launch.said
    assert not runs["never"].exists()
