"""SigLIP, SigLIP 2, CoCa and EVA: each against open_clip's own model of the same folder, then carried to new data."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import zoo_open_clip
from PIL import Image
from tiny_open_clip import KIN, SENTENCES, encode, write_folder
from torch.nn.functional import normalize

import zoo
from zoo import Backbone, Catalog, Features
from zoo.verbs.config import Output

CATALOG = Catalog.of({"open_clip": zoo_open_clip})
FAMILIES = ("siglip", "siglip2", "coca", "eva01", "eva02")
EXACT = {"rtol": 0, "atol": 1e-5}


def load(folder: Path, tower: str = "") -> Any:
    return zoo.load(f"open_clip/local-dir:{folder}{tower}", catalog=CATALOG)


def batch_for(backbone: Backbone, texts: Any = SENTENCES) -> dict[str, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    found: dict[str, dict[str, torch.Tensor]] = {}
    if "image" in backbone.modalities:
        processor: Any = backbone.processor("image")
        found["image"] = {"pixels": torch.randn(len(texts), 3, *processor.preprocess.size)}
    if "text" in backbone.modalities:
        reader = backbone.processor("text")
        found["text"] = reader.finish(reader.collate([reader(text) for text in texts]))
    return found


def features(backbone: Any, texts: Any = SENTENCES) -> Features:
    with torch.inference_mode():
        found: Features = backbone(batch_for(backbone, texts))
    return found


# --- the same features


@pytest.mark.parametrize("family", KIN)
def test_embeddings_and_tokens_are_open_clips(family: str, tmp_path: Path) -> None:
    model = write_folder(tmp_path, family)
    image, text, both = load(tmp_path, ":image"), load(tmp_path, ":text"), load(tmp_path)
    pixels = batch_for(image)["image"]["pixels"]
    ids = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(list(SENTENCES))
    want = encode(model, pixels=pixels), encode(model, ids=ids)
    seen, read = features(image), features(text)
    torch.testing.assert_close(seen.pooled, want[0], **EXACT)
    torch.testing.assert_close(read.pooled, want[1], **EXACT)
    torch.testing.assert_close(features(both).pooled, torch.cat(want, dim=1), **EXACT)
    with torch.no_grad():
        patches = model.visual.trunk.forward_features(pixels)[:, model.visual.trunk.num_prefix_tokens :]
    torch.testing.assert_close(seen.tokens, patches, **EXACT)
    assert seen.grid is not None
    assert seen.grid[0] * seen.grid[1] == seen.tokens.shape[1]
    assert read.mask is not None
    assert read.mask.shape == read.tokens.shape[:2]


def test_coca_gives_the_embeddings_that_open_clip_scales_to_length_one(tmp_path: Path) -> None:
    """Its `encode_image` and `encode_text` scale by default; zoo keeps the length, as for every other family."""
    model = write_folder(tmp_path, "coca")
    backbone = load(tmp_path)
    found, given = features(backbone).pooled, batch_for(backbone)
    half = found.shape[1] // 2
    with torch.no_grad():
        torch.testing.assert_close(
            normalize(found[:, :half], dim=1), model.encode_image(given["image"]["pixels"]), **EXACT
        )
        torch.testing.assert_close(normalize(found[:, half:], dim=1), model.encode_text(given["text"]["ids"]), **EXACT)
    assert not torch.allclose(found[:, :half].norm(dim=1), torch.ones(len(found)), atol=1e-2)


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_siglip_reads_its_padding_as_it_was_trained_to(family: str, tmp_path: Path) -> None:
    """It was trained without a mask, and pools the last position: all 16 places of a short text are computed."""
    write_folder(tmp_path, family)
    backbone = load(tmp_path, ":text")
    found = features(backbone, ["a cat"])
    assert found.tokens.shape[1] == backbone.spec.context_length == 16
    assert found.mask is not None
    assert found.mask.all()
    together = features(backbone, [*SENTENCES, "a cat"])
    torch.testing.assert_close(together.pooled[-1], found.pooled[0], **EXACT)


@pytest.mark.parametrize("family", ["eva02", "roberta"])
def test_padding_on_the_left_is_moved_to_where_these_towers_expect_it(family: str, tmp_path: Path) -> None:
    write_folder(tmp_path, family)
    backbone = load(tmp_path, ":text")
    given = batch_for(backbone, SENTENCES[:2])["text"]
    turned = {name: torch.zeros_like(each) for name, each in given.items()}
    for row, length in enumerate(given["mask"].sum(1).tolist()):
        for name, each in given.items():
            turned[name][row] = each[row].roll(-length)
    assert not torch.equal(turned["mask"], given["mask"])
    with torch.inference_mode():
        torch.testing.assert_close(backbone({"text": turned}).pooled, backbone({"text": given}).pooled, **EXACT)


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_pool_in_every_way_on_their_real_tokens(family: str, tmp_path: Path) -> None:
    write_folder(tmp_path, family)
    backbone = load(tmp_path, ":text")
    for how in ("cls", "mean", "max", "last"):
        backbone.pooling = how
        found = features(backbone)
        torch.testing.assert_close(found.pooled, zoo.pool(found.tokens, found.mask, how))  # type: ignore[arg-type]
        assert backbone.dim == found.pooled.shape[1]


# --- stages, towers and training


@pytest.mark.parametrize("family", KIN)
def test_each_tower_has_its_stages_and_every_parameter_learns(family: str, tmp_path: Path) -> None:
    write_folder(tmp_path, family)
    backbone = load(tmp_path).train()
    backbone.check_stages()
    blocks = {"image": len(backbone.visual.trunk.blocks), "text": 2}
    expected = [[f"{t}.stem", *(f"{t}.blocks.{i}" for i in range(blocks[t])), f"{t}.top"] for t in ("image", "text")]
    assert [stage.name for stage in backbone.stages()] == expected[0] + expected[1]
    found = backbone(batch_for(backbone))
    (found.pooled * torch.randn_like(found.pooled)).sum().backward()
    still = [name for name, each in backbone.named_parameters() if each.grad is None or not each.grad.any()]
    # A key's bias shifts every score of a query alike, and so changes nothing.
    assert [name for name in still if not name.endswith("k_proj.bias")] == []
    for tower in ("image", "text"):
        assert {each.name.partition(".")[0] for each in load(tmp_path, f":{tower}").stages()} == {tower}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Sixty rows of a picture, a sentence and a label; both tell cats from dogs."""
    noise, rows = np.random.default_rng(0), []
    for index, animal in enumerate(["cat", "dog"] * 30):
        colour = np.array((200, 40, 40) if animal == "cat" else (40, 40, 200))
        pixels = np.clip(colour + noise.normal(0, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        rows.append([f"{index}.png", f"the {animal} sat on the mat {animal} {index % 7}", animal])
    with (tmp_path / "animals.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "text", "label"], *rows])
    return tmp_path / "animals.csv"


@pytest.mark.parametrize("family", ["siglip2", "coca", "eva02"])
def test_a_head_and_both_towers_are_trained_on_new_data(family: str, table: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "source", family)
    name = f"open_clip/local-dir:{tmp_path / 'source'}"
    before = zoo.load(name, catalog=CATALOG).state_dict()
    out = Output(dir=str(tmp_path / "runs"), name=family)
    run = zoo.finetune(
        name,
        table,
        strategy="full",
        head="mlp",
        epochs=4,
        lr=0.01,
        batch_size=8,
        device="cpu",
        baseline="none",
        out=out,
    )
    assert run.metrics["accuracy"] >= 0.9  # chance is 0.5
    after = run.load().backbone.state_dict()
    moved = {key.partition(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert {"visual", "text"} <= moved
    assert torch.equal(before["logit_scale"], after["logit_scale"])


# --- the real ones


@pytest.mark.parametrize(
    ("name", "dim", "size", "context", "tokenizer"),
    [
        ("ViT-B-16-SigLIP", 768, 224, 64, "timm/ViT-B-16-SigLIP"),
        ("ViT-B-16-SigLIP2", 768, 224, 64, "timm/ViT-B-16-SigLIP2"),
        ("ViT-SO400M-16-SigLIP2-384", 1152, 384, 64, "timm/ViT-SO400M-16-SigLIP2-384"),
        ("coca_ViT-B-32", 512, 224, 76, "open_clip"),
        ("EVA02-B-16", 512, 224, 77, "open_clip"),
        ("EVA01-g-14", 1024, 224, 77, "open_clip"),
    ],
)
def test_published_ones_are_listed_with_their_sizes(
    name: str, dim: int, size: int, context: int, tokenizer: str
) -> None:
    spec = CATALOG.select(f"open_clip/{name}")[0].spec
    found: Any = spec.preprocess["text"]
    assert (spec.dim, spec.image_size, spec.context_length, found.tokenizer) == (dim, size, context, tokenizer)
    assert spec.stages is not None
    assert spec.params
    assert spec.weights
    assert str(spec.paper).startswith("https://arxiv.org/abs/")


def test_offline_siglip_names_the_tokenizer_that_it_lacks_and_how_to_have_it() -> None:
    with pytest.raises(
        zoo.WeightsError, match=r"texts need a tokenizer .* timm/ViT-B-16-SigLIP2 is not cached"
    ) as told:
        zoo.load("open_clip/ViT-B-16-SigLIP2:text@random", catalog=CATALOG, offline=True)
    assert "hf download timm/ViT-B-16-SigLIP2 --include '*.json'" in str(told.value.help)
    assert ":image" in str(told.value.help)
