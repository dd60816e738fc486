"""`zoo_timm` against timm itself: the same features, the same pixels, and a catalogue that tells the truth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import zoo_timm
from pixels import same_pixels, smooth
from timm.data import create_transform, resolve_data_config
from tiny_timm import TINY, Tiny, write_folder
from zoo_timm.backbone import build
from zoo_timm.listing import listed, recorded_version
from zoo_timm.registry import spec_of, tags_of

import zoo
from zoo import Backbone, BackboneSpec, Catalog, Features, LoadRequest

CATALOG = Catalog.of({"timm": zoo_timm})
LISTED = {spec.architecture: spec for spec in listed()}

BRANCHED = ("coat", "crossvit", "efficientvim", "pit")
"""Their tokens are no single map: several branches, or nothing but a class token."""


def load(name: str, **options: Any) -> Backbone:
    return zoo.load(name, catalog=CATALOG, **options)


def features(backbone: Backbone, pixels: torch.Tensor) -> Features:
    with torch.no_grad():
        return backbone({"image": {"pixels": pixels}})


def smallest() -> list[BackboneSpec]:
    """The cheapest architecture of each family."""
    families: dict[str, list[BackboneSpec]] = {}
    for spec in LISTED.values():
        families.setdefault(spec.family, []).append(spec)
    return [
        min(specs, key=lambda each: (each.params or 0) * (each.image_size or 0) ** 2) for specs in families.values()
    ]


CURIOUS = (
    "vit_srelpos_small_patch16_224",  # positions that all blocks share
    "vit_small_patch16_rope_mixed_224",  # learned rotary positions
    "vit_base_patch16_siglip_224",  # pooled by attention
    "resnet50_clip",
    "deit3_small_patch16_224",
    "swinv2_tiny_window8_256",
    "tf_efficientnet_b0",
    "maxvit_tiny_rw_224",
    "mobilenetv4_hybrid_medium",
    "vgg11_bn",
)
"""More with something that a listing may get wrong."""


# --- the same features


@pytest.mark.parametrize("peculiar", TINY)
def test_features_are_those_of_timm(peculiar: str, tmp_path: Path) -> None:
    tiny = TINY[peculiar]
    model = write_folder(tmp_path, tiny)
    backbone = load(f"timm/{tmp_path}")
    pixels = torch.randn(2, 3, tiny.size, tiny.size)
    with torch.no_grad():
        whole = model.forward_features(pixels)
        pooled = model.forward_head(whole, pre_logits=True)
    found = features(backbone, pixels)
    torch.testing.assert_close(found.pooled, pooled, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.tokens, patches(model, whole, tiny), rtol=0, atol=1e-5)
    assert found.pooled.shape == (2, backbone.dim)
    assert found.grid is not None
    assert found.grid[0] * found.grid[1] == found.tokens.shape[1]


def patches(model: Any, whole: torch.Tensor, tiny: Tiny) -> torch.Tensor:
    """(B, T, D') tokens of what timm's `forward_features` gives, whatever its layout."""
    if whole.ndim == 3:
        return whole[:, tiny.prefix :]
    if tiny.architecture.startswith("swin"):
        return whole.flatten(1, 2)  # (B, H, W, C)
    return whole.flatten(2).transpose(1, 2)  # (B, C, H, W)


@pytest.mark.parametrize(
    "peculiar",
    [
        "vit with class and register tokens",
        "vit with registers and no class token",
        "vit pooled by attention",
        "swin",
        "convnext",
        "mobilenet with a dense layer after its pooling",
        "vgg with dense layers after its pooling",
        "a class token by itself",
    ],
)
def test_the_source_classifier_on_pooled_features_gives_the_source_logits(peculiar: str, tmp_path: Path) -> None:
    tiny = TINY[peculiar]
    model = write_folder(tmp_path, tiny)
    pixels = torch.randn(2, 3, tiny.size, tiny.size)
    with torch.no_grad():
        logits = model.get_classifier()(features(load(f"timm/{tmp_path}"), pixels).pooled)
        torch.testing.assert_close(logits, model(pixels), rtol=0, atol=1e-5)


def test_wide_images_keep_their_grid(tmp_path: Path) -> None:
    write_folder(tmp_path, TINY["resnet"])
    found = features(load(f"timm/{tmp_path}"), torch.randn(1, 3, 64, 128))
    assert found.grid == (2, 4)
    assert found.map().shape == (1, 48, 2, 4)


@pytest.mark.parametrize("how", ["cls", "mean", "max"])
def test_other_poolings_are_over_the_right_tokens(how: Any, tmp_path: Path) -> None:
    tiny = TINY["vit with class and register tokens"]
    model = write_folder(tmp_path, tiny)
    backbone: Any = load(f"timm/{tmp_path}")
    backbone.pooling = how
    pixels = torch.randn(2, 3, tiny.size, tiny.size)
    with torch.no_grad():
        whole = model.forward_features(pixels)
    want = {"cls": whole[:, 0], "mean": whole[:, 5:].mean(1), "max": whole[:, 5:].amax(1)}[how]
    torch.testing.assert_close(features(backbone, pixels).pooled, want, rtol=0, atol=1e-5)


def test_models_of_several_branches_pool_their_own_way_alone() -> None:
    backbone: Any = load("timm/crossvit_tiny_240@random")
    with pytest.raises(zoo.UsageError, match="several branches"):
        backbone.pooling = "mean"


def test_random_weights_come_from_the_seed() -> None:
    first, again, other = (load("timm/test_resnet@random", seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


# --- the same pixels


def test_images_are_prepared_as_timm_prepares_them() -> None:
    """Every preprocessing there is among the weights, on a wide and on a tall image."""
    names = {}
    for spec in LISTED.values():
        for each in spec.weights:
            names.setdefault(each.preprocess["image"], f"{spec.architecture}.{each.tag}")
    assert {each.fit for each in names} == {"crop", "squash", "pad"}
    images = [smooth(size) for size in ((150, 97), (200, 301))]
    for preprocess, name in names.items():
        config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        transform = create_transform(**config)
        processor: Any = zoo.ImageProcessor(preprocess)
        for image in images:
            pixels = processor.finish(processor.collate([processor(image)]))["pixels"][0]
            same_pixels(pixels, transform(image), preprocess.std, name)


def test_the_tag_decides_how_images_are_prepared() -> None:
    tagged = CATALOG.select("timm/vit_base_patch16_224.augreg_in1k")[0]
    other = CATALOG.select("timm/vit_base_patch16_224.mae")[0]
    assert tagged.spec.preprocess_for(tagged.weights)["image"].mean == (0.5, 0.5, 0.5)
    assert other.spec.preprocess_for(other.weights)["image"].mean == zoo.IMAGENET_MEAN


# --- the catalogue


def test_every_architecture_and_every_weight_tag_is_listed() -> None:
    if timm.__version__ != recorded_version():
        pytest.skip(f"timm {timm.__version__} is installed, the data file is of {recorded_version()}")
    # Tests of open_clip register small networks of their own in timm.
    assert set(LISTED) == {name for name in timm.list_models() if not name.startswith("zoo_")}
    tags = {f"{spec.architecture}.{each.tag}" for spec in LISTED.values() for each in spec.weights}
    assert tags == set(timm.list_pretrained())


def test_listed_weights_say_what_timm_says() -> None:
    for spec in smallest():
        default = timm.get_pretrained_cfg(spec.architecture).tag
        assert [each.tag for each in spec.weights] == [tag for tag, _, _ in tags_of(spec.architecture)]
        assert not spec.weights or spec.weights[0].tag == default
        assert spec.preprocess == spec_of(spec.architecture).preprocess


@pytest.mark.parametrize("spec", [*smallest(), *(LISTED[name] for name in CURIOUS)], ids=lambda spec: spec.architecture)
def test_the_data_file_tells_the_truth(spec: BackboneSpec) -> None:
    with torch.device("meta"):
        backbone = build(LoadRequest(spec, None, ("image",))).eval()
        ran = run_order(backbone)
        found = features(backbone, torch.zeros(2, 3, *backbone.processor("image").preprocess.size))
    backbone.check_stages()
    assert tuple(stage.name for stage in backbone.stages()) == spec.stages
    assert len(set(spec.stages or ())) == len(spec.stages or ()) > 2
    assert sum(parameter.numel() for parameter in backbone.parameters()) == spec.params
    assert found.pooled.shape == (2, backbone.dim) == (2, spec.dim)
    assert (found.grid is None) == (spec.family in BRANCHED)
    # CoaT calls the position encodings of its stem again in every block.
    assert ran == sorted(ran) or spec.family == "coat"


def run_order(backbone: Backbone) -> list[int]:
    """Filled by the next forward: the stage of each module with parameters of its own, when it first runs."""
    ran: list[int] = []
    for place, stage in enumerate(backbone.stages()):
        for module in stage.modules:
            for leaf in module.modules():
                if any(True for _ in leaf.parameters(recurse=False)):
                    record(leaf, place, ran)
    return ran


def record(module: torch.nn.Module, place: int, ran: list[int]) -> None:
    def first(*_: Any) -> None:
        handle.remove()
        ran.append(place)

    handle = module.register_forward_hook(first)


@pytest.mark.parametrize(
    "architecture", [*CURIOUS, "efficientvim_m1", "crossvit_tiny_240", "cait_xxs24_224", "levit_128s"]
)
def test_every_parameter_learns(architecture: str) -> None:
    with torch.device("meta"):
        backbone = build(LoadRequest(LISTED[architecture], None, ("image",))).train()
        height, width = backbone.processor("image").preprocess.size
        backbone({"image": {"pixels": torch.zeros(2, 3, height, width)}}).pooled.sum().backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []


def test_listing_imports_neither_torch_nor_timm() -> None:
    code = (
        "import sys, zoo_timm; specs = list(zoo_timm.zoo_backbones());"
        "assert len(specs) > 1000; print({'torch', 'timm', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_names_are_matched_without_regard_to_case_and_typos_get_close_matches() -> None:
    assert CATALOG.select("timm/ResNet18.A1_in1k")[0].name == "timm/resnet18.a1_in1k"
    with pytest.raises(zoo.UnknownNameError, match="Did you mean timm/resnet18"):
        CATALOG.select("timm/resnt18")
    with pytest.raises(zoo.WeightsError, match=r"no weights 'a9_in1k'.*Did you mean"):
        CATALOG.select("timm/resnet18.a9_in1k")
