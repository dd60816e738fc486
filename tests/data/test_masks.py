"""Masks: read from folders and tables, checked, and moved in step with their images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import encoded, picture
from made import ref as ref_of
from numpy.typing import NDArray
from PIL import Image

import zoo
from zoo.catalog.spec import ImagePreprocess
from zoo.data.augment import Augment, Draw
from zoo.data.decode import decode_mask
from zoo.data.reading import read_dataset
from zoo.data.transforms import ImageProcessor
from zoo.data.types import Dataset, ReadOptions
from zoo.errors import DataError

Masked = NDArray[np.uint8]
FITS = [
    ImagePreprocess((16, 16), resize=20, fit="crop", interpolation="nearest"),
    ImagePreprocess((16, 24), fit="crop", interpolation="nearest"),
    ImagePreprocess((16, 16), fit="squash", interpolation="nearest"),
    ImagePreprocess((16, 16), fit="pad", interpolation="nearest", fill=255),
]
SHAPES = [(40, 30), (30, 40), (16, 16), (7, 50)]


def numbers(seed: int = 0, size: tuple[int, int] = (24, 16), classes: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, classes, (size[1], size[0]), dtype=np.uint8)


def layout(root: Path, changed: Mapping[str, Masked] | None = None, count: int = 4) -> Path:
    """`images/` and `masks/`; `changed` names the mask of a row and what to put in its place."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for row in range(count):
        picture(sum(map(ord, root.name)) + row).save(root / "images" / f"r{row}.jpg")
        Image.fromarray((changed or {}).get(f"r{row}", numbers(row))).save(root / "masks" / f"r{row}.png")
    return root


def read(path: Path, **options: Any) -> Dataset:
    return read_dataset(path, ReadOptions(**options))


def test_a_folder_of_images_and_masks_is_a_segmentation(tmp_path: Path) -> None:
    (layout(tmp_path) / "classes.txt").write_text("ground\nwater\nwood\n")
    dataset = read(tmp_path)
    assert (dataset.task.kind, dataset.task.classes) == ("segmentation", ("ground", "water", "wood"))
    assert dataset.modalities == ("image",)
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 3, "val": 1}
    targets = dataset.splits["train"].targets
    assert targets is not None
    for name, mask in zip(dataset.splits["train"].names, targets, strict=True):
        assert np.array_equal(mask.numbers(), numbers(int(Path(name).stem[1:])))


@pytest.mark.parametrize("nested", ["train/images", "images/train"])
def test_splits_are_folders_above_or_below(tmp_path: Path, nested: str) -> None:
    for split in ("train", "test"):
        made = layout(tmp_path / f"made-{split}", count=3)
        for kind in ("images", "masks"):
            target = tmp_path / "data" / nested.replace("train", split).replace("images", kind)
            target.parent.mkdir(parents=True, exist_ok=True)
            (made / kind).rename(target)
    dataset = read(tmp_path / "data")
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 3, "test": 3}


def test_a_table_names_images_and_masks(tmp_path: Path) -> None:
    layout(tmp_path / "at")
    rows = "".join(f"at/images/r{row}.jpg,at/masks/r{row}.png\n" for row in range(4))
    (tmp_path / "rows.csv").write_text("image,mask\n" + rows)
    dataset = read(tmp_path / "rows.csv")
    assert (dataset.task.kind, dataset.task.classes) == ("segmentation", ("0", "1", "2"))
    assert dataset.columns == {"image": "image", "label": "mask"}


def test_a_mask_that_changes_is_another_data_set(tmp_path: Path) -> None:
    before = read(layout(tmp_path)).fingerprint
    assert read(tmp_path).fingerprint == before
    layout(tmp_path, {"r2": numbers(9)})
    assert read(tmp_path).fingerprint != before


@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16"])
def test_class_numbers_are_read_from_every_kind_of_mask(mode: str) -> None:
    wanted = numbers(classes=2)
    image = Image.fromarray(wanted)
    if mode == "P":
        image.putpalette([0, 0, 0, 200, 10, 10] + [0] * 762)
    if mode == "1":
        image = Image.fromarray(wanted.astype(bool))
    if mode == "I;16":
        image = Image.fromarray(wanted.astype(np.uint16))
    assert image.mode == mode
    assert np.array_equal(np.asarray(decode_mask(ref_of(encoded(image)))), wanted)


@pytest.mark.parametrize(
    ("image", "kind", "what"),
    [
        (picture(), "PNG", "mode RGB has no class numbers"),
        (Image.fromarray(numbers()), "JPEG", "JPEG changes the class numbers"),
        (Image.fromarray(np.full((4, 4), 300, dtype=np.uint16)), "PNG", "a mask of uint16"),
    ],
    ids=["colours", "jpeg", "numbers above 255"],
)
def test_a_mask_without_class_numbers_is_refused(image: Image.Image, kind: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        decode_mask(ref_of(encoded(image, kind)))


def test_a_mask_of_another_size_is_named_with_both_sizes(tmp_path: Path) -> None:
    layout(tmp_path, {"r1": numbers(size=(12, 8))})
    with pytest.raises(DataError, match="1 of 4 masks cannot be used") as caught:
        read(tmp_path)
    assert caught.value.details == (str(Path("masks/r1.png")) + ": 12 x 8 pixels, its image has 24 x 16",)
    assert sum(map(len, read(tmp_path, skip_bad=True, bad_limit=0.3).splits.values())) == 3


def test_a_class_number_without_a_name_is_an_error(tmp_path: Path) -> None:
    (layout(tmp_path) / "classes.txt").write_text("ground\nwater\n")
    report = zoo.check(tmp_path)
    found = [problem for problem in report.problems if problem.kind == "label-range"]
    assert not report.ok
    assert "not among the 2 of classes.txt" in found[0].message
    assert found[0].rows[0] == "[2] in " + str(Path("images/r0.jpg"))


def test_an_image_without_a_mask_is_named(tmp_path: Path) -> None:
    (layout(tmp_path) / "masks" / "r2.png").unlink()
    with pytest.raises(DataError, match=r"1 image of .* without a mask") as caught:
        read(tmp_path)
    assert caught.value.details == (str(Path("images/r2.jpg")),)


def test_masks_of_nothing_but_255_teach_nothing(tmp_path: Path) -> None:
    binary = {f"r{row}": numbers(row, classes=2) * 255 for row in range(4)}
    with pytest.raises(DataError, match="a single class number, 0") as caught:
        read(layout(tmp_path, binary))
    assert "write 1 where the object is" in str(caught.value.help)


def test_gaps_between_class_numbers_are_worth_a_word(tmp_path: Path) -> None:
    dataset = read(layout(tmp_path, {f"r{row}": numbers(row, classes=2) * 128 for row in range(4)}))
    assert any("129 classes for 2 numbers in use" in note for note in dataset.notes)


def test_shots_a_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(zoo.UsageError, match="a row has many labels"):
        read(layout(tmp_path), shots=1)


@pytest.mark.parametrize("preprocess", FITS, ids=["crop", "crop to a rectangle", "squash", "pad"])
@pytest.mark.parametrize("augment", [None, Augment(flip=0.5), Augment(flip=0.5, crop=(0.3, 0.9))])
def test_a_mask_moves_with_its_image(preprocess: ImagePreprocess, augment: Augment | None) -> None:
    # Where the image is the mask, drawn in greys and never blended, both must come out alike.
    processor = ImageProcessor(preprocess)
    for seed, size in enumerate(SHAPES):
        mask = Image.fromarray(numbers(seed, size, classes=200))
        draw = None if augment is None else Draw(augment, 3, 1, seed)
        image = processor(Image.merge("RGB", [mask] * 3), draw)[0]
        moved = processor.mask(mask, draw)
        inside = moved != 255
        assert bool((moved[inside] == image[inside]).all())
        assert float(inside.float().mean()) > 0.1


def test_a_mask_turns_with_its_image() -> None:
    processor = ImageProcessor(ImagePreprocess((64, 64), fit="squash"))
    mask = Image.fromarray(np.kron(numbers(1, (4, 4), classes=2), np.ones((16, 16), dtype=np.uint8)) * 200)
    for seed in range(5):
        draw = Draw(Augment(flip=0.5, crop=(0.5, 0.9), rotation=40.0, colour=0.1), seed, 0, 0)
        image, moved = processor(Image.merge("RGB", [mask] * 3), draw)[0], processor.mask(mask, draw)
        inside = moved != 255
        # The image is blended along the edges, and corners that the rotation leaves empty are to be ignored.
        assert float(((image > 100) == (moved > 100))[inside].float().mean()) > 0.95
        assert 0.5 < float(inside.float().mean()) < 1


@pytest.mark.parametrize("preprocess", FITS, ids=["crop", "crop to a rectangle", "squash", "pad"])
def test_an_answer_goes_back_to_where_the_image_was(preprocess: ImagePreprocess) -> None:
    processor = ImageProcessor(preprocess).whole()
    for seed, size in enumerate(SHAPES):
        left = np.zeros((size[1], size[0]), dtype=np.uint8)
        left[:, : size[0] // 2] = 1 + seed
        back = processor.unmask(processor.mask(Image.fromarray(left)).numpy(), size)
        assert back.shape == left.shape
        # No more than one position of the small map is in doubt, where the classes meet.
        assert float((back != left).mean()) <= 1 / 6
