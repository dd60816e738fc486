"""BitFit and norm tuning move what they name, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import zoo
from zoo import UsageError
from zoo.transfer.parts import BitFit, NormTuning


def changed(strategy: str, tmp_path: Path) -> tuple[set[str], zoo.Run]:
    before = zoo.load("starter/glyph-cnn")
    out = zoo.Output(dir=str(tmp_path))
    read = zoo.ReadOptions(limit=120)
    run = zoo.finetune(
        "starter/glyph-cnn", "sklearn:digits", strategy=strategy, epochs=1, read=read, out=out, baseline="none"
    )
    after = run.load().backbone.state_dict()
    return {name for name, old in before.state_dict().items() if not torch.equal(old, after[name])}, run


def test_bitfit_moves_the_biases_alone(tmp_path: Path) -> None:
    moved, run = changed("bitfit", tmp_path)
    assert moved
    assert all(name.endswith("bias") for name in moved)
    assert run.plan.estimate.params == sum(p.numel() for p in run.load().model.parameters())


def test_norm_tuning_moves_scale_and_shift_and_no_running_statistics(tmp_path: Path) -> None:
    moved, _ = changed("norm-tuning", tmp_path)
    modules = zoo.load("starter/glyph-cnn").named_modules()
    norms = [path for path, module in modules if "Norm" in type(module).__name__]
    assert moved == {f"{path}.{name}" for path in norms for name in ("weight", "bias")}


@pytest.mark.parametrize(("strategy", "what"), [(BitFit(), "biases"), (NormTuning(), "normalisation")])
def test_a_backbone_without_them_is_refused(strategy: BitFit | NormTuning, what: str) -> None:
    with pytest.raises(UsageError, match=f"starter/pixels has no {what} to train"):
        strategy.adapt(zoo.load("starter/pixels"), {})
