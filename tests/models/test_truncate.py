"""The first stages of a backbone as a backbone: what they give, what is gone, and that the contract holds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import zoo
from zoo.models.fusion import Fused
from zoo.models.taps import blank_inputs, noted
from zoo.testing import check_backbone
from zoo.transfer.trained import set_pooling

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))

CORE = ("dim", "stage-names", "preprocessing", "shapes", "batch-of-one", "grid-order", "padding-side", "padding-length",
        "stages-partition", "stages-run-in-order", "gradients", "modes", "rebuild", "frozen-stays")  # fmt: skip


def text_folder(folder: Path, family: str) -> str:
    from tiny_transformers import write_folder

    write_folder(folder, family)
    return f"transformers/{folder}"


@pytest.mark.parametrize("name", ["torchvision/resnet18[:2]", "torchvision/squeezenet1_1[:-2]", "recurrent/gru[:2]"])
def test_a_cut_backbone_keeps_the_contract(name: str) -> None:
    found = check_backbone(name, image_size=64 if "torchvision" in name else None, only=CORE)
    assert found.passed, "\n".join(str(result) for result in found.failed)


@pytest.mark.parametrize("family", ["bert", "gpt2", "xlnet", "opt", "fnet", "vit", "swin"])
def test_a_cut_transformer_keeps_the_contract(family: str, tmp_path: Path) -> None:
    found = check_backbone(f"{text_folder(tmp_path / 'model', family)}[:2]", only=CORE)
    assert found.passed, "\n".join(str(result) for result in found.failed)


def test_features_are_what_the_whole_network_has_at_that_stage() -> None:
    whole, cut = zoo.load("torchvision/resnet18@random"), zoo.load("torchvision/resnet18[:layer2]@random")
    inputs = {"image": {"pixels": torch.randn(2, 3, 64, 96)}}
    given: list[tuple[torch.nn.Module, torch.Tensor]] = []
    with torch.no_grad(), noted(whole.stages()[2].modules[-1:], given):
        whole(inputs)
        found = cut(inputs)
    ((_, expected),) = given
    assert torch.equal(found.map(), expected)
    assert torch.allclose(found.pooled, expected.mean((2, 3)), atol=1e-6)
    assert found.grid == (8, 12)


def test_pooled_is_the_mean_over_real_words_of_the_kept_layer(tmp_path: Path) -> None:
    name = text_folder(tmp_path / "model", "bert")
    whole, cut = zoo.load(name), zoo.load(f"{name}[:2]")
    inputs = blank_inputs(whole, rows=3)
    given: list[tuple[torch.nn.Module, torch.Tensor]] = []
    with torch.no_grad(), noted(whole.stages()[1].modules, given):
        whole(inputs)
        found = cut(inputs)
    states, mask = given[-1][1], inputs["text"]["mask"].unsqueeze(-1)
    assert torch.allclose(found.pooled, (states * mask).sum(1) / mask.sum(1), atol=1e-6)


def test_what_comes_after_is_neither_held_nor_run() -> None:
    whole, cut = zoo.load("torchvision/resnet18@random"), zoo.load("torchvision/resnet18[:3]@random")
    kept = [p for stage in whole.stages()[:3] for p in stage.parameters()]
    assert sum(p.numel() for p in cut.parameters()) == sum(p.numel() for p in kept) == cut.spec.params == 683_072
    assert not any("layer3" in name for name in cut.state_dict())
    assert cut.name == "torchvision/resnet18[:3]@random"
    assert [stage.name for stage in cut.stages()] == ["stem", "layer1", "layer2"]


def test_a_backbone_can_be_cut_twice_and_pooled_otherwise() -> None:
    from zoo.models.truncate import Truncated

    inputs = {"image": {"pixels": torch.rand(2, 1, 32, 32)}}
    twice = Truncated(zoo.load("starter/glyph-cnn[:2]"), "1").eval()
    once = zoo.load("starter/glyph-cnn[:1]")
    with torch.no_grad():
        assert torch.equal(twice(inputs).pooled, once(inputs).pooled)
        set_pooling(once, "max")
        assert torch.equal(once(inputs).pooled, once(inputs).tokens.amax(1))


def test_fused_parts_are_cut_one_by_one() -> None:
    found = zoo.load("starter/glyph-cnn[:1]+recurrent/gru[:-1]")
    assert isinstance(found, Fused)
    assert [stage.name for stage in found.stages()] == ["0.block1", "1.embedding", "1.layer.0"]


def test_both_towers_of_a_dual_encoder_are_cut_and_a_joint_one_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    from tiny_idefics import write_idefics
    from tiny_open_clip import write_folder

    write_folder(tmp_path / "clip", "clip")
    found = zoo.load(f"open_clip/{tmp_path / 'clip'}[:2]")
    assert [s.name for s in found.stages()] == ["0.image.stem", "0.image.blocks.0", "1.text.stem", "1.text.blocks.0"]
    with pytest.raises(zoo.UsageError, match="does not run without the stages after"):
        zoo.load(f"transformers/{write_idefics(tmp_path / 'flamingo')}[:2]")


def test_a_run_of_a_cut_backbone_opens_again_and_is_a_source(tmp_path: Path) -> None:
    out = zoo.Output(dir=str(tmp_path))
    given = {"strategy": "lora", "epochs": 1, "read": zoo.ReadOptions(limit=60), "baseline": "none"}
    run = zoo.finetune("starter/glyph-cnn[:2]", "sklearn:digits", out=out, **given)  # type: ignore[arg-type]
    again = run.load().backbone
    assert again.name == "starter/glyph-cnn.letters[:2]"
    assert [stage.name for stage in again.stages()] == ["block1", "block2"]
    next_ = zoo.finetune(
        str(run.path), "sklearn:digits", strategy="linear-probe", out=out, read=zoo.ReadOptions(limit=60)
    )
    assert next_.baseline is not None
    assert zoo.load(f"{run.path}[:1]").dim == 16
