"""Two processes do what one does: the same features, the same training, one who speaks; on the CPU, by gloo."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import zoo
from zoo.catalog.spec import Modality
from zoo.data.batches import Loader
from zoo.data.types import ReadOptions
from zoo.transfer.options import Training
from zoo.verbs.config import Output
from zoo.verbs.finetune import resume
from zoo.verbs.run import Interrupted

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "zoo")
ACCELERATE = (
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m", "zoo"),
)
CNN = Training(strategy="full", epochs=2, batch_size=25, optimizer="sgd", lr=0.05, save_every=5)
ROUNDED = 1e-4
"""Sums in another order differ by 1e-7 after a step, which batch norm and ReLU make more of in each that follows."""


def launch(launcher: tuple[str, ...], *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ZOO_HOME": str(folder / "home")}
    return subprocess.run(
        [*launcher, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


def apart(one: Path, other: Path) -> float:
    """The largest difference between the weights of two runs, beside the largest of each tensor."""
    a, b = (load_file(run / "model" / "model.safetensors") for run in (one, other))
    assert a.keys() == b.keys()
    return max(float((a[k] - b[k]).abs().max() / a[k].abs().max().clamp(min=1)) for k in a if a[k].is_floating_point())


def steps(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 61 texts of unlike length with two classes."""
    rng = random.Random(0)
    rows = ["text,label,split"]
    for number in range(61):
        words = " ".join(f"w{rng.randrange(20) + 20 * (number % 2)}" for _ in range(rng.randint(2, 12)))
        rows.append(f"{words} {number},{('low', 'high')[number % 2]},{'train' if number < 45 else 'val'}")
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


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


def test_two_processes_extract_the_features_of_one_bit_for_bit(tmp_path: Path, texts: Path) -> None:
    done = launch(
        ACCELERATE, "extract", "starter/text-transformer", str(texts), "--level", "tokens", "-o", "two.npy",
        folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote two.npy") == 1
    one = zoo.extract("starter/text-transformer", str(texts), level="tokens", cache=False)
    assert np.array_equal(np.load(tmp_path / "two.npy"), one.features)
    assert len(list((tmp_path / "home").rglob("*.safetensors"))) == 1


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, subprocess.CompletedProcess[str]]:
    """Runs of a network with batch norm by one process and by two, and what the two said."""
    folder = tmp_path_factory.mktemp("pair")
    read = ReadOptions(limit=100)
    one = zoo.finetune(
        "starter/glyph-cnn", "sklearn:digits", training=CNN, read=read, baseline="none", device="cpu",
        out=Output(dir=str(folder / "runs"), name="one"),
    )  # fmt: skip
    options = [
        *("--strategy", "full", "--epochs", "2", "--batch-size", "25", "--optimizer", "sgd", "--lr", "0.05"),
        *("--save-every", "5", "--limit", "100", "--baseline", "none", "--name", "two"),
    ]
    done = launch(TORCHRUN, "finetune", "starter/glyph-cnn", "sklearn:digits", *options, folder=folder)
    assert done.returncode == 0, done.stderr
    return one.path, folder / "runs" / "two", done


def test_two_processes_train_as_one_with_the_same_batches(
    pair: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    one, two, _ = pair
    assert apart(one, two) < ROUNDED
    losses = [
        [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines() if "epoch" in line]
        for run in (one, two)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=ROUNDED)


def test_the_first_process_alone_prints_and_writes(pair: tuple[Path, Path, subprocess.CompletedProcess[str]]) -> None:
    one, two, done = pair
    assert done.stdout.count("saved ") == 1
    assert done.stderr.count("epoch 1 ") == 1
    assert "2 processes share every batch of 25 rows" in done.stderr
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    assert {path.name for path in two.parent.iterdir()} == {"one", "two", "last"}
    assert steps(two) == steps(one)


def test_one_process_goes_on_with_a_run_of_two(pair: tuple[Path, Path, subprocess.CompletedProcess[str]]) -> None:
    one, two, _ = pair
    shutil.rmtree(two / "model")
    shutil.rmtree(two / "checkpoints" / steps(two)[-1])  # as if it had been killed before
    resume(two)
    assert apart(one, two) < ROUNDED


def test_two_processes_go_on_with_a_transformer_of_one(tmp_path: Path, texts: Path) -> None:
    training = Training(strategy="head", epochs=2, batch_size=16, save_every=1)

    def run(name: str, stop: Callable[[], bool] = lambda: False) -> Path:
        out = Output(dir=str(tmp_path / "runs"), name=name)
        zoo.finetune(
            "starter/text-transformer", str(texts), training=training, baseline="none", device="cpu", out=out, stop=stop
        )
        return tmp_path / "runs" / name

    asked = iter([False, False, *[True] * 20])
    with pytest.raises(Interrupted, match="stopped at step 3"):
        run("stopped", lambda: next(asked))
    done = launch(TORCHRUN, "finetune", "--resume", "runs/stopped", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert apart(run("whole"), tmp_path / "runs" / "stopped") < 1e-6  # no batch norm: the sums alone


def test_an_error_is_told_once_and_ends_all_processes(tmp_path: Path) -> None:
    done = launch(TORCHRUN, "finetune", "starter/glyph-cn", "sklearn:digits", folder=tmp_path)
    assert done.stderr.count("error[usage]: No backbone is named 'starter/glyph-cn'") == 1
    assert "exitcode  : 2 " in done.stderr
    assert not (tmp_path / "runs").exists()
