"""Folders of images or recordings: one sub-folder a class, with or without splits above them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from zoo.data.audio import AUDIO_SUFFIXES
from zoo.data.types import AudioRef, ImageRef, Table
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
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".jfif", ".npy")
"""Only hints: whether a file is an image is seen by reading it."""
_LITTER = {"Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir"}
"""What file managers leave behind."""


def split_folders(folder: Path) -> dict[str, Path]:
    """The sub-folders that are splits, by split."""
    return {SPLIT_NAMES[p.name.lower()]: p for p in _folders(folder) if p.name.lower() in SPLIT_NAMES}


def read_class_folders(folder: Path, name: str) -> Table:
    """Every image, or every recording where most files are called like one, with its class and perhaps its split.

    Raises:
        DataError: no class folders, or one of them is empty.
    """
    splits = split_folders(folder)
    roots = splits if "train" in splits else {"": folder}
    classes = {part: _class_folders(root) for part, root in roots.items()}
    # A link back to any of these is a loop, or one class seen from within another.
    barred = {_inode(each) for each in (folder.resolve(), *folder.resolve().parents, *roots.values())}
    barred |= {_inode(each) for folders in classes.values() for each in folders}
    paths: list[Path] = []
    labels: list[str] = []
    split: list[str] = []
    for part, folders in classes.items():
        for root in folders:
            files = list(_files(root, set(barred)))
            if not files:
                raise DataError(f"the class folder {root} is empty", help="remove it, or put its files there")
            paths += files
            labels += [unicodedata.normalize("NFC", root.name)] * len(files)
            split += [part] * len(files)
    names = [str(path.relative_to(folder)) for path in paths]
    audio = _mostly_audio(names)
    refs = [(AudioRef if audio else ImageRef)(each, str(path)) for each, path in zip(names, paths, strict=True)]
    return Table(
        name,
        {"audio" if audio else "image": refs, "label": labels},
        split=split if "train" in splits else None,
        names=names,
        notes=_left_out(folder, roots),
    )


def _mostly_audio(names: Sequence[str]) -> bool:
    lowered = [name.lower() for name in names]
    heard, seen = (sum(name.endswith(each) for name in lowered) for each in (AUDIO_SUFFIXES, IMAGE_SUFFIXES))
    return heard > seen


def files_below(folder: Path) -> list[Path]:
    """Every file below, without dotfiles; a loop of links is walked once."""
    return list(_files(folder, {_inode(folder)}))


def _class_folders(root: Path) -> list[Path]:
    # A link to a folder above it is a loop, not a class.
    above = {_inode(each) for each in (root.resolve(), *root.resolve().parents)}
    classes = [each for each in _folders(root) if _inode(each) not in above]
    if not classes:
        raise DataError(
            f"{root} holds no class folders", help="lay files out as CLASS/FILE, or give a table with an image column"
        )
    return classes


def _left_out(folder: Path, roots: Mapping[str, Path]) -> tuple[str, ...]:
    """What lies beside the folders that are read."""
    notes = []
    used = set(roots.values())
    beside = [each.name for each in _folders(folder) if each not in used] if "" not in roots else []
    if beside:
        notes.append(f"not read, beside the splits: {', '.join(f'{name}/' for name in beside[:5])}")
    for root in roots.values():
        loose = [each.name for each in sorted(root.iterdir()) if each.is_file() and not _hidden(each.name)]
        loose = [each for each in loose if each.lower().endswith((*IMAGE_SUFFIXES, *AUDIO_SUFFIXES))]
        if loose:
            notes.append(f"{len(loose)} files of {root} are in no class folder and are not read, such as {loose[0]}")
    return tuple(notes)


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not _hidden(p.name))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in _LITTER


def _inode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _files(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Files below, without dotfiles and without entering a folder that was seen; broken links are among them."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda e: e.name)
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}", help="allow it to be read") from error
    for entry in found:
        path = Path(entry.path)
        if _hidden(entry.name):
            continue
        if path.is_dir():
            inode = _inode(path)
            if inode not in seen:
                seen.add(inode)
                yield from _files(path, seen)
        elif path.is_file() or path.is_symlink():
            yield path
