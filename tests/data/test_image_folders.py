"""Folders of images: what is read, what is passed over, what is an error."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made import class_folder, encoded, kinds, picture, read, refused

from zoo.verbs.check import check


def test_links_that_loop_hidden_files_and_litter_add_no_row_and_no_class(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 3, "dog": 4})
    (root / "cat" / "loop").symlink_to(root, target_is_directory=True)
    (root / "cat" / "above").symlink_to(tmp_path.parent, target_is_directory=True)
    (root / "dog" / "sibling").symlink_to(root / "cat", target_is_directory=True)
    (root / "round").symlink_to(root, target_is_directory=True)
    (root / ".git").mkdir()
    (root / ".git" / "HEAD").write_text("ref: main")
    (root / "__MACOSX").mkdir()
    (root / "cat" / "._0.png").write_bytes(b"\0\5\x16\7")
    (root / "cat" / ".DS_Store").write_bytes(b"Bud1")
    (root / "dog" / "Thumbs.db").write_bytes(b"\xd0\xcf")
    data = read(root)
    assert data.task.classes == ("cat", "dog")
    names = sorted(name for examples in data.splits.values() for name in examples.names)
    assert names == sorted([f"cat/{i}.png" for i in range(3)] + [f"dog/{i}.png" for i in range(4)])
    assert check(root).ok


def test_folders_within_a_class_and_links_to_elsewhere_are_followed(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "photos", {"cat/2019": 3, "cat/2020": 2})
    elsewhere = class_folder(tmp_path / "disk", {"dogs": 4})
    (root / "dog").symlink_to(elsewhere / "dogs", target_is_directory=True)
    data = read(root)
    assert data.task.classes == ("cat", "dog")
    assert sum(map(len, data.splits.values())) == 9


def test_an_empty_class_folder_is_named(tmp_path: Path, zoo_command: Callable[..., Any]) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 4, "dog": 4})
    (root / "newt").mkdir()
    (root / "newt" / ".keep").touch()
    done = zoo_command("check", root, "--json")
    assert done.code == 3
    problem = json.loads(done.out)["problems"][0]
    assert problem["message"] == f"the class folder {root}/newt is empty"
    assert problem["help"] == "remove it, or put its files there"
    assert refused(root, "newt is empty")


def test_a_link_to_nothing_is_a_missing_image_and_not_passed_over(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 4, "dog": 4})
    (root / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "cat" / "self.png").symlink_to(root / "cat" / "self.png")
    report = check(root)
    reasons = next(problem for problem in report.problems if problem.kind == "unreadable").rows
    assert reasons == (
        "cat/gone.png: No such file or directory",
        "cat/self.png: Too many levels of symbolic links",
    )


def test_images_beside_the_class_folders_are_not_read_and_that_is_said(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "photos", {"train/cat": 4, "train/dog": 4, "val/cat": 2, "val/dog": 2, "extra/x": 1})
    picture(77).save(root / "train" / "loose.png")
    notes = read(root).notes
    assert "not read, beside the splits: extra/" in notes
    assert any("1 files of" in note and "are not read, such as loose.png" in note for note in notes)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 4, "dog": 4})
    (root / "cat").chmod(0)
    try:
        refused(root, "cat cannot be read: Permission denied")
    finally:
        (root / "cat").chmod(0o755)


def test_names_with_spaces_accents_capitals_and_wrong_or_no_suffixes_are_read_by_their_content(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "photos", {"cat": 2, "dog": 2})
    named = [
        "ant photos.JPG",
        "naïve café.jpeg",
        "日本.png",
        "no-suffix",
        "really-a-jpeg.png",
        "UPPER.PNG",
        "a.jfif",
        "x.txt",
    ]
    for seed, name in enumerate(named, 50):
        (root / "cat" / name).write_bytes(encoded(picture(seed), "JPEG"))
    (root / "dog" / "movie.gif").write_bytes(encoded(picture(70), "WEBP"))
    report = check(root)
    assert report.ok
    assert sum(report.rows.values()) == 4 + len(named) + 1


def test_the_same_class_in_two_spellings_of_unicode_is_one_class(tmp_path: Path) -> None:
    composed, apart = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")
    root = class_folder(tmp_path / "photos", {f"train/{composed}": 4, "train/tea": 4})
    class_folder(root, {f"test/{apart}": 2, "test/tea": 2}, first=100)
    data = read(root)
    assert data.task.classes == (composed, "tea")
    assert kinds(data.problems) == {}
