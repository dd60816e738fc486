"""Random changes to training images: within bounds, drawn from (seed, epoch, row), and kept from the probe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made import class_folder, picture

import zoo
from zoo.catalog.spec import ImagePreprocess
from zoo.data.augment import RECIPES, Augment, Draw, crop_box, jitter, recipe
from zoo.data.transforms import ImageProcessor
from zoo.errors import UnknownNameError, UsageError
from zoo.transfer.options import Training
from zoo.verbs.config import Output

SIZES = st.tuples(st.integers(1, 400), st.integers(1, 400))


@settings(max_examples=200)
@given(SIZES, st.floats(0.01, 1.0), st.integers(0, 2**31))
def test_a_random_crop_lies_within_the_image_and_has_some_area(size: tuple[int, int], least: float, seed: int) -> None:
    box = crop_box(size, Augment(crop=(least, 1.0)), np.random.default_rng(seed))
    assert box is not None
    left, upper, right, lower = box
    assert 0 <= left < right <= size[0]
    assert 0 <= upper < lower <= size[1]


def test_a_random_crop_keeps_the_area_and_the_shape_it_was_asked_for() -> None:
    shares, ratios = [], []
    for seed in range(300):
        box = crop_box((300, 200), Augment(crop=(0.3, 0.6)), np.random.default_rng(seed))
        assert box is not None
        width, height = box[2] - box[0], box[3] - box[1]
        shares.append(width * height / 60_000)
        ratios.append(width / height)
    assert 0.29 < min(shares) < 0.33
    assert 0.57 < max(shares) < 0.61
    assert 0.74 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.35


def test_without_a_crop_the_evaluation_crop_is_used() -> None:
    assert crop_box((30, 20), Augment(flip=0.5), np.random.default_rng(0)) is None


def test_a_certain_flip_mirrors_the_image_and_nothing_else() -> None:
    processor = ImageProcessor(ImagePreprocess((16, 16)))
    flipped = processor(picture(1), Draw(Augment(flip=1.0), 0, 0, 0))
    assert torch.equal(flipped.flip(2), processor(picture(1)))


def test_the_recipe_that_changes_nothing_gives_the_evaluation_pixels() -> None:
    processor = ImageProcessor(ImagePreprocess((16, 16)))
    for row in range(5):
        assert torch.equal(processor(picture(2), Draw(recipe("none"), 1, 2, row)), processor(picture(2)))


@given(st.integers(0, 2**31), st.integers(0, 50), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_a_draw_is_the_same_for_the_same_seed_epoch_and_row(seed: int, epoch: int, row: int) -> None:
    processor = ImageProcessor(ImagePreprocess((12, 12)))
    draws = [Draw(RECIPES["strong"], seed, epoch, row) for _ in range(2)]
    assert torch.equal(processor(picture(3), draws[0]), processor(picture(3), draws[1]))


def test_neighbouring_rows_epochs_and_seeds_draw_differently() -> None:
    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    drawn = {tuple(Draw(RECIPES["light"], *key).generator().random(3)) for key in keys}
    assert len(drawn) == len(keys)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_rotation_and_colour_keep_size_and_mode(mode: str) -> None:
    image = picture(4).convert(mode)
    changed = jitter(image, Augment(rotation=30, colour=0.5), np.random.default_rng(0))
    assert (changed.size, changed.mode) == (image.size, image.mode)
    assert np.abs(np.asarray(changed, dtype=float) - np.asarray(image, dtype=float)).mean() > 1


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match=r"No augmentation is named 'stron'\. Did you mean strong") as caught:
        recipe("stron")
    assert caught.value.help == "use none, light, strong, or as flip=0.5,crop=0.7"


def test_the_probe_sees_no_augmented_image(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 12, "dog": 12})

    def probed(augment: str) -> dict[str, float | None]:
        run = zoo.finetune(
            "starter/pixels",
            root,
            training=Training(strategy="linear-probe", augment=augment),
            device="cpu",
            baseline="none",
            out=Output(dir=str(tmp_path / "runs"), name=augment),
        )
        return dict(run.metrics)

    assert probed("none") == probed("strong")


def test_a_recipe_is_a_name_changes_or_both() -> None:
    assert recipe("flip=0.5, crop=0.7,rotation=10,colour=0.2") == Augment(0.5, (0.7, 1.0), rotation=10, colour=0.2)
    assert recipe("light,flip=0") == Augment(crop=(0.5, 1.0))
    assert recipe("strong,crop=1").crop is None


@pytest.mark.parametrize("text", ["flip=2", "crop=0", "rotation=x", "colour=-1", "flip="])
def test_a_change_out_of_range_is_named_with_its_range(text: str) -> None:
    with pytest.raises(UsageError, match=rf"--augment {text} is not in \["):
        recipe(text)


@pytest.mark.parametrize("text", ["wild", "flip=0.5,light", "hue=0.1", ""])
def test_an_unknown_recipe_or_change_is_named(text: str) -> None:
    with pytest.raises(UnknownNameError, match=r"none, light, strong"):
        recipe(text)
