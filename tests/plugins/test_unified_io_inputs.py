"""What Unified-IO 2 is given: padded squares, LLaMA's ids with pieces of its own, spectrograms in segments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo_unified_io
from PIL import Image
from tiny_unified_io import TEXTS, tiny_folder, tiny_tokenizer
from zoo_unified_io.images import PictureProcessor, fitted_size
from zoo_unified_io.listing import PREPROCESS
from zoo_unified_io.recordings import RecordingProcessor
from zoo_unified_io.tokens import TextProcessor, with_markers

import zoo
from zoo import Audio, Augment, Catalog, DataError, WeightsError
from zoo.data.augment import Draw

CATALOG = Catalog.of({"unified_io": zoo_unified_io})
MEAN, STD = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tokenizer(tmp_path_factory.mktemp("llama") / "tokenizer.model")


def noise(width: int, height: int, seed: int = 0) -> Any:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def made(processor: Any, *values: Any) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = processor.finish(processor.collate([processor(value) for value in values]))
    return found


@pytest.fixture(scope="module")
def pictures() -> PictureProcessor:
    return PictureProcessor(PREPROCESS["image"])


@pytest.mark.parametrize("size", [(70, 50), (50, 201), (800, 391), (384, 384), (1, 3)])
def test_patches_are_those_of_a_fitted_and_padded_image(size: tuple[int, int], pictures: PictureProcessor) -> None:
    image = noise(*size)
    height, width = fitted_size(image.height, image.width, 384)
    assert max(height, width) == 384
    bands = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).double()[None] / 255
    fitted = torch.nn.functional.interpolate(bands, (height, width), mode="bilinear", antialias=True)
    square, real = np.zeros((384, 384, 3)), np.zeros((384, 384), dtype=bool)
    top, left = (384 - height) // 2, (384 - width) // 2
    square[top : top + height, left : left + width] = fitted[0].permute(1, 2, 0)
    real[top : top + height, left : left + width] = True
    square = (square - MEAN) / STD
    batch = made(pictures, image)
    for index in range(0, 576, 25):
        y, x = 16 * (index // 24), 16 * (index % 24)
        np.testing.assert_allclose(batch["patches"][0, index], square[y : y + 16, x : x + 16].reshape(-1), atol=2e-6)
        assert bool(batch["mask"][0, index]) == bool(real[y + 8, x + 8])


def test_a_strip_thinner_than_a_patch_is_seen_all_the_same(pictures: PictureProcessor) -> None:
    mask = made(pictures, noise(3, 400))["mask"].reshape(24, 24)
    assert mask.sum(0).tolist() == [0] * 11 + [24, 24] + [0] * 11


def test_of_several_images_the_last_is_the_present_one(pictures: PictureProcessor) -> None:
    one, two, three = (noise(60, 40, seed) for seed in range(3))
    batch = made(pictures, one, (two, three, one))
    assert torch.equal(batch["patches"][0], batch["patches"][1])
    assert batch["history"].shape == (2, 2, 256, 768)
    assert batch["history_mask"].any(-1).tolist() == [[False, False], [True, True]]
    assert "history" not in made(pictures, one, (two,))
    with pytest.raises(DataError, match="10 images in a row"):
        pictures((one,) * 10)


def test_a_training_image_is_changed_and_without_chance_it_is_not(pictures: PictureProcessor) -> None:
    image = noise(60, 40)
    still = pictures(image, Draw(Augment(), 0, 0, 0))
    assert torch.equal(still.image.pixels, pictures(image).image.pixels)
    flipped = pictures(image, Draw(Augment(flip=1.0), 0, 0, 0))
    # Drawn images are whole grey levels, rounded after each of two passes.
    torch.testing.assert_close(flipped.image.pixels.flip(-1), still.image.pixels, atol=1.1 / 255, rtol=0)
    assert torch.equal(flipped.image.mask, still.image.mask)
    assert pictures(image, Draw(Augment(crop=(0.3, 0.9)), 0, 0, 0)).image.mask.all()


def test_ids_are_those_of_the_model_with_its_first_pieces_moved_and_others_behind(tokenizer: Path) -> None:
    from sentencepiece import SentencePieceProcessor

    plain = SentencePieceProcessor(model_file=str(tokenizer))
    ids = TextProcessor(tokenizer, PREPROCESS["text"], rows=1600)(TEXTS[0]).tolist()
    size = plain.get_piece_size()
    assert ids == [size + 1200 + 16 + 2, *plain.encode(TEXTS[0]), 1]


def test_markers_become_the_names_of_images(tokenizer: Path) -> None:
    processor = TextProcessor(tokenizer, PREPROCESS["text"], rows=1600)
    assert with_markers("<image> or <image> or <image>") == "<image_history_1> or <image_history_2> or <image_input>"
    ids = processor("a red <image> and a <image>").tolist()
    size = processor.model.get_piece_size() - 7 - 2 - 16
    assert [each - size for each in ids if size <= each < size + 18] == [0, 16]
    assert [processor.model.id_to_piece(each) for each in (0, 1, 2)] == ["<s>", "</s>", "<unk>"]
    assert processor.model.id_to_piece(size - 1) == "▁<extra_id_0>"


def test_a_long_text_is_cut_before_its_end_mark(tokenizer: Path) -> None:
    processor = TextProcessor(tokenizer, PREPROCESS["text"], rows=1600)
    long, short = processor("red " * 2000), processor("red")
    assert len(long) == 512
    assert long[-1] == 1
    batch = processor.collate([long, short])
    assert batch["mask"].sum(1).tolist() == [512, len(short)]
    assert batch["ids"][1, len(short) :].eq(0).all()


def test_a_tokenizer_is_found_by_the_environment_and_asked_for_where_there_is_none(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_folder(tmp_path / "model", tokenizer=False)
    backbone = zoo.load(f"unified_io/{folder}", catalog=CATALOG)
    assert made(backbone.processor("image"), noise(20, 20))["patches"].shape == (1, 576, 768)
    with pytest.raises(WeightsError, match="LLaMA's tokenizer, which is not here") as caught:
        backbone.processor("text")
    assert caught.value.help is not None
    assert "set ZOO_UNIFIED_IO_TOKENIZER to its path" in caught.value.help
    for value in (tokenizer, tokenizer.parent):
        monkeypatch.setenv("ZOO_UNIFIED_IO_TOKENIZER", str(value))
        backbone = zoo.load(f"unified_io/{folder}", catalog=CATALOG)
        assert made(backbone.processor("text"), "a red square")["ids"][0, -1] == 1
    monkeypatch.setenv("ZOO_UNIFIED_IO_TOKENIZER", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match="nowhere, which is no file"):
        zoo.load(f"unified_io/{folder}", catalog=CATALOG).processor("text")


def test_a_tokenizer_that_does_not_fit_is_refused(tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"1545 pieces with those of Unified-IO 2, .* embeddings for 1500"):
        TextProcessor(tokenizer, PREPROCESS["text"], rows=1500)
    (tmp_path / "tokenizer.model").write_bytes(b"no model at all")
    with pytest.raises(WeightsError, match="is no sentencepiece model"):
        TextProcessor(tmp_path / "tokenizer.model", PREPROCESS["text"], rows=1600)


@pytest.fixture(scope="module")
def recordings() -> RecordingProcessor:
    return RecordingProcessor(PREPROCESS["audio"])


def tone(seconds: float, rate: int = 16_000, hertz: float = 1000.0) -> Audio:
    time = np.arange(round(seconds * rate)) / rate
    return Audio((0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32), rate)


def test_a_spectrogram_is_that_of_another_implementation(recordings: RecordingProcessor) -> None:
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    rng = np.random.default_rng(0)
    audio = Audio((0.1 * rng.normal(size=65_280)).astype(np.float32), 16_000)
    bank = mel_filter_bank(513, 128, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    energy = spectrogram(
        audio.samples, window_function(1024, "hann"), 1024, 256, power=2.0, pad_mode="constant", mel_filters=bank
    )
    expected = np.log(np.clip(energy, 1e-5, 1e5)).T  # (256, 128)
    batch = made(recordings, audio)
    assert expected.shape == (256, 128)
    for index in (0, 9, 127):
        t, f = 16 * (index // 8), 16 * (index % 8)
        np.testing.assert_allclose(
            batch["patches"][0, index], expected[t : t + 16, f : f + 16].reshape(-1), atol=2e-3, rtol=1e-3
        )
    assert batch["mask"].all()


def test_a_long_recording_is_cut_into_segments_of_which_the_last_is_whole(recordings: RecordingProcessor) -> None:
    batch = made(recordings, tone(10.0), tone(1.0))
    assert batch["history"].shape == (2, 2, 128, 256)
    assert batch["history_mask"].any(-1).tolist() == [[True, True], [False, False]]
    # 1.84 s are the rest of 10 s; a patch is 0.256 s long and counts by its middle.
    assert batch["history_mask"][0].sum(-1).tolist() == [7 * 8, 128]
    assert batch["mask"].sum(-1).tolist() == [128, 4 * 8]
    assert len(recordings(tone(60.0))) == 9


def test_recordings_of_other_rates_and_of_nothing_are_heard(recordings: RecordingProcessor) -> None:
    one, other = (made(recordings, tone(4.08, rate))["patches"] for rate in (16_000, 48_000))
    loud = one > -5  # the tone itself; resampling differs in what is near silence
    torch.testing.assert_close(one[loud], other[loud], atol=0.2, rtol=0)
    silent = made(recordings, Audio(np.zeros(0, dtype=np.float32), 16_000))
    assert silent["mask"].sum() == 8
    assert silent["patches"].unique().tolist() == pytest.approx([np.log(1e-5)])
