"""A run that is killed goes on to the same weights, bit for bit, as one that is not."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cli"))

from forked import Forked
from program import zoo

pytestmark = pytest.mark.xdist_group("forked")
KILLS = int(os.environ.get("ZOO_TEST_KILLS", "1"))
"""Moments at which each run is killed; set to 10 for the full check."""
DIGITS = ("sklearn:digits", "--val", "0.05", "--limit")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tiny random BERT and its tokenizer."""
    import torch
    import transformers

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", *(f"w{i}" for i in range(40))]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    transformers.BertModel(config).save_pretrained(folder)
    return f"transformers/{folder}"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A table of 100 short texts with two classes."""
    rng = random.Random(0)
    rows = ["text,label,split"]
    for number in range(100):
        label = rng.choice(["low", "high"])
        words = [f"w{rng.randrange(20) + (20 if label == 'high' else 0)}" for _ in range(rng.randint(2, 9))]
        rows.append(f"{' '.join(words)} {number},{label},{'train' if number < 70 else 'val'}")
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


def test_a_killed_cnn_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    check_kills(tmp_path, ["starter/glyph-cnn", *DIGITS, "150", "--strategy", "lp-ft"])


def test_a_killed_bert_goes_on_to_the_same_weights(tmp_path: Path, bert: str, texts: str) -> None:
    check_kills(tmp_path, [bert, texts, "--strategy", "full", "--dropout", "0.1", "--early-stop", "5"])


def test_a_killed_vit_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    check_kills(
        tmp_path,
        [
            "timm/test_vit@random",
            *DIGITS,
            "60",
            "--strategy",
            "full",
            "--optimizer",
            "sgd",
            "--augment",
            "strong",
        ],
    )


def test_ctrl_c_saves_prints_the_command_that_goes_on_and_ends_with_130(tmp_path: Path) -> None:
    arguments = ["starter/glyph-cnn", *DIGITS, "150", "--strategy", "full", "--baseline", "none"]
    whole = trained_weights(tmp_path, "whole", arguments)
    process = start(tmp_path, [*arguments, "--name", "stopped"])
    wait_for(tmp_path / "runs" / "stopped" / "checkpoints", process)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=120)
    assert process.returncode == 130, shown
    assert "stopping after this step" in shown
    assert "error[interrupted]: stopped at step " in shown
    assert f"help: go on with  zoo finetune --resume {tmp_path / 'runs' / 'stopped'}" in shown
    assert "Traceback" not in shown
    assert state_of(tmp_path, "stopped") == "interrupted"
    assert "epoch 1 " not in finish(tmp_path, "stopped")
    assert weights_of(tmp_path, "stopped") == whole


def check_kills(tmp_path: Path, arguments: Sequence[str]) -> None:
    """Kill a run at random moments of its training, resume it each time, and compare it with a run left alone."""
    arguments = [*arguments, "--epochs", str(4 + 2 * KILLS), "--save-every", "2", "--baseline", "none"]
    whole = trained_weights(tmp_path, "whole", arguments)
    rng = random.Random(str(arguments[0][:20]))
    killed = 0
    process = start(tmp_path, [*arguments, "--name", "killed"])
    wait_for(tmp_path / "runs" / "killed" / "checkpoints", process)
    while killed < KILLS:
        time.sleep(rng.uniform(0.0, 0.6))
        if process.poll() is not None:
            break
        process.kill()
        process.communicate()
        killed += 1
        if killed < KILLS:
            before = newest(tmp_path)
            process = start(tmp_path, ["--resume", str(tmp_path / "runs" / "killed")])
            wait_for(tmp_path / "runs" / "killed" / "checkpoints", process, beyond=before)
    assert killed == KILLS, f"the run ended after {killed} kills"
    assert state_of(tmp_path, "killed") == "running"
    finish(tmp_path, "killed")
    assert weights_of(tmp_path, "killed") == whole


def trained_weights(tmp_path: Path, name: str, arguments: Sequence[str]) -> str:
    """In this process: what is trained in others must come to the same, and one less has to start."""
    done = zoo("finetune", *arguments, "--name", name, "--out", tmp_path / "runs", "--json")
    assert done.code == 0, done.err
    return weights_of(tmp_path, name)


def state_of(tmp_path: Path, name: str) -> object:
    return json.loads((tmp_path / "runs" / name / "run.json").read_text())["status"]


def weights_of(tmp_path: Path, name: str) -> str:
    return hashlib.sha256((tmp_path / "runs" / name / "model" / "model.safetensors").read_bytes()).hexdigest()


def finish(tmp_path: Path, name: str) -> str:
    """What it shows of its progress."""
    done = zoo("finetune", "--resume", tmp_path / "runs" / name, "--json")
    assert done.code == 0, done.err
    return done.err


def start(tmp_path: Path, arguments: Sequence[str]) -> Forked:
    out = [] if arguments[0] == "--resume" else ["--out", str(tmp_path / "runs")]
    words = ["finetune", *arguments, *out, "--json"]
    return Forked(words, cwd=tmp_path, env={**os.environ, "ZOO_HOME": str(tmp_path / "home")})


def newest(tmp_path: Path) -> int:
    folder = tmp_path / "runs" / "killed" / "checkpoints"
    return max((number_of(path) for path in folder.glob("*")), default=-1)


def number_of(path: Path) -> int:
    digits = "".join(c for c in path.name if c.isdigit())
    return int(digits) if digits else -1


def wait_for(folder: Path, process: Forked, beyond: int = -1) -> None:
    """Until a checkpoint later than `beyond` is there, or the process has ended."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if folder.is_dir() and any(number_of(path) > beyond for path in folder.glob("*")):
            return
        time.sleep(0.01)
