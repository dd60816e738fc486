"""JPEGs decoded at less than their size, for those who ask for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import encoded, picture, ref
from PIL import Image

import zoo
from zoo.catalog.spec import ImagePreprocess
from zoo.data.decode import decode
from zoo.data.transforms import ImageProcessor
from zoo.verbs.extract import extract

PROCESSOR = ImageProcessor(ImagePreprocess((24, 24), resize=32))


@given(width=st.integers(20, 600), height=st.integers(20, 600), fit=st.sampled_from(["crop", "squash", "pad"]))
@settings(max_examples=40, deadline=None)
def test_an_image_is_never_decoded_smaller_than_it_is_resized_to(width: int, height: int, fit: str) -> None:
    processor = ImageProcessor(ImagePreprocess((24, 30), fit=fit))  # type: ignore[arg-type]
    stored = ref(encoded(picture(1, (width, height)), "JPEG"))
    image = decode(stored, 3, processor.reach)
    wanted = processor.reach((width, height))
    assert image.width >= min(wanted[0], width)
    assert image.height >= min(wanted[1], height)
    assert processor(image).shape == (3, 24, 30)


def test_a_large_jpeg_comes_at_a_part_of_its_size_and_looks_alike() -> None:
    stored = ref(encoded(picture(2, (400, 300)), "JPEG", quality=95))
    small, whole = decode(stored, 3, PROCESSOR.reach), decode(stored)
    assert (small.size, whole.size) == ((50, 38), (400, 300))
    assert np.abs(PROCESSOR(small).numpy().astype(int) - PROCESSOR(whole).numpy()).mean() < 3


def test_a_turned_photo_is_measured_as_it_is_seen() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = picture(3, (400, 120)).transpose(Image.Transpose.ROTATE_90)
    image = decode(ref(encoded(turned, "JPEG", exif=exif)), 3, PROCESSOR.reach)
    assert image.size == (200, 60)


@pytest.mark.parametrize("kind", ["PNG", "small JPEG"])
def test_other_files_and_small_images_are_decoded_as_always(kind: str) -> None:
    size = (400, 300) if kind == "PNG" else (60, 50)
    stored = ref(encoded(picture(4, size), kind.split()[-1]))
    assert np.array_equal(decode(stored, 3, PROCESSOR.reach), decode(stored))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("photos")
    for label in ("a", "b"):
        for row in range(3):
            (folder / label).mkdir(exist_ok=True)
            picture(row + ord(label), (260, 200)).save(folder / label / f"{row}.jpg")
    return folder


def test_fast_features_are_asked_for_have_a_key_of_their_own_and_are_measured(photos: Path) -> None:
    data, said = zoo.read_dataset(photos), list[str]()
    exact = extract("starter/glyph-cnn", data)
    fast = extract("starter/glyph-cnn", data, fast=True, say=said.append)
    assert exact.fast is None
    assert exact.key != fast.key
    assert not np.array_equal(exact.features, fast.features)
    assert fast.fast is not None
    assert (fast.fast.rows, fast.fast.scaled) == (6, 6)
    assert 0.9 < fast.fast.cosine <= 1
    assert "times as fast" in said[0]


def test_where_nothing_is_large_it_changes_nothing_and_says_so() -> None:
    digits = zoo.read_dataset("sklearn:digits").splits["val"].select(range(4))
    said: list[str] = []
    fast = extract("starter/glyph-cnn", digits, fast=True, say=said.append)
    assert np.array_equal(fast.features, extract("starter/glyph-cnn", digits).features)
    assert said == ["--fast changes nothing in 4 rows: no image is twice as large as it is resized to"]
