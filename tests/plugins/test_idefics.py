"""Flamingo through Idefics: images, texts and both, against transformers' own model on the same folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo_transformers
from PIL import Image
from tiny_idefics import write_idefics
from transformers import AutoTokenizer, IdeficsImageProcessor, IdeficsModel, IdeficsProcessor

import zoo
from zoo import Catalog, DataError, Features, UsageError

CATALOG = Catalog.of({"transformers": zoo_transformers})
ROUNDING = {"atol": 5e-6, "rtol": 0.0}
"""Sums of another order: batches of another size, masked columns."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_idefics(tmp_path_factory.mktemp("idefics") / "model")


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Any:
    return load(folder)


def load(folder: Path, tower: str = "") -> Any:
    return zoo.load(f"transformers/{folder}{tower}", catalog=CATALOG)


def picture(seed: int, size: tuple[int, int] = (45, 29)) -> Any:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


ONE, TWO, THREE = picture(1), picture(2), picture(3, (32, 61))


def batch(backbone: Any, images: Sequence[Any] | None = None, texts: Sequence[str] | None = None) -> Any:
    given = {"image": images, "text": texts}
    found = {}
    for modality, values in given.items():
        if values is not None:
            processor = backbone.processor(modality)
            found[modality] = processor.finish(processor.collate([processor(each) for each in values]))
    return found


def features(backbone: Any, images: Sequence[Any] | None = None, texts: Sequence[str] | None = None) -> Features:
    with torch.inference_mode():
        found: Features = backbone(batch(backbone, images, texts))
    return found


def upstream(folder: Path, *prompts: list[Any]) -> torch.Tensor:
    """(B, T, D) of transformers alone: its processor with torchvision's resampling, and its model."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor: Any = IdeficsProcessor(IdeficsImageProcessor(image_size=32), tokenizer)
    with torch.inference_mode():
        given = processor(text=list(prompts), return_tensors="pt")
        hidden: torch.Tensor = IdeficsModel.from_pretrained(folder).eval()(**given, use_cache=False).last_hidden_state
    return hidden


@pytest.mark.parametrize(
    ("image", "text", "prompt"),
    [
        (ONE, None, [ONE]),
        (None, "the cat sat", ["the cat sat"]),
        (ONE, "the cat sat", [ONE, "the cat sat"]),
        (ONE, "the cat <image> sat", ["the cat", ONE, "sat"]),
        ((ONE, TWO), "the cat sat", [ONE, TWO, "the cat sat"]),
        ((ONE, TWO), "<image><image> a dog", [ONE, TWO, "a dog"]),
        ((ONE, TWO, THREE), "the <image> cat </s> sat <image> on <image>",
         ["the", ONE, "cat </s> sat", TWO, "on", THREE]),
    ],
    ids=["image", "text", "image before text", "image in text", "images before text", "images that touch", "text ends"],
)  # fmt: skip
def test_tokens_are_those_of_transformers(
    image: Any, text: str | None, prompt: list[Any], folder: Path, backbone: Any
) -> None:
    found = features(backbone, None if image is None else [image], None if text is None else [text])
    expected = upstream(folder, prompt)
    # Pixels are the same bytes, normalised in another order.
    torch.testing.assert_close(found.tokens, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.pooled, expected[:, -1], rtol=0, atol=1e-5)
    assert found.mask is not None
    assert found.mask.all()


def test_a_folder_with_the_head_of_the_language_model_gives_the_same(tmp_path: Path, backbone: Any) -> None:
    headed = load(write_idefics(tmp_path / "headed", head=True))
    assert torch.equal(features(headed, [ONE], ["a dog"]).tokens, features(backbone, [ONE], ["a dog"]).tokens)


def test_every_mixture_of_inputs_has_one_width(backbone: Any) -> None:
    shapes = {
        features(backbone, *given).pooled.shape
        for given in (([ONE], None), (None, ["a cat"]), ([ONE], ["a cat"]), ([(ONE, TWO)], ["a cat"]))
    }
    assert shapes == {(1, backbone.dim)}
    assert backbone.spec.dim == backbone.dim == 32


def test_an_image_changes_the_features_and_with_closed_gates_it_does_not(tmp_path: Path, backbone: Any) -> None:
    def difference(each: Any) -> float:
        seen = [features(each, [image], ["the cat sat"]).pooled for image in (ONE, TWO)]
        return float((seen[0] - seen[1]).abs().max())

    assert difference(backbone) > 0.01
    assert difference(load(write_idefics(tmp_path / "closed", alpha=0.0))) == 0


def test_a_token_sees_the_last_image_before_it(backbone: Any) -> None:
    text = "the <image> cat sat <image> on the mat"
    first, second = (features(backbone, [(ONE, each)], [text]).tokens for each in (TWO, THREE))
    # <s> the <fake><image><fake> cat sat <fake><image>
    assert torch.equal(first[:, :8], second[:, :8])
    assert bool((first[:, 8:] != second[:, 8:]).any(-1).all())


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(side: str, tmp_path: Path, backbone: Any) -> None:
    padded = load(write_idefics(tmp_path / "padded", side=side))
    texts = ["a dog ran into the green garden", "the cat"]
    for images in (None, [ONE, TWO]):
        found = features(padded, images, texts)
        for row, text in enumerate(texts):
            alone = features(backbone, None if images is None else [images[row]], [text])
            assert found.mask is not None
            torch.testing.assert_close(found.tokens[row][found.mask[row]], alone.tokens[0], **ROUNDING)
            torch.testing.assert_close(found.pooled[row], alone.pooled[0], **ROUNDING)


def test_a_row_of_a_mixed_batch_equals_the_row_alone(backbone: Any) -> None:
    images = [(ONE,), (), (TWO, THREE), (ONE, TWO, THREE)]
    texts = ["the cat <image> sat", "a dog ran into the garden", "quickly", "a <image> b <image> c <image>"]
    found = features(backbone, images, texts)
    for row, (image, text) in enumerate(zip(images, texts, strict=True)):
        alone = features(backbone, [image] if image else None, [text])
        torch.testing.assert_close(found.pooled[row], alone.pooled[0], **ROUNDING)


def test_a_batch_without_any_image_in_it_is_text(backbone: Any) -> None:
    assert torch.equal(features(backbone, [()], ["a cat"]).tokens, features(backbone, None, ["a cat"]).tokens)


@pytest.mark.parametrize("texts", [None, ["the <image> cat <image>", "a dog"]], ids=["images", "interleaved"])
@pytest.mark.parametrize("changes", [{}, {"use_resampler": False}], ids=["resampler", "no resampler"])
def test_latents_passed_back_give_the_same_bits_without_vision(
    texts: list[str] | None, changes: dict[str, Any], tmp_path: Path
) -> None:
    backbone = load(write_idefics(tmp_path / "model", **changes))
    inputs = batch(backbone, [(ONE, TWO), (THREE,)], texts)
    with torch.inference_mode():
        plain = backbone(inputs)
        latents = backbone.latents(inputs)
        del backbone.model.vision_model
        again = backbone({**inputs, "image": latents})
    assert latents["latents"].shape[:2] == (2, 2)
    assert torch.equal(again.tokens, plain.tokens)
    assert torch.equal(again.pooled, plain.pooled)


@pytest.mark.parametrize("towers", ["", ":image", ":text"], ids=["both", "image", "text"])
def test_the_stages_hold_every_parameter_once_and_each_gets_a_gradient(towers: str, folder: Path) -> None:
    backbone = load(folder, towers)
    backbone.check_stages()
    names = [stage.name for stage in backbone.stages()]
    seeing = ["vision.stem", "vision.layer.0", "vision.layer.1", "perceiver"] if towers != ":text" else []
    assert names == [*seeing, "embeddings", "block.0", "block.1", "top"]
    assert backbone.spec.params == sum(each.numel() for each in backbone.parameters())
    images = None if towers == ":text" else [ONE, TWO]
    texts = None if towers == ":image" else ["the cat", "a dog sat"]
    # A plain sum of normalised tokens has next to no gradient.
    backbone(batch(backbone, images, texts)).tokens.pow(3).sum().backward()
    lacking = [name for name, each in backbone.named_parameters() if each.grad is None]
    assert lacking == []


def test_the_stages_run_in_their_order(backbone: Any) -> None:
    order: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=stage.name: order.append(name))
        for stage in backbone.stages()
        for module in stage.modules[-1:]
    ]
    features(backbone, [ONE], ["the cat"])
    for hook in hooks:
        hook.remove()
    # The words may be looked up while the images are seen.
    ran = [name for name in order if name != "embeddings"]
    assert ran == [stage.name for stage in backbone.stages() if stage.name != "embeddings"]
    assert [stage.name for stage in backbone.stages()] == list(CATALOG.select(backbone.name)[0].spec.stages or ())


def test_a_text_tower_holds_nothing_that_sees(folder: Path, backbone: Any) -> None:
    text = load(folder, ":text")
    assert not any("vision" in name or "perceiver" in name for name in text.state_dict())
    assert torch.equal(features(text, None, ["a cat"]).tokens, features(backbone, None, ["a cat"]).tokens)
    with pytest.raises(UsageError, match="serves text, not image"):
        text.processor("image")


def test_markers_and_images_that_differ_in_number_are_an_error(backbone: Any, folder: Path) -> None:
    with pytest.raises(DataError, match=r"row 1 of this batch: the text has 2 <image> markers, and there is 1 image"):
        features(backbone, [ONE, TWO], ["a cat", "the <image> and <image>"])
    with pytest.raises(DataError, match=r"the text has 1 <image> marker, and there are 0 images"):
        features(load(folder, ":text"), None, ["a <image> cat"])
    with pytest.raises(DataError, match=r"2 <image> markers, and there are 3 images"):
        backbone.check_row({"image": (ONE, TWO, THREE), "text": "<image> and <image>"})


def test_other_pooling_reads_the_same_tokens(folder: Path) -> None:
    backbone = load(folder)
    backbone.pooling = "mean"
    found = features(backbone, [ONE, TWO], ["a cat", "the dog sat"])
    torch.testing.assert_close(found.pooled[0], found.tokens[0][found.mask[0]].mean(0))  # type: ignore[index]


def test_random_weights_come_of_the_folder_alone(folder: Path) -> None:
    drawn = [zoo.load(f"transformers/{folder}@random", catalog=CATALOG, seed=seed) for seed in (0, 0, 1)]
    first, same, other = (features(each, [ONE], ["a cat"]).pooled for each in drawn)
    assert drawn[0].weights is None
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_plain_pixels_are_one_image_a_row(backbone: Any) -> None:
    inputs = batch(backbone, [ONE, TWO])
    with torch.inference_mode():
        plain = backbone({"image": {"pixels": inputs["image"]["pixels"][:, 0]}})
        assert torch.equal(plain.tokens, backbone(inputs).tokens)
