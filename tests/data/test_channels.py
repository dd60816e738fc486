"""Images of any number of channels: from files and arrays to pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo.catalog.spec import ImagePreprocess
from zoo.data.augment import Draw, recipe
from zoo.data.decode import decode, size_of
from zoo.data.planes import Planes, as_channels, planes_of
from zoo.data.transforms import ImageProcessor
from zoo.data.types import ImageRef
from zoo.errors import DataError

RNG = np.random.default_rng(0)


def ref(path: Path) -> ImageRef:
    return ImageRef(path.name, path=str(path))


def test_alpha_is_a_channel_of_its_own_and_hides_nothing(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
    pixels[:3, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(decode(ref(tmp_path / "a.png"), 4)), pixels)


def test_an_image_without_alpha_is_opaque(tmp_path: Path) -> None:
    Image.new("L", (5, 6), 7).save(tmp_path / "a.png")
    assert np.asarray(decode(ref(tmp_path / "a.png"), 2))[0, 0].tolist() == [7, 255]


def test_pages_of_a_tiff_file_are_channels(tmp_path: Path) -> None:
    pages = [Image.new("L", (5, 6), value) for value in (10, 20, 30, 40, 50)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    found = decode(ref(tmp_path / "a.tif"), 5)
    assert np.asarray(found)[0, 0].tolist() == [10, 20, 30, 40, 50]


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_arrays_are_read_from_npy_files_scaled_to_bytes(kind: str, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (6, 5, 7), dtype=np.uint8)
    stored = {"uint8": pixels, "uint16": pixels.astype(np.uint16) * 257, "float32": (pixels / 255).astype(np.float32)}
    np.save(tmp_path / "a.npy", stored[kind])
    found = decode(ref(tmp_path / "a.npy"), 7)
    assert np.array_equal(np.asarray(found), pixels)
    assert size_of(ref(tmp_path / "a.npy")) == (5, 6)


def test_an_array_of_three_channels_is_a_picture_like_any_other(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    assert np.array_equal(np.asarray(decode(ref(tmp_path / "a.npy"))), pixels)
    assert decode(ref(tmp_path / "a.npy")).mode == "RGB"


def test_another_number_of_channels_says_how_many_there_are(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4, 5), dtype=np.uint8))
    with pytest.raises(DataError, match=r"a\.npy: 5 channels, and 3 are wanted"):
        decode(ref(tmp_path / "a.npy"))
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"b\.png: 3 channels, and 5 are wanted"):
        decode(ref(tmp_path / "b.png"), 5)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.full((4, 4, 2), 3.0), "outside of"),
        (np.full((4, 4, 2), np.nan), "outside of"),
        (np.zeros((4, 4, 2), dtype=np.int64), "array of int64"),
        (np.zeros((4,)), "shape"),
        (np.array([["a"]], dtype=object), "damaged|allow_pickle|object"),
    ],
)
def test_arrays_that_are_no_pixels_are_refused_with_their_file(array: np.ndarray, said: str, tmp_path: Path) -> None:  # type: ignore[type-arg]
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=said) as caught:
        decode(ref(tmp_path / "a.npy"), 2)
    assert "a.npy" in caught.value.what


def test_channels_are_resized_one_by_one_and_move_together() -> None:
    pixels = RNG.integers(0, 256, (40, 30, 5), dtype=np.uint8)
    five = ImagePreprocess((16, 16), resize=20, mean=(0.0,) * 5, std=(1.0,) * 5)
    one = ImagePreprocess((16, 16), resize=20, mean=(0.0,), std=(1.0,))
    draw = Draw(recipe("strong"), seed=1, epoch=0, row=3)
    for each in (None, draw):
        found = ImageProcessor(five)(planes_of(pixels), each)
        assert found.shape == (5, 16, 16)
        if each is None:
            alone = ImageProcessor(one)(Image.fromarray(pixels[:, :, 2]))
            assert bool((found[2] == alone[0]).all())
    same = Planes((Image.fromarray(pixels[:, :, 0]),) * 5)
    moved = ImageProcessor(five)(same, draw)
    assert bool((moved == moved[:1]).all())


def test_what_is_too_small_or_padded_gets_its_border_in_every_channel() -> None:
    pad = ImagePreprocess((12, 12), fit="pad", mean=(0.5,) * 4, std=(1.0,) * 4, fill=9)
    found = ImageProcessor(pad)(as_channels(Image.new("RGB", (4, 8), (1, 2, 3)), 4))
    assert found[:, 0, 0].tolist() == [9] * 4
    assert found[:, 6, 6].tolist() == [1, 2, 3, 255]
