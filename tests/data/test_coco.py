"""Images with boxes in COCO's layout: what is read, and every way in which boxes can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo.data.boxes import Boxes

CATEGORIES = [{"id": 7, "name": "disc"}, {"id": 3, "name": "box"}]


def write(folder: Path, boxes: dict[str, list[list[float]]], *, file: str = "annotations.json", **more: Any) -> Path:
    """Images of 40 x 30 pixels with boxes [category, left, upper, width, height], and their annotations."""
    images, annotations = [], []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number, (name, rows) in enumerate(boxes.items()):
        grey = np.full((30, 40), 10 * number + sum(map(ord, folder.name)) % 100, dtype=np.uint8)
        Image.fromarray(grey).save(folder / "images" / name)
        images.append({"id": 100 + number, "file_name": name, "width": 40, "height": 30})
        annotations += [{"id": 1, "image_id": 100 + number, "category_id": c, "bbox": box} for c, *box in rows]
    data = {"images": images, "annotations": annotations, "categories": CATEGORIES, **more}
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")
    return folder


GOOD: dict[str, list[list[float]]] = {f"{i}.png": [[7, 1, 2, 10, 10], [3, 20, 10, 8.5, 12]] for i in range(5)}
GOOD["empty.png"] = []


def edited(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The folder, with its annotations changed."""
    file = path / "annotations.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))
    return path


def boxes_of(data: zoo.Dataset, split: str) -> list[Boxes]:
    targets = data.splits[split].targets
    assert targets is not None
    return list(targets)


def test_boxes_are_read_with_classes_in_the_order_of_their_ids(tmp_path: Path) -> None:
    data = zoo.read_dataset(write(tmp_path / "shapes", GOOD))
    assert data.task == zoo.Task("detection", ("box", "disc"), ("boxes",))
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 5, "val": 1}
    rows = {
        name: boxes
        for split in data.splits
        for name, boxes in zip(data.splits[split].names, boxes_of(data, split), strict=True)
    }
    assert rows["0.png"].corners.tolist() == [[1, 2, 11, 12], [20, 10, 28.5, 22]]
    assert [rows["0.png"].names[label] for label in rows["0.png"].labels] == ["disc", "box"]
    assert rows["0.png"].size == (40, 30)
    assert len(rows["empty.png"]) == 0
    assert any("holds the objects of each image" in note for note in data.notes)


@pytest.mark.parametrize("layout", ["split folders", "among the images", "as COCO itself", "one file"])
def test_annotations_are_found_where_people_keep_them(tmp_path: Path, layout: str) -> None:
    if layout == "split folders":
        source = tmp_path
        write(tmp_path / "train", GOOD)
        write(tmp_path / "val", GOOD)
    elif layout == "among the images":
        source = tmp_path
        for split in ("train", "valid"):
            write(tmp_path / split, GOOD, file="images/_annotations.coco.json")
            (tmp_path / split / "images").rename(tmp_path / f"moved-{split}")
            (tmp_path / split).rmdir()
            (tmp_path / f"moved-{split}").rename(tmp_path / split)
    elif layout == "as COCO itself":
        source = tmp_path
        for split in ("train2017", "val2017"):
            write(tmp_path / split, GOOD, file=f"../annotations/instances_{split}.json")
            (tmp_path / split / "images").rename(tmp_path / f"moved-{split}")
            (tmp_path / split).rmdir()
            (tmp_path / f"moved-{split}").rename(tmp_path / split)
    else:
        source = write(tmp_path / "whole", GOOD) / "annotations.json"
    data = zoo.read_dataset(source)
    count = 5 if layout == "one file" else 6
    assert len(data.splits["train"]) == count
    assert len(data.splits["val"]) == (1 if layout == "one file" else 6)
    assert sum(map(len, boxes_of(data, "train"))) > 0
    report = zoo.check(source)
    assert report.ok, report.problems
    assert report.task == "detection"


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ([7, 5, 5, 0, 10], "bad-box"),
        ([7, 5, 5, -4, 10], "bad-box"),
        ([7, 41, 5, 10, 10], "bad-box"),
        ([7, -20, 5, 10, 10], "bad-box"),
    ],
)
def test_a_box_with_nothing_inside_is_named(tmp_path: Path, box: list[float], kind: str) -> None:
    folder = write(tmp_path / "shapes", {**GOOD, "bad.png": [box, [3, 0, 0, 5, 5]]})
    report = zoo.check(folder)
    problem = next(each for each in report.problems if each.kind == kind)
    assert problem.level == "error"
    assert problem.rows == (f"bad.png: 'disc' at {[float(value) for value in box[1:]]}",)
    with pytest.raises(zoo.DataError, match=r"1 of 12 boxes have no area inside their image \(8.3%\)"):
        zoo.read_dataset(folder)
    data = zoo.read_dataset(folder, zoo.ReadOptions(skip_bad=True, bad_limit=0.1))
    assert sum(len(each) for split in data.splits for each in boxes_of(data, split)) == 11
    with pytest.raises(zoo.DataError, match="1 of 12 boxes") as error:
        zoo.read_dataset(folder, zoo.ReadOptions(skip_bad=True))
    assert "--bad-limit raises that" in str(error.value.help)


def test_a_box_that_sticks_out_is_cut_off_at_the_border_and_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "shapes", {**GOOD, "out.png": [[7, 30, 20, 20, 9], [3, -0.5, 0, 10, 10]]})
    report = zoo.check(folder)
    assert report.ok
    assert [p.rows for p in report.problems if p.kind == "box-outside"] == [
        ("out.png: 'disc' at [30.0, 20.0, 20.0, 9.0]",)
    ]
    data = zoo.read_dataset(folder, zoo.ReadOptions(val=0.1))
    every = [each for split in data.splits for each in boxes_of(data, split)]
    assert max(float(each.corners.max(initial=0)) for each in every) <= 40
    assert min(float(each.corners.min(initial=0)) for each in every) >= 0


def test_images_of_another_size_than_the_annotations_say_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "shapes", GOOD)
    turned = Image.fromarray(np.zeros((30, 40), dtype=np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6  # upright it is 30 wide and 40 high
    turned.save(folder / "images" / "0.png", exif=exif)
    with pytest.raises(zoo.DataError, match="1 image of another size than the annotations say") as error:
        zoo.read_dataset(folder)
    assert error.value.details == ("0.png: 40 x 30 in the annotations, 30 x 40 the image",)


def test_crowds_are_kept_and_not_learned(tmp_path: Path) -> None:
    def crowd(data: dict[str, Any]) -> None:
        data["annotations"][0]["iscrowd"] = 1

    data = zoo.read_dataset(edited(write(tmp_path / "shapes", GOOD), crowd))
    every = [each for split in data.splits for each in boxes_of(data, split)]
    assert sum(map(len, every)) == 10
    assert sum(len(each.trained) for each in every) == 9


def test_classes_are_those_with_a_box_in_the_training_images(tmp_path: Path) -> None:
    only_discs = {name: [row for row in rows if row[0] == 7] for name, rows in GOOD.items()}
    write(tmp_path / "train", only_discs)
    write(tmp_path / "val", only_discs)
    data = zoo.read_dataset(tmp_path)
    assert data.task.classes == ("disc",)
    assert any("left out: box" in problem.message for problem in data.problems)
    write(tmp_path / "val", GOOD)
    with pytest.raises(zoo.DataError, match="5 objects of val of a class without a box in the training images"):
        zoo.read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["annotations"][0].update(category_id=99), "1 annotation of a category that is not listed"),
        (lambda data: data["annotations"][0].update(image_id=99), "1 annotation of an image that is not listed"),
        (
            lambda data: data["annotations"][0].update(bbox=[1, 2, 3]),
            "1 annotation with a bbox that is not four numbers",
        ),
        (lambda data: data["annotations"][0].pop("bbox"), "1 of 'annotations' have no image_id or category_id or bbox"),
        (lambda data: data["images"].append(data["images"][0]), "1 id of more than one image"),
        (lambda data: data["categories"].append({"id": 9, "name": "box"}), "1 name of more than one category"),
        (lambda data: data.pop("categories"), "has no list 'categories', so it is no COCO file"),
        (lambda data: data.update(images=[], annotations=[]), "lists no images"),
        (lambda data: data.update(annotations=[]), "the training images have no box: nothing can be learned"),
    ],
)
def test_annotations_that_make_no_sense_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    with pytest.raises(zoo.DataError, match=message):
        zoo.read_dataset(edited(write(tmp_path / "shapes", GOOD), change))


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "shapes", GOOD)
    (folder / "images" / "3.png").unlink()
    report = zoo.check(folder)
    assert [p.rows for p in report.problems if p.kind == "unreadable"] == [("3.png: No such file or directory",)]
    (folder / "annotations.json").write_text("{")
    with pytest.raises(zoo.DataError, match="is no JSON"):
        zoo.read_dataset(folder)
