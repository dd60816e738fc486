"""Masks: the class of every pixel, in files beside the images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.classes import counted, without
from zoo.data.decode import decode_mask, size_of
from zoo.data.folder import SPLIT_NAMES, files_below
from zoo.data.types import ImageRef, Problem, ReadOptions, Table
from zoo.errors import DataError

VOID = 255
"""The class number of pixels that are neither learned from nor measured."""
CLASSES = "classes.txt"
"""Beside the images or the table: names of the class numbers from 0 on, one a line."""
_IMAGES, _MASKS = ("images", "image", "imgs", "img"), ("masks", "mask", "segmentations", "segmentation")


@dataclass(frozen=True)
class Mask:
    """The class of every pixel of one image, as it was when it was looked at."""

    ref: ImageRef
    found: frozenset[int]
    """Class numbers that it holds, without 255."""
    digest: str
    """sha256 of its size and class numbers."""
    wrong: str | None = None
    """Why it cannot be used."""

    def numbers(self) -> NDArray[np.uint8]:
        """(H, W) class numbers, 255 = ignored.

        Raises:
            DataError: names the file and what is wrong with it.
        """
        return np.asarray(decode_mask(self.ref))

    def content(self) -> bytes:
        """What makes two masks the same, for fingerprints."""
        return self.digest.encode()


def mask_folders(folder: Path) -> dict[str, tuple[Path, Path]]:
    """The folders of images and of masks, by split; empty where the folder is not laid out so."""
    splits = {SPLIT_NAMES[each.name.lower()]: each for each in _folders(folder) if each.name.lower() in SPLIT_NAMES}
    pairs = {split: pair for split, each in splits.items() if (pair := _pair(each)) is not None}
    if "train" in pairs:
        return pairs
    pair = _pair(folder)
    if pair is None:
        return {}
    below = {split: tuple(_split_of(side, split) for side in pair) for split in ("train", "val", "test")}
    nested = {split: (image, mask) for split, (image, mask) in below.items() if image and mask}
    return nested if "train" in nested else {"": pair}


def read_mask_folder(folder: Path, name: str) -> Table:
    """Every image with the mask of the same name, but for the suffix.

    Raises:
        DataError: an image without a mask, or two files of one name.
    """
    images: list[ImageRef] = []
    masks: list[ImageRef] = []
    split: list[str] = []
    notes: list[str] = []
    for part, (image_root, mask_root) in mask_folders(folder).items():
        pictures, drawn = _by_stem(image_root), _by_stem(mask_root)
        alone = [str(path.relative_to(folder)) for stem, path in pictures.items() if stem not in drawn]
        if alone or not pictures:
            raise DataError(
                f"{counted(len(alone), 'image')} of {image_root} without a mask" if alone else f"{image_root} is empty",
                details=alone[:10],
                help=f"give each a PNG of the same name in {mask_root}, or take it out",
            )
        if rest := len(drawn.keys() - pictures.keys()):
            notes.append(f"{counted(rest, 'mask')} of {mask_root} without an image, not read")
        for stem, path in pictures.items():
            images.append(ImageRef(str(path.relative_to(folder)), str(path)))
            masks.append(ImageRef(str(drawn[stem].relative_to(folder)), str(drawn[stem])))
            split.append(part)
    return Table(
        name,
        {"image": images, "mask": masks},
        split=split if "train" in split else None,
        names=[image.name for image in images],
        notes=tuple(notes),
    )


def class_names(root: Path) -> tuple[str, ...]:
    """What `classes.txt` says; empty where there is none.

    Raises:
        DataError: a name that stands twice.
    """
    path = root / CLASSES
    if not path.is_file():
        return ()
    names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    while names and not names[-1]:
        names.pop()
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice or "" in names:
        what = f"names {twice[0]!r} twice" if twice and twice[0] else "has an empty line"
        raise DataError(f"{path} {what}", help="write one name a line, the first for class number 0")
    return tuple(names)


def survey(images: Sequence[Any], masks: Sequence[ImageRef]) -> list[Mask]:
    """Decode every mask once: which class numbers it holds, and whether it fits its image."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(_look, images, masks))


def mask_problems(
    masks: Sequence[Mask],
    named: Sequence[str],
    names: Sequence[str],
    kept: dict[str, list[int]],
    options: ReadOptions,
) -> list[Problem]:
    """Masks that cannot be used, numbers of no class, classes that a split lacks.

    Args:
        masks: of every row.
        named: classes by number, where they were named.
        names: where each row came from.
        kept: rows of each split; those that cannot be used are taken out.
        options: what is to be dropped.
    """
    problems = _unusable(masks, kept, options)
    known = set(range(len(named))) or {each for row in kept["train"] for each in masks[row].found}
    strange = [row for members in kept.values() for row in members if masks[row].found - known]
    if strange:
        where = tuple(f"{sorted(masks[row].found - known)[:5]} in {names[row]}" for row in strange)
        classes = f"the {len(named)} of {CLASSES}" if named else "those of the training masks"
        message = f"{counted(len(strange), 'mask')} with a class number that is not among {classes}"
        problems.append(Problem("error", "label-range", message, where, "correct them; 255 is for pixels to ignore"))
        without(kept, set(strange))
    present = {split: {each for row in rows for each in masks[row].found} for split, rows in kept.items()}
    if len(present["train"]) < 2 and kept["train"]:
        only = ", ".join(map(str, present["train"])) or "none but 255, which is ignored"
        message = f"the training masks hold a single class number, {only}: nothing can be learned"
        problems.append(Problem("error", "single-class", message, help="write 1 where the object is, 0 elsewhere"))
        return problems
    highest = max(present["train"], default=0)
    if not named and highest + 1 > 2 * len(present["train"]):
        used = len(present["train"])
        message = f"{highest + 1} classes for {used} numbers in use, the greatest of which is {highest}"
        problems.append(Problem("warning", "label-range", message, help="number the classes 0, 1, 2, ..."))
    return problems + _missing(present, named)


def mask_classes(masks: Sequence[Mask], named: Sequence[str], rows: Sequence[int]) -> tuple[str, ...]:
    """The name of each class number: as given, or the number itself up to the greatest in these rows."""
    if named:
        return tuple(named)
    highest = max((each for row in rows for each in masks[row].found), default=0)
    return tuple(map(str, range(highest + 1)))


def _look(image: Any, ref: ImageRef) -> Mask:
    try:
        numbers = np.asarray(decode_mask(ref))
    except DataError as error:
        return Mask(ref, frozenset(), "", error.what)
    found = frozenset(np.flatnonzero(np.bincount(numbers.ravel(), minlength=256)[:VOID]).tolist())
    height, width = numbers.shape
    mask = Mask(ref, found, hashlib.sha256(f"{width} x {height}".encode() + numbers.tobytes()).hexdigest())
    try:
        size = size_of(image)
    except DataError:  # said where images are looked at
        return mask
    if size == (width, height):
        return mask
    return replace(mask, wrong=f"{ref.name}: {width} x {height} pixels, its image has {size[0]} x {size[1]}")


def _missing(present: Mapping[str, set[int]], named: Sequence[str]) -> list[Problem]:
    problems = []
    for split, found in present.items():
        wanted = set(range(len(named))) if split == "train" else present["train"]
        gone = [named[each] if named else str(each) for each in sorted(wanted - found)]
        if gone:
            message = f"{split} has no pixel of {len(gone)} of {len(wanted)} classes ({', '.join(gone[:5])})"
            problems.append(Problem("warning", "missing-class", message))
    return problems


def _unusable(masks: Sequence[Mask], kept: dict[str, list[int]], options: ReadOptions) -> list[Problem]:
    rows = [row for members in kept.values() for row in members]
    reasons = {row: why for row in rows if (why := masks[row].wrong) is not None}
    if not reasons:
        return []
    message = f"{len(reasons)} of {len(rows)} masks cannot be used ({len(reasons) / len(rows):.1%})"
    without(kept, set(reasons))
    if options.skip_bad and len(reasons) <= options.bad_limit * len(rows):
        return [Problem("warning", "unreadable", message, tuple(reasons.values()))]
    mend = "correct or remove them with their images, or add --skip-bad"
    if options.skip_bad:
        mend = f"--skip-bad passes over {options.bad_limit:.0%} of the masks at most; --bad-limit raises that"
    return [Problem("error", "unreadable", message, tuple(reasons.values()), mend)]


def _folders(folder: Path) -> list[Path]:
    return [each for each in sorted(folder.iterdir()) if each.is_dir() and not each.name.startswith(".")]


def _pair(folder: Path) -> tuple[Path, Path] | None:
    """`images/` and `masks/` of a folder, under one of their usual names."""
    named = {each.name.lower(): each for each in _folders(folder)}
    image = next((named[each] for each in _IMAGES if each in named), None)
    mask = next((named[each] for each in _MASKS if each in named), None)
    return (image, mask) if image is not None and mask is not None else None


def _split_of(folder: Path, split: str) -> Path | None:
    return next((each for each in _folders(folder) if SPLIT_NAMES.get(each.name.lower()) == split), None)


def _by_stem(folder: Path) -> dict[str, Path]:
    """Files below by their path without the suffix."""
    found: dict[str, Path] = {}
    for path in files_below(folder):
        stem = str(path.relative_to(folder).with_suffix(""))
        if stem in found:
            raise DataError(f"{folder} has two files named {stem}: {found[stem].name} and {path.name}", help="keep one")
        found[stem] = path
    return found
