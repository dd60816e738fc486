"""`zoo_transformers` on images, against transformers itself on the same folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
import zoo_transformers
from PIL import Image
from pixels import same_pixels
from tiny_transformers import IMAGE, upstream, write_folder
from torch import Tensor, nn

import zoo
from zoo import Backbone, Catalog, Features

CATALOG = Catalog.of({"transformers": zoo_transformers})
FAMILIES = list(IMAGE)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
"""Other shapes, other orders of float32 sums; nothing else may differ."""
WITHOUT_CLASS_TOKEN = ("siglip_vision_model", "swin", "convnext", "convnextv2", "resnet", "mobilenet_v2")


def load(folder: Path) -> Backbone:
    return zoo.load(f"transformers/{folder}", catalog=CATALOG)


def pictures(count: int = 3) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    small = [Image.fromarray(rng.integers(0, 256, (9, 13 + i, 3), dtype=np.uint8)) for i in range(count)]
    return [each.resize((61 + 10 * i, 47), Image.Resampling.BICUBIC) for i, each in enumerate(small)]


def pixels(backbone: Backbone, images: list[Image.Image]) -> Tensor:
    processor = backbone.processor("image")
    return processor.finish(processor.collate([processor(image) for image in images]))["pixels"]


def features(backbone: Backbone, values: Tensor) -> Features:
    with torch.inference_mode():
        return backbone({"image": {"pixels": values}})


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_pooled_are_upstreams(family: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, family)
    backbone, model = load(folder), upstream(folder)
    values = pixels(backbone, pictures())
    more: dict[str, Any] = {}
    if family == "vit_mae":
        model.config.mask_ratio = 0.0
        more["noise"] = torch.arange(16).float().expand(3, -1)
    with torch.inference_mode():
        out = model(pixel_values=values, **more)
    hidden = out.last_hidden_state.flatten(2).transpose(1, 2) if out.last_hidden_state.ndim == 4 else None
    hidden = out.last_hidden_state if hidden is None else hidden
    found = features(backbone, values)
    patches = found.tokens.shape[1]
    torch.testing.assert_close(found.tokens, hidden[:, hidden.shape[1] - patches :], **CLOSE)
    own = getattr(out, "pooler_output", None)
    torch.testing.assert_close(found.pooled, hidden[:, 0] if own is None else own.flatten(1), **CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_a_grid_of_patches(family: str, tmp_path: Path) -> None:
    backbone = load(write_folder(tmp_path, family))
    found = features(backbone, pixels(backbone, pictures(2)))
    assert found.grid is not None
    assert found.grid[0] * found.grid[1] == found.tokens.shape[1]
    assert found.map().shape == (2, found.tokens.shape[2], *found.grid)
    assert found.pooled.shape == (2, backbone.dim)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_alone_has_the_features_it_has_in_a_batch(family: str, tmp_path: Path) -> None:
    backbone = load(write_folder(tmp_path, family))
    values = pixels(backbone, pictures(4))
    together = features(backbone, values).pooled
    alone = torch.cat([features(backbone, each[None]).pooled for each in values])
    torch.testing.assert_close(together, alone, **CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
def test_stages_hold_every_parameter_once_in_run_order(family: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, family)
    backbone = load(folder)
    backbone.check_stages()
    told = CATALOG.select(f"transformers/{folder}")[0].spec
    names = tuple(stage.name for stage in backbone.stages())
    assert names[0] == "stem"
    assert told.stages in (None, names)
    assert told.dim in (None, backbone.dim)
    ran = order_of_first_use(backbone)
    assert ran == sorted(ran)


def order_of_first_use(backbone: Backbone) -> list[int]:
    """Indices of stages in the order in which the first module of each runs."""
    seen: list[int] = []

    def note(index: int) -> Any:
        return lambda module, given, out: None if index in seen else seen.append(index)

    for index, stage in enumerate(backbone.stages()):
        leaves = [leaf for module in stage.modules for leaf in module.modules() if list(leaf.parameters(recurse=False))]
        for leaf in leaves:
            leaf.register_forward_hook(note(index))
    features(backbone, pixels(backbone, pictures(1)))
    return seen


SQUARE = {"height": 32, "width": 32}
PROCESSORS: list[tuple[str, str, dict[str, Any]]] = [
    ("vit", "ViTImageProcessorPil", {"size": SQUARE}),
    ("vit", "ViTImageProcessorPil", {"size": SQUARE, "do_normalize": False}),
    ("beit", "BeitImageProcessorPil", {"size": SQUARE, "resample": 2}),
    ("dinov2", "BitImageProcessorPil", {"size": {"shortest_edge": 40}, "crop_size": SQUARE}),
    ("convnext", "ConvNextImageProcessorPil", {"size": {"shortest_edge": 32}}),
    ("convnext", "ConvNextImageProcessorPil", {"size": {"shortest_edge": 384}}),
    ("clip_vision_model", "CLIPImageProcessorPil", {"size": {"shortest_edge": 32}, "crop_size": SQUARE}),
    ("siglip_vision_model", "SiglipImageProcessorPil", {"size": SQUARE}),
    ("mobilenet_v2", "MobileNetV2ImageProcessorPil", {}),
]


@pytest.mark.parametrize(("family", "kind", "options"), PROCESSORS)
def test_pixels_are_those_of_the_image_processor_in_the_folder(
    family: str, kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Resized as its torchvision version does, which differs from the PIL version by up to 2 in 255."""
    own = getattr(transformers, kind)(**options)
    folder = write_folder(tmp_path, family)
    own.save_pretrained(folder)
    # Even margins: the PIL version cuts odd ones a pixel beside the torchvision version, which zoo follows.
    images = [each.resize(size) for each, size in zip(pictures(), ((120, 80), (160, 80), (80, 120)), strict=True)]
    expected = own(images, return_tensors="pt")["pixel_values"]
    same_pixels(pixels(load(folder), images), expected, own.image_std if own.do_normalize else (1, 1, 1))


def test_an_unknown_size_in_a_folder_is_an_error(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "vit")
    (folder / "preprocessor_config.json").write_text('{"size": {"longest_edge": 99}}')
    with pytest.raises(zoo.UsageError, match=r"an image size of .'longest_edge': 99. is not one"):
        load(folder)


def test_a_size_that_the_model_does_not_take_is_an_error(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "vit")
    (folder / "preprocessor_config.json").write_text('{"size": {"height": 64, "width": 64}}')
    with pytest.raises(zoo.UsageError, match="ViTModel does not run on images of 64x64"):
        load(folder)


@pytest.mark.parametrize(
    ("family", "architecture"),
    [
        ("vit", "ViTForImageClassification"),
        ("deit", "DeiTForImageClassification"),
        ("vit", "ViTForMaskedImageModeling"),
    ],
)
def test_a_file_without_a_pooler_pools_by_its_class_token(family: str, architecture: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, family)
    torch.manual_seed(1)
    model = getattr(transformers, architecture)(transformers.AutoConfig.from_pretrained(folder)).eval()
    model.save_pretrained(folder)
    backbone = load(folder)
    values = pixels(backbone, pictures())
    with torch.inference_mode():
        hidden = model.base_model(pixel_values=values).last_hidden_state
    found = features(backbone, values)
    torch.testing.assert_close(found.pooled, hidden[:, 0], **CLOSE)
    check_rebuilt(backbone, tmp_path / "assets", values)


@pytest.mark.parametrize("family", ["vit", "swin", "resnet", "clip_vision_model", "vit_mae"])
def test_assets_rebuild_the_same_features(family: str, tmp_path: Path) -> None:
    backbone = load(write_folder(tmp_path / "folder", family))
    check_rebuilt(backbone, tmp_path / "assets", pixels(backbone, pictures()))


def check_rebuilt(backbone: Backbone, assets: Path, values: Tensor) -> None:
    from zoo_transformers.vision import build

    backbone.save_assets(assets)
    request = zoo.LoadRequest(backbone.spec, None, ("image",), offline=True, assets=assets)
    rebuilt = build(request).eval()
    rebuilt.load_state_dict(backbone.state_dict(), strict=True)
    torch.testing.assert_close(features(rebuilt, values).pooled, features(backbone, values).pooled, **CLOSE)
    assert rebuilt.processor("image").key == backbone.processor("image").key


def test_masked_autoencoders_see_the_whole_image_every_time(tmp_path: Path) -> None:
    backbone = load(write_folder(tmp_path, "vit_mae"))
    values = pixels(backbone, pictures(1))
    first, again = features(backbone, values), features(backbone, values)
    assert first.tokens.shape[1] == 16
    torch.testing.assert_close(first.pooled, again.pooled, rtol=0, atol=0)


def test_pooling_can_be_chosen(tmp_path: Path) -> None:
    backbone: Any = load(write_folder(tmp_path, "vit"))
    values = pixels(backbone, pictures())
    backbone.pooling = "mean"
    found = features(backbone, values)
    torch.testing.assert_close(found.pooled, found.tokens.mean(1))
    backbone.pooling = "native"
    assert not torch.allclose(features(backbone, values).pooled, found.pooled)


@pytest.mark.parametrize("family", ["vit", "swin", "convnext", "resnet"])
def test_every_parameter_gets_a_gradient(family: str, tmp_path: Path) -> None:
    backbone = load(write_folder(tmp_path, family)).train()
    values = pixels(backbone, pictures())
    found = backbone({"image": {"pixels": values}})
    probe = nn.Linear(backbone.dim, 3)
    (probe(found.pooled).square().sum() + found.tokens.square().sum()).backward()
    assert {name for name, each in backbone.named_parameters() if each.grad is None} == set()


def test_text_is_not_for_an_image_backbone(tmp_path: Path) -> None:
    backbone = load(write_folder(tmp_path, "vit"))
    with pytest.raises(zoo.UsageError, match="takes images, not text"):
        backbone.processor("text")
