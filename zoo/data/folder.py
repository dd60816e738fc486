"""Folders of images: one sub-folder a class, with or without splits above them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from zoo.data.types import ImageRef, Table
from zoo.errors import DataError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Names of folders and files, and the split each means."""


def split_folders(folder: Path) -> dict[str, Path]:
    """The sub-folders that are splits, by split."""
    return {SPLIT_NAMES[p.name.lower()]: p for p in _folders(folder) if p.name.lower() in SPLIT_NAMES}


def read_image_folder(folder: Path, name: str) -> Table:
    """Every image with its class and, where there are split folders, its split.

    Raises:
        DataError: no class folders, or one of them is empty.
    """
    splits = split_folders(folder)
    roots = splits if "train" in splits else {"": folder}
    images: list[ImageRef] = []
    labels: list[str] = []
    split: list[str] = []
    for part, root in roots.items():
        for label, path in _class_files(root):
            shown = str(path.relative_to(folder))
            images.append(ImageRef(name=shown, path=str(path)))
            labels.append(label)
            split.append(part)
    return Table(
        name,
        {"image": images, "label": labels},
        split=split if "train" in splits else None,
        names=[image.name for image in images],
    )


def files_below(folder: Path) -> list[Path]:
    """Every file below, without dotfiles; a loop of links is walked once."""
    return list(_files(folder, set()))


def _class_files(root: Path) -> list[tuple[str, Path]]:
    classes = _folders(root)
    if not classes:
        raise DataError(
            f"{root} holds no class folders", help="lay images out as CLASS/FILE, or give a table with an image column"
        )
    found = []
    for folder in classes:
        files = files_below(folder)
        if not files:
            raise DataError(f"the class folder {folder} is empty", help="remove it, or put its images there")
        label = unicodedata.normalize("NFC", folder.name)
        found += [(label, path) for path in files]
    return found


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Files below, without dotfiles and without walking round a loop of links."""
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path), seen)
            elif entry.is_file():
                yield Path(entry.path)
