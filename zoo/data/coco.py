"""Images with boxes as COCO lays them out: a JSON file of images, annotations and categories beside the pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.boxes import Boxes
from zoo.data.classes import counted
from zoo.data.folder import SPLIT_NAMES, split_folders
from zoo.data.types import ImageRef, Table
from zoo.errors import DataError

FILES = ("annotations.json", "_annotations.coco.json")
"""What the annotations of a folder are called; the second by exporters that put them among the images."""
SHOWN = 10
_SPLIT_IN_NAME = re.compile(r"^(?:instances_)?([a-z]+)\d*$")
"""As in train.json, instances_val2017.json."""


def coco_files(folder: Path) -> dict[str, Path]:
    """The annotation files of a folder by split, "" where there are no splits; empty where there are none."""
    found = {split: _file_in(path) for split, path in split_folders(folder).items()}
    files = {split: path for split, path in found.items() if path is not None}
    if files:
        return files
    whole = _file_in(folder)
    if whole is not None:
        return {"": whole}
    for path in sorted((folder / "annotations").glob("*.json")):
        named = _SPLIT_IN_NAME.match(path.stem)
        if named and named[1] in SPLIT_NAMES:
            files.setdefault(SPLIT_NAMES[named[1]], path)
    return files


def read_coco(files: Mapping[str, Path], name: str) -> Table:
    """One row an image, with its boxes; an image without any is a row too.

    Args:
        files: annotations by split.
        name: of the data, as the user typed it.

    Raises:
        DataError: a file that is no such JSON, or an annotation of an unknown image or category.
    """
    images: list[ImageRef] = []
    boxes: list[Boxes] = []
    split: list[str] = []
    for part, path in files.items():
        read = _read(path)
        for each in read["images"]:
            name_of = str(each["file_name"])
            images.append(ImageRef(name_of, str(_image(path, part, name_of))))
        boxes += _boxes(read, path)
        split += [part] * len(read["images"])
    several = "" not in files
    names = [f"{part}/{image.name}" if several else image.name for part, image in zip(split, images, strict=True)]
    return Table(name, {"image": images, "boxes": boxes}, split=split if several else None, names=names)


def _file_in(folder: Path) -> Path | None:
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def _image(annotations: Path, split: str, name: str) -> Path:
    """Where an image lies: in images/ beside the annotations, among them, or in the folder of its split."""
    beside = annotations.parent
    above = beside.parent
    places = [beside / "images", beside]
    if beside.name == "annotations":
        year = annotations.stem.removeprefix("instances_")
        places += [above / "images" / year, above / year, above / "images" / split, above / split, above / "images"]
    return next((place / name for place in places if (place / name).is_file()), places[0] / name)


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON: {error}", help="export the annotations again") from error
    needed = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id", "bbox"),
              "categories": ("id", "name")}  # fmt: skip
    for key, fields in needed.items():
        rows = found.get(key) if isinstance(found, dict) else None
        if not isinstance(rows, list):
            raise DataError(
                f"{path} has no list '{key}', so it is no COCO file",
                help="a COCO file holds images, annotations and categories",
            )
        lacking = [
            f"{key}[{i}]" for i, r in enumerate(rows) if not (isinstance(r, dict) and all(f in r for f in fields))
        ]
        if lacking:
            what = " or ".join(fields)
            raise DataError(f"{path}: {len(lacking)} of '{key}' have no {what}", details=lacking[:SHOWN])
    if not found["images"]:
        raise DataError(f"{path} lists no images")
    return found  # type: ignore[no-any-return]


def _boxes(read: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> list[Boxes]:
    """The boxes of each image as they are written, with categories in the order of their ids."""
    categories = sorted(read["categories"], key=lambda each: each["id"])
    names = tuple(str(each["name"]) for each in categories)
    _refuse(path, "name", "of more than one category", [n for n in dict.fromkeys(names) if names.count(n) > 1])
    place = {each["id"]: index for index, each in enumerate(categories)}
    of_image: dict[Any, list[Mapping[str, Any]]] = {}
    for each in read["images"]:
        _refuse(path, "id", "of more than one image", [f"id {each['id']}"] if each["id"] in of_image else [])
        of_image[each["id"]] = []
    found = read["annotations"]
    lost = [_said(each) for each in found if each["image_id"] not in of_image]
    _refuse(path, "annotation", "of an image that is not listed", lost)
    strange = [_said(each) for each in found if each["category_id"] not in place]
    _refuse(path, "annotation", "of a category that is not listed", strange)
    wrong = [_said(each) for each in found if not _is_box(each["bbox"])]
    _refuse(path, "annotation", "with a bbox that is not four numbers", wrong)
    for each in found:
        of_image[each["image_id"]].append(each)
    return [_of_image(image, of_image[image["id"]], place, names) for image in read["images"]]


def _of_image(
    image: Mapping[str, Any], found: Sequence[Mapping[str, Any]], place: Mapping[Any, int], names: tuple[str, ...]
) -> Boxes:
    written = np.array([each["bbox"] for each in found], dtype=np.float64).reshape(-1, 4)
    # x, y, width, height -> left, upper, right, lower
    corners = np.concatenate([written[:, :2], written[:, :2] + written[:, 2:]], axis=1)
    return Boxes(
        corners=corners.astype(np.float32),
        labels=np.array([place[each["category_id"]] for each in found], dtype=np.int64),
        names=names,
        size=(int(image.get("width") or 0), int(image.get("height") or 0)),
        crowd=np.array([bool(each.get("iscrowd", 0)) for each in found], dtype=np.bool_),
    )


def _refuse(path: Path, noun: str, what: str, rows: list[str]) -> None:
    if rows:
        help_ = "export the annotations again"
        raise DataError(f"{path}: {counted(len(rows), noun)} {what}", details=rows[:SHOWN], help=help_)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(_is_number(each) for each in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _said(annotation: Mapping[str, Any]) -> str:
    told = {key: annotation[key] for key in ("id", "image_id", "category_id", "bbox") if key in annotation}
    return ", ".join(f"{key} {value}" for key, value in told.items())
