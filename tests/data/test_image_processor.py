"""The pixels a network sees in evaluation, against torchvision's own transforms on the same images."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made import encoded, picture, ref
from PIL import Image
from pixels import same_pixels
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode, v2

from zoo.catalog.spec import IMAGENET_MEAN, IMAGENET_STD, ImagePreprocess
from zoo.data.decode import decode
from zoo.data.resizing import resized
from zoo.data.transforms import ImageProcessor
from zoo.data.types import ImageRef

MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def ours(image: Image.Image, preprocess: ImagePreprocess) -> torch.Tensor:
    processor = ImageProcessor(preprocess)
    return processor.finish(processor.collate([processor(image)]))["pixels"][0]


def theirs(image: Image.Image, resize: Any, size: tuple[int, int], interpolation: str) -> torch.Tensor:
    """torchvision's evaluation transforms, as its own weights compose them."""
    steps = [
        T.Resize(resize, interpolation=MODES[interpolation]),
        T.CenterCrop(size),
        T.ToTensor(),
        T.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
    found: torch.Tensor = T.Compose(steps)(image)
    return found


def same(a: torch.Tensor, b: torch.Tensor, std: tuple[float, ...] = IMAGENET_STD) -> None:
    same_pixels(a, b, std)


@pytest.fixture(scope="module")
def photos(shared: Path) -> list[Image.Image]:
    """Real photographs of every shape: portrait, landscape, nearly square."""
    paths = sorted((shared / "data" / "hymenoptera" / "val").rglob("*.*"))
    images = [Image.open(path).convert("RGB") for path in paths]
    images.sort(key=lambda image: image.width / image.height)
    return [images[i] for i in np.linspace(0, len(images) - 1, 7).astype(int)]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "size"), [(256, 224), (232, 224), (224, 224), (342, 299), (232, 232), (40, 32)])
def test_resize_and_centre_crop_of_real_photos_are_torchvisions(
    photos: list[Image.Image], interpolation: Any, resize: int, size: int
) -> None:
    preprocess = ImagePreprocess((size, size), resize=resize, interpolation=interpolation)
    for image in photos:
        same(ours(image, preprocess), theirs(image, resize, (size, size), interpolation))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_squash_of_real_photos_is_torchvisions_resize_of_both_sides(
    photos: list[Image.Image], interpolation: Any
) -> None:
    preprocess = ImagePreprocess((96, 96), fit="squash", interpolation=interpolation)
    for image in photos:
        same(ours(image, preprocess), theirs(image, (96, 96), (96, 96), interpolation))


@pytest.mark.parametrize(
    "size",
    [(224, 224), (1, 1), (2, 3), (255, 257), (256, 300), (301, 256), (37, 500), (500, 37), (640, 480), (2400, 1600)],
)
def test_every_size_of_image_is_cropped_as_torchvision_crops_it(size: tuple[int, int]) -> None:
    image = picture(1, size)
    preprocess = ImagePreprocess((224, 224), resize=256)
    same(ours(image, preprocess), theirs(image, 256, (224, 224), "bilinear"))


@pytest.mark.parametrize("size", [(30, 50), (50, 30), (31, 31), (7, 64)])
def test_a_crop_greater_than_the_image_is_padded_as_torchvision_pads_it(size: tuple[int, int]) -> None:
    image = picture(2, size)
    preprocess = ImagePreprocess((48, 48), resize=min(size))
    same(ours(image, preprocess), theirs(image, min(size), (48, 48), "bilinear"))


@pytest.mark.parametrize("seed", range(20))
def test_random_sizes_and_crops_agree_with_torchvision(seed: int) -> None:
    rng = np.random.default_rng(seed)
    width, height, resize = (int(value) for value in rng.integers(20, 300, 3))
    crop = int(rng.integers(8, resize + 1))
    interpolation: Any = ["bilinear", "bicubic"][seed % 2]
    image = picture(seed, (width, height))
    preprocess = ImagePreprocess((crop, crop), resize=resize, interpolation=interpolation)
    same(ours(image, preprocess), theirs(image, resize, (crop, crop), interpolation))


def test_pixels_are_those_of_torchvisions_transforms_of_tensors_bit_for_bit(photos: list[Image.Image]) -> None:
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        pytest.skip("torchvision resizes in bytes with AVX alone")
    for interpolation in MODES.values():
        resize = v2.Resize(256, interpolation=interpolation)
        preprocess = ImagePreprocess((224, 224), resize=256, interpolation=interpolation.value)
        for image in photos:
            theirs_ = v2.functional.center_crop(resize(v2.functional.pil_to_tensor(image)), [224, 224])
            assert torch.equal(ImageProcessor(preprocess)(image), theirs_)


@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    resize=st.integers(8, 300),
    share=st.floats(0.3, 1),
    quality=st.integers(5, 100),
    interpolation=st.sampled_from(sorted(MODES)),
    seed=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_a_jpeg_of_any_size_and_quality_is_within_a_level_of_torchvisions_recipe(
    width: int, height: int, resize: int, share: float, quality: int, interpolation: Any, seed: int
) -> None:
    stored = encoded(picture(seed, (width, height)), "JPEG", quality=quality)
    crop = max(int(resize * share), 1)
    preprocess = ImagePreprocess((crop, crop), resize=resize, interpolation=interpolation)
    shown = Image.open(io.BytesIO(stored)).convert("RGB")
    same(ours(decode(ref(stored)), preprocess), theirs(shown, resize, (crop, crop), interpolation))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_an_image_that_pillow_keeps_in_several_pieces_is_resized_to_the_same_pixels(interpolation: str) -> None:
    rows = np.asarray(picture(4, (2100, 300)))
    one = Image.fromarray(rows)
    many = Image.new("RGB", (2100, 2100))  # more than the sixteen million bytes of a piece
    many.paste(one)
    few = resized(one, (105, 15), (0, 0, 100, 10), interpolation)
    assert np.array_equal(few, resized(many, (105, 105), (0, 0, 100, 10), interpolation))


def test_threads_of_a_loader_give_the_pixels_of_one(shared: Path) -> None:
    paths = sorted((shared / "data" / "hymenoptera" / "val" / "ants").iterdir())[:8]
    processor = ImageProcessor(ImagePreprocess((64, 64), resize=72, interpolation="bicubic"))
    alone = [processor(decode(ImageRef(path.name, str(path)))) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda path: processor(decode(ImageRef(path.name, str(path)))), paths * 3))
    assert all(torch.equal(one, other) for one, other in zip(alone * 3, together, strict=True))


def as_stored(kind: str) -> tuple[bytes, Image.Image]:
    """A file, and the RGB picture it shows."""
    image = picture(6, (90, 60))
    if kind == "grey":
        return encoded(image.convert("L")), image.convert("L").convert("RGB")
    if kind == "palette":
        return encoded(image.quantize(64)), image.quantize(64).convert("RGB")
    if kind == "rgba":
        solid = image.copy()
        solid.putalpha(255)
        return encoded(solid), image
    if kind == "cmyk":
        stored = encoded(image.convert("CMYK"), "TIFF")
        return stored, image.convert("CMYK").convert("RGB")
    if kind == "16-bit":
        grey = np.asarray(image.convert("L"))
        return encoded(Image.fromarray(grey.astype(np.uint16) * 257)), Image.fromarray(grey).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image.transpose(Image.Transpose.ROTATE_90), exif=exif), image


@pytest.mark.parametrize("kind", ["grey", "palette", "rgba", "cmyk", "16-bit", "turned"])
def test_every_kind_of_file_reaches_the_network_as_the_picture_it_shows(kind: str) -> None:
    stored, shown = as_stored(kind)
    preprocess = ImagePreprocess((32, 32), resize=40, interpolation="bicubic")
    same(ours(decode(ref(stored)), preprocess), theirs(shown, 40, (32, 32), "bicubic"))


def test_a_backbone_of_one_channel_sees_grey() -> None:
    preprocess = ImagePreprocess((16, 16), mean=(0.1307,), std=(0.3081,))
    steps = [T.Grayscale(), T.Resize(16), T.CenterCrop(16), T.ToTensor(), T.Normalize((0.1307,), (0.3081,))]
    same(ours(picture(3), preprocess), T.Compose(steps)(picture(3)), (0.3081,))


def test_pad_keeps_the_whole_image_in_its_proportions_and_fills_the_rest() -> None:
    processor = ImageProcessor(ImagePreprocess((32, 32), fit="pad", fill=9))
    pixels = processor(Image.new("RGB", (40, 20), (200, 100, 50)))
    assert pixels.shape == (3, 32, 32)
    assert (pixels[:, :8] == 9).all()
    assert (pixels[:, 24:] == 9).all()
    assert pixels[:, 8:24].flatten(1).unique(dim=1).flatten().tolist() == [200, 100, 50]


def test_a_strip_is_resized_from_its_middle() -> None:
    strip = Image.new("RGB", (1, 4000), "red")
    strip.paste((0, 0, 255), (0, 1990, 1, 2010))
    pixels = ImageProcessor(ImagePreprocess((8, 8)))(strip)
    assert pixels[2].min() > 200
    assert pixels[0].max() < 60


def test_pixels_stay_bytes_until_the_device_and_the_key_names_the_preprocessing() -> None:
    one, other = (ImageProcessor(ImagePreprocess((16, 16), resize=resize)) for resize in (16, 20))
    assert one(picture(1)).dtype == torch.uint8
    assert one.collate([one(picture(1)), one(picture(2))])["pixels"].shape == (2, 3, 16, 16)
    assert one.key != other.key
    assert one.key == ImageProcessor(ImagePreprocess((16, 16), resize=16)).key
