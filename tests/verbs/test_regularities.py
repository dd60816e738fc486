"""Mixing, class weights, the sweep of the rate and TensorBoard's files, as a run has them."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import zoo
from zoo.data.types import ReadOptions
from zoo.errors import UsageError
from zoo.transfer.options import Training
from zoo.verbs.config import Output
from zoo.verbs.run import Interrupted, Run

Finetune = Callable[..., Run]
FEW = ReadOptions(limit=60)
BASE = Training(strategy="full", epochs=3, batch_size=16, device="cpu")


@pytest.fixture
def finetune(tmp_path: Path) -> Finetune:
    def run(
        name: str = "run", backbone: Any = "starter/glyph-cnn", data: Any = "sklearn:digits", **options: Any
    ) -> Run:
        out = Output(dir=str(tmp_path), name=name, overwrite=True, tensorboard=options.pop("tensorboard", False))
        stop = options.pop("stop", lambda: False)
        read = options.pop("read", FEW)
        training = replace(BASE, **options)
        return zoo.finetune(backbone, data, training=training, read=read, out=out, baseline="none", stop=stop)

    return run


def after(steps: int) -> Callable[[], bool]:
    """Asks to stop once it has been asked this often."""
    asked = Counter[str]()

    def stop() -> bool:
        asked["times"] += 1
        return asked["times"] >= steps

    return stop


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "model" / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


# --- mixing


def test_a_run_that_mixes_goes_on_to_the_same_weights(finetune: Finetune, tmp_path: Path) -> None:
    whole = finetune("whole", mix="mixup=0.4,cutmix=1")
    with pytest.raises(Interrupted, match="stopped at step 3"):
        finetune("parts", mix="mixup=0.4,cutmix=1", stop=after(3))
    zoo.resume(tmp_path / "parts")
    assert same(weights_of(whole.path), weights_of(tmp_path / "parts"))
    assert not same(weights_of(whole.path), weights_of(finetune("plain").path))


def texts(path: Path) -> Path:
    rows = [
        {"text": f"{'good fine' if i % 3 else 'bad poor'} thing {i}", "label": "+" if i % 3 else "-"} for i in range(40)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_texts_are_mixed_by_their_pooled_features(finetune: Finetune, tmp_path: Path) -> None:
    data = texts(tmp_path / "texts.jsonl")
    runs = [finetune(f"{mix}", "starter/bag-of-words", data, mix=mix, read=ReadOptions()) for mix in (None, "mixup=1")]
    assert not same(*(weights_of(run.path) for run in runs))
    with pytest.raises(UsageError, match=r"these rows are not one image each(.|\n)*mixup=0.2"):
        finetune("cut", "starter/bag-of-words", data, mix="cutmix", read=ReadOptions())
    with pytest.raises(UsageError, match="this head looks at single tokens"):
        finetune("seen", "starter/bag-of-words", data, mix="mixup", head="attention", read=ReadOptions())


def test_a_solved_probe_mixes_nothing_and_says_so(finetune: Finetune) -> None:
    with pytest.raises(UsageError, match=r"a solved probe takes none(.|\n)*--strategy head"):
        finetune(strategy="linear-probe", mix="mixup=0.2")


def test_options_that_a_solved_probe_has_no_use_for_are_named(finetune: Finetune) -> None:
    notes = finetune(strategy="linear-probe", loss="focal", label_smoothing=0.1).plan.notes
    assert "--loss and --label-smoothing: without effect, for a head that is solved has no steps" in notes


# --- class weights


def skewed(folder: Path) -> Path:
    """Noisy grey squares, the darker kind five times rarer, hard to tell apart."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 60), ("val", 60)):
        for number in range(count):
            label = "dark" if number % 6 == 0 else "light"
            (folder / split / label).mkdir(parents=True, exist_ok=True)
            pixels = rng.normal(110 if label == "dark" else 140, 60, (8, 8)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / split / label / f"{number}.png")
    return folder


@pytest.mark.parametrize("strategy", ["linear-probe", "head"])
def test_balanced_weights_find_more_of_a_rare_class(finetune: Finetune, tmp_path: Path, strategy: str) -> None:
    data = skewed(tmp_path / "squares")
    plain, balanced = (
        finetune(f"{text}", data=data, strategy=strategy, class_weights=text, epochs=8, lr=1e-2, read=ReadOptions())
        for text in (None, "balanced")
    )
    found = [zoo.evaluate(run.path).per_class[0].recall for run in (plain, balanced)]
    assert found[1] > found[0]
    assert "class weights dark 3, light 0.6" in balanced.plan.notes


def test_weights_for_another_number_of_classes_are_refused_before_training(finetune: Finetune) -> None:
    with pytest.raises(UsageError, match="has 2 weights, and there are 10 classes: 0, 1, 2"):
        finetune(class_weights="1,2")


# --- the sweep


def test_a_sweep_leaves_the_backbone_as_it_was_and_suggests_a_rate_that_trains(finetune: Finetune) -> None:
    backbone = zoo.load("starter/glyph-cnn", weights="random")
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    learns = [parameter.requires_grad for parameter in backbone.parameters()]
    read = ReadOptions(limit=300)
    found = zoo.find_lr(backbone, "sklearn:digits", training=BASE, read=read, steps=60)
    assert same(before, backbone.state_dict())
    assert learns == [parameter.requires_grad for parameter in backbone.parameters()]
    assert not backbone.training
    assert 1e-4 < found.suggestion < 1e-1
    assert len(found.rates) == len(found.losses) <= 60
    np.testing.assert_allclose(np.diff(np.log10(found.rates)), 8 / 59, atol=1e-6)


@pytest.mark.parametrize("strategy", ["lora", "lp-ft", "gradual-unfreezing"])
def test_a_sweep_takes_strategies_that_insert_solve_or_have_phases(strategy: str) -> None:
    backbone = zoo.load("starter/glyph-cnn")
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    found = zoo.find_lr(backbone, "sklearn:digits", strategy=strategy, training=BASE, read=FEW, steps=20)
    assert found.losses[0] > 2  # ten classes, a head that knows nothing
    assert same(before, backbone.state_dict())


def test_a_strategy_without_a_rate_is_refused() -> None:
    with pytest.raises(UsageError, match=r"solves the head and has no rate(.|\n)*--strategy full"):
        zoo.find_lr("starter/glyph-cnn", "sklearn:digits", strategy="linear-probe", training=BASE, read=FEW)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"low": 1.0, "high": 0.1}, "are no range"), ({"low": 0.0}, "are no range"), ({"steps": 5}, "are too few")],
)
def test_a_sweep_over_nothing_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        zoo.find_lr("starter/glyph-cnn", "sklearn:digits", read=FEW, **options)


# --- TensorBoard


def scalars(path: Path) -> dict[str, list[tuple[int, float]]]:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reading.EventAccumulator(str(path / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    assert "plan/text_summary" in found.Tags()["tensors"]
    return {tag: [(each.step, each.value) for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_event_files_hold_each_step_once_also_after_a_stop(finetune: Finetune, tmp_path: Path) -> None:
    whole = finetune("whole", tensorboard=True)
    with pytest.raises(Interrupted, match="stopped at step"):
        finetune("parts", tensorboard=True, save_every=2, stop=after(5))
    zoo.resume(tmp_path / "parts")
    one, two = scalars(whole.path), scalars(tmp_path / "parts")
    assert [step for step, _ in one["train/loss"]] == list(range(1, 13))
    for tag in ("train/loss", "train/lr", "train/gradient_norm", "held-out/accuracy", "final/accuracy"):
        assert one[tag] == two[tag]
    assert [step for step, _ in one["epoch/loss"]] == [4, 8, 12]
    assert one["final/accuracy"][0][1] == pytest.approx(whole.metrics["accuracy"])
    assert not (finetune("without").path / "tensorboard").exists()


def test_without_the_package_nothing_is_begun(
    finetune: Finetune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else find(name, *rest)
    )
    with pytest.raises(UsageError, match=r"needs the package tensorboard(.|\n)*zoo\[tensorboard\]"):
        finetune("never", tensorboard=True)
    assert not (tmp_path / "never").exists()
