"""Backbones for images of other channels and another size than their weights were trained on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from zoo.models.channels import adapted
from zoo.models.structure import restructured
from zoo.testing import check_backbone

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))
CORE = ("dim", "preprocessing", "shapes", "batch-of-one", "stages-partition", "gradients", "rebuild", "seeded")


def test_more_channels_repeat_the_weights_and_keep_the_scale_of_activations() -> None:
    weight = torch.arange(6.0).reshape(2, 3, 1, 1)
    assert torch.allclose(adapted(weight, 4), weight[:, [0, 1, 2, 0]] * 3 / 4)
    assert torch.allclose(adapted(weight, 6).sum(1), weight.sum(1))
    assert torch.allclose(adapted(weight, 1), weight.sum(1, keepdim=True))


def test_channels_agree_with_timm() -> None:
    from timm.models import adapt_input_conv

    weight = torch.randn(4, 3, 5, 5)
    for channels in (1, 2, 4, 7):
        assert torch.allclose(adapted(weight, channels), adapt_input_conv(channels, weight), atol=1e-6)


def test_a_picture_that_is_repeated_gives_the_features_it_gave() -> None:
    """Six channels, RGB twice: each has half of the weight."""
    three, six = zoo.load("torchvision/resnet18@random"), zoo.load("torchvision/resnet18@random", channels=6)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        one = three({"image": {"pixels": pixels}}).pooled
        other = six({"image": {"pixels": torch.cat([pixels, pixels], 1)}}).pooled
    assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("family", ["vit", "swin"])
def test_transformers_take_other_channels(family: str, tmp_path: Path) -> None:
    from tiny_transformers import write_folder

    write_folder(tmp_path / "model", family)
    found = zoo.load(f"transformers/{tmp_path / 'model'}", channels=4)
    with torch.no_grad():
        assert found({"image": {"pixels": torch.randn(2, 4, 32, 32)}}).pooled.shape == (2, found.dim)


@pytest.mark.parametrize("kind", ["channels", "image_size", "both"])
def test_a_changed_backbone_keeps_the_contract(kind: str) -> None:
    from zoo.catalog.discovery import default_catalog
    from zoo.models.load import shaped

    given = {"channels": {"channels": 4}, "image_size": {"image_size": 64}, "both": {"channels": 2, "image_size": 48}}
    (changed,) = shaped(default_catalog().select("starter/glyph-cnn[:2]@random"), **given[kind])
    found = check_backbone(changed.spec, only=CORE)
    assert found.passed, "\n".join(str(result) for result in found.failed)


def test_positions_of_torchvision_are_resized_as_torchvision_does(tmp_path: Path) -> None:
    import torchvision

    own = torchvision.models.VisionTransformer(32, 16, 1, 2, 16, 16, num_classes=3)
    # A tiny network in the place of a listed one: the adapter builds what the list says.
    resized = torchvision.models.vision_transformer.interpolate_embeddings(64, 16, own.state_dict())
    from zoo_torchvision.build import VisionTransformer

    spec = zoo.load("torchvision/squeezenet1_1@random").spec
    spec = zoo.BackboneSpec(
        "torchvision", "tiny", "zoo_torchvision.build:build", ("image",), "vit", preprocess=spec.preprocess
    )
    found = VisionTransformer(own, zoo.LoadRequest(spec, None, ("image",))).with_positions(own.state_dict(), 64)
    assert torch.equal(found["encoder.pos_embedding"], resized["encoder.pos_embedding"])
    assert found["encoder.pos_embedding"].shape == (1, 17, 16)


@pytest.mark.parametrize("source", ["timm", "transformers", "open_clip"])
def test_a_transformer_takes_larger_images_and_is_rebuilt_so(source: str, tmp_path: Path) -> None:
    pytest.importorskip(source)
    if source == "timm":
        from tiny_timm import TINY, write_folder

        write_folder(tmp_path / "model", TINY["vit with a class token"])
    elif source == "transformers":
        from tiny_transformers import write_folder as write

        write(tmp_path / "model", "vit")
    else:
        from tiny_open_clip import write_folder as write_towers

        write_towers(tmp_path / "model", "clip")
    name = f"{source}/{tmp_path / 'model'}" + (":image" if source == "open_clip" else "")
    small = zoo.load(name)
    (grid,) = {small(_pixels(small)).grid}
    assert grid is not None
    large = zoo.load(name, image_size=8 * 2 * grid[0] if source != "timm" else 128)
    assert large(_pixels(large)).grid == (2 * grid[0], 2 * grid[1])
    from zoo.models.load import rebuild

    large.save_assets(tmp_path / "assets")
    again = rebuild(large.spec, large.modalities, tmp_path / "assets")
    again.load_state_dict(large.state_dict())
    assert torch.equal(again(_pixels(large)).pooled, large(_pixels(large)).pooled)


def test_what_cannot_be_changed_says_so() -> None:
    for name, said in {
        "torchvision/vit_b_32@random": "cannot take images of 100 x 100",
        "recurrent/gru": "is of images, and recurrent/gru takes none",
    }.items():
        with pytest.raises(zoo.UsageError, match=said):
            zoo.load(name, image_size=100)
    with pytest.raises(zoo.UsageError, match="no convolution of starter/pixels sees the pixels"):
        zoo.load("starter/pixels", channels=4)
    with pytest.raises(zoo.UsageError, match="does not run on images of 4 channels"):
        zoo.load("torchvision/googlenet@random", channels=4)
    fused = zoo.load("starter/glyph-cnn+recurrent/gru")
    from zoo.catalog.structure import Structure

    with pytest.raises(zoo.UsageError, match="made of several backbones"):
        restructured(fused, Structure(keep="1"))


def test_arrays_of_five_channels_are_learned_predicted_and_opened_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("dark", "light"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for index in range(15):
            base = 40 if label == "dark" else 200
            np.save(
                tmp_path / "data" / label / f"{index}.npy", rng.integers(base, base + 40, (9, 9, 5), dtype=np.uint8)
            )
    run = zoo.finetune(
        "starter/glyph-cnn", tmp_path / "data", strategy="linear-probe", baseline="none",
        training=zoo.Training(channels=5, image_size=48), out=zoo.Output(dir=str(tmp_path / "runs")),
    )  # fmt: skip
    assert run.metrics["accuracy"] == 1.0
    assert run.load().backbone.processor("image").key != zoo.load("starter/glyph-cnn").processor("image").key
    (found,) = run.predict([str(tmp_path / "data" / "dark" / "0.npy")])
    assert found.label == "dark"


def test_a_loaded_backbone_is_changed_as_it_is_loaded() -> None:
    with pytest.raises(zoo.UsageError, match="takes images of 1 channels and 32 x 32 pixels"):
        zoo.finetune(zoo.load("starter/glyph-cnn"), "sklearn:digits", training=zoo.Training(channels=3))


def _pixels(backbone: zoo.Backbone) -> dict[zoo.Modality, dict[str, torch.Tensor]]:
    preprocess = backbone.spec.preprocess_for(backbone.weights)["image"]
    assert isinstance(preprocess, zoo.ImagePreprocess)
    return {"image": {"pixels": torch.ones(1, 3, *preprocess.size)}}
