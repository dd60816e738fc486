"""Every system that zoo set out to serve takes a head and is fine-tuned by the same command: tiny, offline."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from program import Zoo

sys.path.append(str(Path(__file__).resolve().parents[1] / "plugins"))

WORDS = {"red": "the red rose", "blue": "a blue sky", "green": "some green leaves"}


def named(name: str) -> Callable[[Path], str]:
    return lambda folder: name


def of_transformers(family: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        from tiny_transformers import write_folder

        return f"transformers/{write_folder(folder, family)}"

    return make


def clip(folder: Path) -> str:
    pytest.importorskip("open_clip")
    from tiny_open_clip import write_folder

    write_folder(folder, "clip")
    return f"open_clip/{folder}"


def flamingo(folder: Path) -> str:
    from tiny_idefics import write_idefics

    return f"transformers/{write_idefics(folder)}"


def unified_io(folder: Path) -> str:
    from tiny_unified_io import tiny_folder

    return f"unified_io/{tiny_folder(folder)}"


SYSTEMS: dict[str, Callable[[Path], str]] = {
    "AlexNet": named("torchvision/alexnet@random"),
    "VGG": named("torchvision/vgg11@random"),
    "ResNet": named("torchvision/resnet18@random"),
    "Inception": named("torchvision/googlenet@random"),
    "Inception v3": named("torchvision/inception_v3@random"),
    "MobileNetV2": named("torchvision/mobilenet_v2@random"),
    "BERT": of_transformers("bert"),
    "GPT": of_transformers("openai-gpt"),
    "GPT-2": of_transformers("gpt2"),
    "XLNet": of_transformers("xlnet"),
    "LSTM": named("recurrent/lstm"),
    "GRU": named("recurrent/gru"),
    "CLIP": clip,
    "Flamingo": flamingo,
    "Unified-IO": unified_io,
}


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9 coloured pictures with a caption each, of three classes."""
    folder = tmp_path_factory.mktemp("captions")
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "text", "label", "split"])
        for number in range(9):
            colour = list(WORDS)[number % 3]
            Image.new("RGB", (40 + number, 48), colour).save(folder / f"{number}.png")
            rows.writerow([f"{number}.png", f"{WORDS[colour]} {number}", colour, "train" if number < 6 else "test"])
    return folder / "rows.csv"


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_takes_a_head_and_is_fine_tuned_by_the_same_command(
    system: str, captions: Path, tmp_path: Path, zoo: Zoo
) -> None:
    name = SYSTEMS[system](tmp_path / "model")
    command = ("finetune", name, captions, "--strategy", "partial", "--epochs", 1, "--batch-size", 3, "--json")
    done = zoo(*command, "--baseline", "none", "--out", tmp_path / "runs")
    assert done.code == 0, done.err
    run = done.json()
    assert run["task"] == "multiclass"
    assert run["classes"] == ["blue", "green", "red"]
    assert 0 < run["trained_params"] < run["params"]
    assert 0 <= run["metrics"]["accuracy"] <= 1
    predicted = zoo("predict", run["run"], captions)
    assert predicted.code == 0, predicted.err
    answers = predicted.lines()
    assert len(answers) == 9
    assert {answer["label"] for answer in answers} <= set(run["classes"])
