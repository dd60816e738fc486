"""`zoo_open_clip` against open_clip itself: the same features, ids and pixels, and a catalogue that tells the truth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import zoo_open_clip
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from pixels import same_pixels, smooth
from tiny_open_clip import SENTENCES, TINY, encode, write_folder
from zoo_open_clip.backbone import build
from zoo_open_clip.config import ModelConfig, image_preprocess
from zoo_open_clip.listing import listed, recorded_version
from zoo_open_clip.registry import spec_of

import zoo
from zoo import Backbone, BackboneSpec, Catalog, Features, LoadRequest

CATALOG = Catalog.of({"open_clip": zoo_open_clip})
LISTED = {spec.architecture: spec for spec in listed()}


def load(name: str, **options: Any) -> Backbone:
    return zoo.load(f"open_clip/{name}", catalog=CATALOG, **options)


def seen(backbone: Backbone, pixels: torch.Tensor) -> Features:
    with torch.no_grad():
        return backbone({"image": {"pixels": pixels}})


def read(backbone: Backbone, texts: Any) -> Features:
    with torch.no_grad():
        return backbone({"text": tokenized(backbone, texts)})


def tokenized(backbone: Backbone, texts: Any) -> dict[str, torch.Tensor]:
    processor = backbone.processor("text")
    return processor.finish(processor.collate([processor(text) for text in texts]))


def pixels_for(backbone: Backbone, count: int = 2) -> torch.Tensor:
    torch.manual_seed(1)
    processor: Any = backbone.processor("image")
    return torch.randn(count, 3, *processor.preprocess.size)


# --- the same features


@pytest.mark.parametrize("kind", TINY)
def test_image_embeddings_are_those_of_open_clip(kind: str, tmp_path: Path) -> None:
    model = write_folder(tmp_path, kind)
    backbone = load(f"local-dir:{tmp_path}:image")
    pixels = pixels_for(backbone)
    found = seen(backbone, pixels)
    torch.testing.assert_close(found.pooled, encode(model, pixels=pixels), rtol=0, atol=1e-5)
    assert found.pooled.shape == (2, backbone.dim)
    assert (found.grid is None) == (kind == "coca")  # the queries of a pooler have no place in the image


@pytest.mark.parametrize("kind", TINY)
def test_text_embeddings_are_those_of_open_clip(kind: str, tmp_path: Path) -> None:
    model = write_folder(tmp_path, kind)
    backbone = load(f"local-dir:{tmp_path}:text")
    ids = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(list(SENTENCES))
    found = read(backbone, SENTENCES)
    torch.testing.assert_close(found.pooled, encode(model, ids=ids), rtol=0, atol=1e-5)
    assert found.pooled.shape == (len(SENTENCES), backbone.dim)
    assert found.mask is not None
    assert found.tokens.shape[:2] == found.mask.shape


@pytest.mark.parametrize("kind", TINY)
def test_tokens_are_those_before_pooling(kind: str, tmp_path: Path) -> None:
    model = write_folder(tmp_path, kind)
    backbone: Any = load(f"local-dir:{tmp_path}")
    pixels = pixels_for(backbone)
    image = seen(load(f"local-dir:{tmp_path}:image"), pixels).tokens
    text = read(load(f"local-dir:{tmp_path}:text"), SENTENCES)
    ids = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(list(SENTENCES))
    torch.testing.assert_close(image, image_tokens(model, pixels), rtol=0, atol=1e-5)
    want = text_tokens(model, ids)[:, : text.tokens.shape[1]]
    torch.testing.assert_close(text.tokens[text.mask], want[text.mask], rtol=0, atol=1e-5)


def image_tokens(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """(B, T, D') as open_clip itself gives them."""
    visual = model.visual
    with torch.no_grad():
        if hasattr(visual, "trunk"):
            whole = visual.trunk.forward_features(pixels)
            return whole.flatten(2).transpose(1, 2) if whole.ndim == 4 else whole[:, visual.trunk.num_prefix_tokens :]
        if hasattr(visual, "layer4"):
            return captured(visual.layer4, lambda: visual(pixels)).flatten(2).transpose(1, 2)
        visual.output_tokens = True
        return visual(pixels)[1]


def text_tokens(model: Any, ids: torch.Tensor) -> torch.Tensor:
    if not hasattr(model, "text"):
        return captured(model.ln_final, lambda: encode(model, ids=ids))
    model.text.output_tokens = True
    with torch.no_grad():
        return model.text(ids)[1]


def captured(module: torch.nn.Module, run: Any) -> torch.Tensor:
    found: list[torch.Tensor] = []
    handle = module.register_forward_hook(lambda *args: found.append(args[2].detach()))
    with torch.no_grad():
        run()
    handle.remove()
    return found[0]


@pytest.mark.parametrize("kind", ["clip", "siglip", "roberta"])
def test_both_towers_stand_side_by_side(kind: str, tmp_path: Path) -> None:
    model = write_folder(tmp_path, kind)
    backbone = load(f"local-dir:{tmp_path}")
    pixels = pixels_for(backbone, len(SENTENCES))
    with torch.no_grad():
        found = backbone({"image": {"pixels": pixels}, "text": tokenized(backbone, SENTENCES)})
    ids = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(list(SENTENCES))
    want = torch.cat([encode(model, pixels=pixels), encode(model, ids=ids)], dim=1)
    torch.testing.assert_close(found.pooled, want, rtol=0, atol=1e-5)
    assert backbone.dim == backbone.spec.dim == found.pooled.shape[1]


@pytest.mark.parametrize("kind", ["clip", "metaclip worldwide", "roberta", "coca", "siglip"])
def test_a_text_has_the_same_features_in_any_company(kind: str, tmp_path: Path) -> None:
    write_folder(tmp_path, kind)
    backbone = load(f"local-dir:{tmp_path}:text")
    together = read(backbone, SENTENCES).pooled
    alone = torch.cat([read(backbone, [text]).pooled for text in SENTENCES])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_short_texts_are_not_computed_at_the_full_context_where_that_is_exact(tmp_path: Path) -> None:
    write_folder(tmp_path / "clip", "clip")
    write_folder(tmp_path / "siglip", "siglip")
    short = ["a cat"]
    assert tokenized(load(f"local-dir:{tmp_path / 'clip'}:text"), short)["ids"].shape == (1, 4)
    assert tokenized(load(f"local-dir:{tmp_path / 'siglip'}:text"), short)["ids"].shape == (1, 16)


@pytest.mark.parametrize("how", ["mean", "max", "last"])
def test_other_poolings_are_over_the_tokens(how: Any, tmp_path: Path) -> None:
    write_folder(tmp_path, "clip")
    backbone: Any = load(f"local-dir:{tmp_path}:text")
    backbone.pooling = how
    found = read(backbone, SENTENCES)
    torch.testing.assert_close(found.pooled, zoo.pool(found.tokens, found.mask, how))
    assert backbone.dim == found.pooled.shape[1] == 16


def test_image_towers_offer_no_class_token(tmp_path: Path) -> None:
    write_folder(tmp_path, "clip")
    backbone: Any = load(f"local-dir:{tmp_path}:image")
    with pytest.raises(zoo.UsageError, match="no class token"):
        backbone.pooling = "cls"


# --- stages


@pytest.mark.parametrize("kind", TINY)
def test_stages_hold_every_parameter_once_in_run_order(kind: str, tmp_path: Path) -> None:
    write_folder(tmp_path, kind)
    backbone = load(f"local-dir:{tmp_path}")
    backbone.check_stages()
    assert [stage.branch for stage in backbone.stages()] == [s.name.partition(".")[0] for s in backbone.stages()]
    ran: list[int] = []
    for place, stage in enumerate(backbone.stages()):
        for leaf in (leaf for module in stage.modules for leaf in module.modules()):
            if any(True for _ in leaf.parameters(recurse=False)):
                leaf.register_forward_hook(lambda *_, place=place: ran.append(place))
    with torch.no_grad():
        backbone({"image": {"pixels": pixels_for(backbone)}, "text": tokenized(backbone, SENTENCES[:2])})
    assert ran == sorted(ran)


@pytest.mark.parametrize("kind", TINY)
def test_every_parameter_learns(kind: str, tmp_path: Path) -> None:
    write_folder(tmp_path, kind)
    backbone = load(f"local-dir:{tmp_path}").train()
    torch.manual_seed(0)
    found = backbone({"image": {"pixels": pixels_for(backbone, 4)}, "text": tokenized(backbone, SENTENCES)})
    (found.pooled * torch.randn_like(found.pooled)).sum().backward()
    still = [name for name, each in backbone.named_parameters() if each.grad is None or not each.grad.any()]
    # A key's bias shifts every score of a query alike, and so changes nothing.
    assert [name for name in still if not name.endswith(("k_proj.bias", "key.bias"))] == []


def test_a_frozen_tower_stays_as_it_was_and_in_eval_mode(tmp_path: Path) -> None:
    write_folder(tmp_path, "clip with a resnet")
    backbone = load(f"local-dir:{tmp_path}")
    names = [stage.name for stage in backbone.stages() if stage.branch == "text"]
    backbone.freeze_except(names).train()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone({"image": {"pixels": pixels_for(backbone)}, "text": tokenized(backbone, SENTENCES[:2])})
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())


# --- one tower without the other


@pytest.mark.parametrize("kind", ["clip", "siglip", "coca", "bert"])
def test_one_tower_does_not_hold_the_other(kind: str, tmp_path: Path) -> None:
    model = write_folder(tmp_path, kind)
    whole, image, text = (load(f"local-dir:{tmp_path}{tower}") for tower in ("", ":image", ":text"))
    assert {name.partition(".")[0] for name, _ in image.named_parameters()} == {"visual"}
    assert {name.partition(".")[0] for name, _ in text.named_parameters()} == {"text"}
    assert count(image) == sum(p.numel() for p in model.visual.parameters()) == image.spec.params
    assert count(image) + count(text) == count(whole)
    assert (image.modalities, text.modalities, whole.modalities) == (("image",), ("text",), ("image", "text"))
    with pytest.raises(zoo.UsageError, match="serves image, not text"):
        image.processor("text")


def count(backbone: Backbone) -> int:
    return sum(parameter.numel() for parameter in backbone.parameters())


def test_the_temperature_is_kept_and_never_trained(tmp_path: Path) -> None:
    model = write_folder(tmp_path, "siglip")
    backbone: Any = load(f"local-dir:{tmp_path}")
    assert float(backbone.logit_scale) == pytest.approx(model.logit_scale.item())
    assert float(backbone.logit_bias) == -10
    assert not any("logit" in name for name, _ in backbone.named_parameters())


# --- the same pixels


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [64, (48, 80)])
def test_images_are_prepared_as_open_clip_prepares_them(mode: str, interpolation: str, size: Any) -> None:
    config = {
        "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25), "interpolation": interpolation, "resize_mode": mode,
        "fill_color": 7,
    }  # fmt: skip
    transform = image_transform_v2(PreprocessCfg(size=size, **config), is_train=False)
    both = (size, size) if isinstance(size, int) else size
    processor: Any = zoo.ImageProcessor(image_preprocess(both, config))
    for shape in ((150, 97), (200, 301), (31, 40), (64, 64)):
        image = smooth(shape)
        pixels = processor.finish(processor.collate([processor(image)]))["pixels"][0]
        same_pixels(pixels, transform(image), config["std"])


def test_a_folder_keeps_its_own_preprocessing(tmp_path: Path) -> None:
    own = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bilinear", "resize_mode": "squash"}
    write_folder(tmp_path, "clip", preprocess=own)
    _, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    processor: Any = load(f"local-dir:{tmp_path}:image").processor("image")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    pixels = processor.finish(processor.collate([processor(image)]))["pixels"][0]
    same_pixels(pixels, transform(image), own["std"])


@pytest.mark.parametrize(
    "name",
    [
        "ViT-B-32.openai",
        "ViT-B-16-SigLIP.webli",
        "ViT-L-14-CLIPA.datacomp1b",
        "MobileCLIP-S1.datacompdr",
        "PE-Core-B-16.meta",
    ],
)
def test_the_tag_decides_how_images_are_prepared(name: str) -> None:
    selection = CATALOG.select(f"open_clip/{name}")[0]
    architecture, _, tag = name.partition(".")
    config = open_clip.get_pretrained_cfg(architecture, tag)
    found: Any = selection.spec.preprocess_for(selection.weights)["image"]
    assert (found.mean, found.std, found.interpolation) == (config["mean"], config["std"], config["interpolation"])
    assert found.fit == {"shortest": "crop", "squash": "squash"}[config["resize_mode"]]
    assert found.size == (selection.spec.image_size,) * 2


# --- the same ids


@pytest.mark.parametrize(
    "text", ["a photo of a cat", "", "Hello!!  World's   end", "ünï ☃ 漢字", "word " * 200, "&amp;amp;"]
)
def test_texts_become_the_ids_of_open_clip(text: str) -> None:
    backbone = load("ViT-B-32:text@random")
    found = tokenized(backbone, [text])
    want = open_clip.get_tokenizer("ViT-B-32")([text])
    T = found["ids"].shape[1]
    assert torch.equal(found["ids"], want[:, :T])
    assert not want[:, T:].any()
    assert found["mask"].all()


# --- the catalogue


def test_every_architecture_and_every_tag_is_listed() -> None:
    if open_clip.__version__ != recorded_version():
        pytest.skip(f"open_clip {open_clip.__version__} is installed, the data file is of {recorded_version()}")
    assert set(LISTED) == set(open_clip.list_models())
    tags = {(spec.architecture, each.tag) for spec in LISTED.values() for each in spec.weights}
    assert tags == set(open_clip.list_pretrained())
    assert len(LISTED) > 100
    assert len(tags) > 150


def test_listed_weights_say_what_open_clip_says() -> None:
    for spec in LISTED.values():
        fresh = spec_of(spec.architecture)
        assert fresh is not None
        assert (fresh.weights, fresh.preprocess, fresh.dim) == (spec.weights, spec.preprocess, spec.dim)
        assert (fresh.image_size, fresh.context_length) == (spec.image_size, spec.context_length)


def smallest() -> list[BackboneSpec]:
    """The cheapest architecture of each family."""
    families: dict[str, list[BackboneSpec]] = {}
    for spec in LISTED.values():
        if spec.params is not None and spec.preprocess["text"].tokenizer == "open_clip":
            families.setdefault(spec.family, []).append(spec)
    return [min(specs, key=lambda each: each.params or 0) for specs in families.values()]


CURIOUS = ("RN50", "convnext_base", "EVA02-B-16", "swin_base_patch4_window7_224", "vit_relpos_medium_patch16_cls_224")
"""More whose image tower is peculiar."""


@pytest.mark.parametrize("spec", [*smallest(), *(LISTED[n] for n in CURIOUS)], ids=lambda spec: spec.architecture)
def test_the_data_file_tells_the_truth(spec: BackboneSpec) -> None:
    with torch.device("meta"):
        backbone = build(LoadRequest(spec, None, ("image", "text"))).eval()
        pixels = torch.zeros(2, 3, spec.image_size or 0, spec.image_size or 0)
        ids = torch.zeros(2, spec.context_length or 0, dtype=torch.int64)
        with torch.no_grad():
            found = backbone({"image": {"pixels": pixels}, "text": {"ids": ids, "mask": ids == 0}})
    backbone.check_stages()
    assert tuple(stage.name for stage in backbone.stages()) == spec.stages
    assert count(backbone) == spec.params
    assert found.pooled.shape == (2, backbone.dim) == (2, 2 * (spec.dim or 0))


def test_listing_imports_neither_torch_nor_open_clip() -> None:
    code = (
        "import sys, zoo_open_clip; specs = list(zoo_open_clip.zoo_backbones());"
        "assert len(specs) > 100; print({'torch', 'open_clip', 'timm', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_command_lists_the_source_without_torch() -> None:
    code = (
        "import sys; from zoo.cli.main import run; sys.argv = ['zoo', 'list', '--source', 'open_clip', '--json']\n"
        "try:\n    run()\nfinally:\n    print({'torch', 'open_clip'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith("set()")
    assert "open_clip/ViT-B-32.laion2b_s34b_b79k" in done.stdout


def test_names_take_towers_tags_and_any_case() -> None:
    select = CATALOG.select
    assert select("open_clip/vit-b-32:image@LAION2B_s34b_b79k")[0].name == "open_clip/ViT-B-32.laion2b_s34b_b79k:image"
    assert select("open_clip/ViT-B-32.openai:text")[0].towers == ("text",)
    assert select("open_clip/ViT-B-32@random")[0].weights is None
    with pytest.raises(zoo.UsageError, match="has no audio tower"):
        select("open_clip/ViT-B-32:audio")


def test_typos_get_close_matches() -> None:
    with pytest.raises(zoo.UnknownNameError, match="Did you mean open_clip/ViT-B-32"):
        CATALOG.select("open_clip/ViT-B32")
    with pytest.raises(zoo.WeightsError, match=r"no weights 'laion2b_s34b_b79'.*Did you mean laion2b_s34b_b79k"):
        CATALOG.select("open_clip/ViT-B-32@laion2b_s34b_b79")


def test_preprocessing_of_a_configuration_defaults_to_that_of_openai() -> None:
    config = ModelConfig(open_clip.get_model_config("ViT-B-32"))
    default = PreprocessCfg()
    found = config.image_preprocess()
    assert (found.mean, found.std, found.interpolation) == (default.mean, default.std, default.interpolation)
