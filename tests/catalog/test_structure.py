"""`name[:3]`: what the brackets mean before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.catalog.discovery import default_catalog
from zoo.catalog.names import split_fused, take_apart
from zoo.catalog.spec import ImagePreprocess
from zoo.catalog.structure import Structure, count_kept, inner_of, structured
from zoo.errors import UnknownNameError, UsageError

STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")


@pytest.mark.parametrize(
    ("typed", "base", "tower", "weights", "keep"),
    [
        ("resnet50[:3]", "resnet50", None, None, "3"),
        ("resnet50[:-1]@random", "resnet50", None, "random", "-1"),
        ("resnet50@random[:-1]", "resnet50", None, "random", "-1"),
        ("open_clip/ViT-B-32:image[:layer.2]", "open_clip/ViT-B-32", "image", None, "layer.2"),
        ("open_clip/ViT-B-32[:2]:image", "open_clip/ViT-B-32", "image", None, "2"),
        ("resnet50", "resnet50", None, None, None),
    ],
)
def test_brackets_stand_behind_the_name_or_behind_the_weights(
    typed: str, base: str, tower: str | None, weights: str | None, keep: str | None
) -> None:
    found = take_apart(typed)
    assert (found.base, found.tower, found.weights, found.keep) == (base, tower, weights, keep)


def test_an_existing_path_with_brackets_is_not_cut(tmp_path: Path) -> None:
    folder = tmp_path / "mine[:3]"
    folder.mkdir()
    assert take_apart(str(folder)).keep is None
    assert take_apart(f"{folder}[:2]").keep == "2"
    assert split_fused(f"{folder}[:2]+gpt2[:4]") == [f"{folder}[:2]", "gpt2[:4]"]


@pytest.mark.parametrize("typed", ["resnet50[3]", "resnet50[1:3]", "resnet50[:]", "resnet50[:3][:2]", "resnet50[::2]"])
def test_brackets_that_keep_no_first_stages_are_refused(typed: str) -> None:
    with pytest.raises(UsageError, match="keeps no first stages"):
        take_apart(typed)


@pytest.mark.parametrize(("keep", "count"), [("3", 3), ("-1", 4), ("layer2", 3), ("stem", 1)])
def test_stages_are_kept_by_number_from_the_end_or_up_to_a_name(keep: str, count: int) -> None:
    assert count_kept(STAGES, keep, "resnet50") == count


@pytest.mark.parametrize(("keep", "said"), [("0", "none of the 5"), ("-5", "none of the 5"), ("5", "leaves out none")])
def test_a_cut_that_keeps_nothing_or_everything_is_refused(keep: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        count_kept(STAGES, keep, "resnet50")


def test_a_mistyped_stage_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean layer2"):
        default_catalog().select("torchvision/resnet50[:lyer2]")


def test_a_selection_says_what_is_kept_without_loading() -> None:
    (found,) = default_catalog().select("torchvision/resnet50[:3]")
    assert found.name == "torchvision/resnet50.imagenet1k_v2[:3]"
    assert found.spec.stages == STAGES[:3]
    assert inner_of(found.spec).stages == STAGES
    assert default_catalog().owners_of(found.spec) == "torchvision"
    assert default_catalog().select(found.name)[0].spec == found.spec


def test_images_of_another_size_are_cut_from_as_much_around_them() -> None:
    assert ImagePreprocess((224, 224), resize=256).resized(320).resize == 366
    assert ImagePreprocess((224, 224)).resized(320) == ImagePreprocess((320, 320))


def test_means_are_repeated_for_more_channels_and_averaged_for_one() -> None:
    rgb = ImagePreprocess((8, 8), mean=(0.1, 0.2, 0.6), std=(1.0, 2.0, 3.0))
    assert rgb.in_channels(5).mean == (0.1, 0.2, 0.6, 0.1, 0.2)
    assert rgb.in_channels(1).mean == pytest.approx((0.3,))
    assert rgb.in_channels(1).std == (2.0,)


def test_changes_add_up() -> None:
    (found,) = default_catalog().select("starter/glyph-cnn[:2]")
    spec, weights = structured(found.spec, found.weights, found.towers, Structure(image_size=64))
    assert Structure.of(spec) == Structure(keep="2", image_size=64)
    assert weights is not None
    image = spec.preprocess_for(weights)["image"]
    assert isinstance(image, ImagePreprocess)
    assert image.size == (64, 64)
