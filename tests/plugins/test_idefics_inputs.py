"""What Idefics is given, its names without loading it, and LoRA inside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo_transformers
from peft import LoraConfig, inject_adapter_in_model
from PIL import Image
from pixels import same_pixels
from tiny_idefics import tokenizer, vocabulary, write_idefics
from transformers import AutoTokenizer, IdeficsImageProcessor, IdeficsProcessor
from transformers.models.idefics.image_processing_pil_idefics import IdeficsImageProcessorPil
from zoo_transformers.idefics_inputs import prompt_of
from zoo_transformers.idefics_spec import images_of

import zoo
from zoo import Catalog, ImagePreprocess, ImageProcessor, UsageError, WeightsError

CATALOG = Catalog.of({"transformers": zoo_transformers})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_idefics(tmp_path_factory.mktemp("idefics") / "model")


def load(folder: Path, tower: str = "") -> Any:
    return zoo.load(f"transformers/{folder}{tower}", catalog=CATALOG)


def photo(size: tuple[int, int]) -> Any:
    """Smooth, as photographs are: on noise a rounding is a step anywhere."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 3, width), np.linspace(0, 2, height))
    waves = np.stack([np.sin(x + y), np.cos(2 * x), np.sin(y * x)], axis=-1)
    return Image.fromarray((127 + 120 * waves).astype(np.uint8))


@pytest.mark.parametrize("size", [(31, 47), (224, 224), (640, 359), (1, 300)], ids=str)
def test_pixels_are_those_of_the_image_processor_of_idefics(size: tuple[int, int]) -> None:
    ours = ImageProcessor(images_of(None, {}))
    image = photo(size)
    pixels = ours.finish(ours.collate([ours(image)]))["pixels"]
    for kind in (IdeficsImageProcessorPil, IdeficsImageProcessor):
        same_pixels(pixels, kind(image_size=224)(image, return_tensors="pt"), ours.preprocess.std)


def test_preprocessing_is_read_as_old_and_new_files_say_it(folder: Path) -> None:
    published = {"image_size": 30, "image_num_channels": 3, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}
    old = images_of({**published, "image_processor_type": "IdeficsImageProcessor"}, {})
    assert old == ImagePreprocess(
        (30, 30), fit="squash", interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1)
    )
    new = json.loads((folder / "preprocessor_config.json").read_text())
    assert images_of(new, {}) == images_of(None, {"vision_config": {"image_size": 32}})


TEXTS = [
    "the cat sat",
    "  the cat ",
    "<image> a dog",
    "a dog <image>",
    "the <image><image> cat <image> sat",
    "<fake_token_around_image><image><fake_token_around_image>the cat",
    "",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("image_words", [True, False], ids=["known", "added"])
def test_ids_are_those_of_the_processor_of_idefics(text: str, image_words: bool, tmp_path: Path) -> None:
    ours = load(write_idefics(tmp_path / "model", image_words=image_words), ":text").processor("text")
    tokenizer().save_pretrained(tmp_path / "upstream")
    theirs: Any = IdeficsProcessor(IdeficsImageProcessorPil(), AutoTokenizer.from_pretrained(tmp_path / "upstream"))
    plain = text.replace("<fake_token_around_image>", "")
    parts: list[Any] = [part for each in plain.split("<image>") for part in (each, photo((8, 8)))][:-1]
    prompt = [part for part in parts if part != ""] or [""]
    expected = theirs(text=prompt, return_tensors="pt")["input_ids"][0]
    assert ours(text).ids == expected.tolist()
    assert ours(text).images == plain.count("<image>")


def test_image_tokens_have_the_ids_after_the_vocabulary(folder: Path) -> None:
    tokens = load(folder).processor("text").tokens
    assert (tokens.start, tokens.around, tokens.image) == (1, len(vocabulary()), len(vocabulary()) + 1)


def test_a_long_text_is_cut_and_still_knows_its_images(folder: Path) -> None:
    processor = load(folder, ":text").processor("text")
    cut = processor("the cat " * 40 + "<image>")
    assert len(cut.ids) == processor.preprocess.max_length == 48
    assert cut.images == 1


def test_prompts_are_spelled_as_idefics_was_trained() -> None:
    around = "<fake_token_around_image>"
    assert prompt_of("a <image> b") == f"a{around}<image>{around}b"
    assert prompt_of("a <image> <image>") == f"a{around}<image>{around}<image>{around}"


def test_a_model_without_room_for_image_tokens_is_refused(tmp_path: Path) -> None:
    folder = write_idefics(tmp_path / "model", image_words=False, additional_vocab_size=0)
    with pytest.raises(WeightsError, match="neither the tokenizer nor the model has <fake_token_around_image>"):
        load(folder)


def test_sizes_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    folder = write_idefics(tmp_path / "model")
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_size": 48}))
    with pytest.raises(UsageError, match=r"gives images of 48 x 48, config\.json of 32"):
        load(folder)


def test_published_models_are_listed_with_all_that_is_known_of_them() -> None:
    for name, dim in (("9b", 4096), ("9b-instruct", 4096), ("80b", 8192), ("80b-instruct", 8192)):
        spec = CATALOG.select(f"HuggingFaceM4/idefics-{name}")[0].spec
        assert spec.modalities == ("image", "text")
        assert (spec.dim, spec.image_size, spec.context_length) == (dim, 224, 2048)
        assert spec.stages is not None
        assert spec.stages[:2] == ("vision.stem", "vision.layer.0")
        assert spec.stages[-3:] == ("block.18", "block.19", "top") if dim == 8192 else ("block.6", "block.7", "top")
    assert CATALOG.select("idefics-9b:text")[0].towers == ("text",)


def test_a_folder_is_known_before_it_is_loaded(folder: Path) -> None:
    spec = CATALOG.select(f"transformers/{folder}")[0].spec
    loaded = load(folder).spec
    for name in ("modalities", "family", "dim", "image_size", "context_length", "stages", "preprocess"):
        assert getattr(spec, name) == getattr(loaded, name), name


def test_a_hub_id_that_is_not_cached_is_taken_for_both_by_its_name() -> None:
    assert CATALOG.select("someone/idefics-tuned")[0].spec.modalities == ("image", "text")


PROJECTIONS = {
    "decoder": (r".*model\.(layers|gated_cross_attn_layers)\.\d+\.\w+\.(q|k|v|o)_proj", 2 * 4 * (4 + 2)),
    "everywhere": (["q_proj", "v_proj"], 2 * 2 * (4 + 2 + 2 + 2)),
}
"""Targets, and the LoRA tensors they make: two a layer, in 4 decoder layers and 2 gated ones, 2 blocks of the
resampler and 2 of the vision tower."""


@pytest.mark.parametrize("where", PROJECTIONS)
def test_lora_on_its_projections_trains_every_tensor(where: str, folder: Path) -> None:
    backbone = load(folder)
    targets, count = PROJECTIONS[where]
    # B begins at 0, which hides the gradient of A.
    config = LoraConfig(r=2, target_modules=targets, init_lora_weights=False)
    inject_adapter_in_model(config, backbone)
    image, text = backbone.processor("image"), backbone.processor("text")
    inputs = {
        "image": image.finish(image.collate([image(photo((40, 31)))])),
        "text": text.finish(text.collate([text("the cat sat")])),
    }
    backbone(inputs).tokens.pow(3).sum().backward()
    gradients = {name: each.grad for name, each in backbone.named_parameters() if "lora_" in name}
    assert len(gradients) == count
    assert all(grad is not None and bool(grad.any()) for grad in gradients.values())
