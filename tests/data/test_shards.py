"""Rows out of tars and Parquet files, and the names of these."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import zoo
from zoo.data.rows import Reading, Row, find_reading, rows_of
from zoo.data.shards import Shard, expanded, find_shards
from zoo.data.streaming import chunks


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, raw in members:
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    return path


def png() -> bytes:
    box = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(box, "PNG")
    return box.getvalue()


def test_members_are_found_by_their_key(tmp_path: Path) -> None:
    fields: Mapping[str, Any] = {"image": "a member has this name", "caption": "a zero", "price": 3, "tags": ["a", "b"]}
    raw = png()
    members = [("d/one.json", json.dumps(fields).encode()), ("d/one.JPG", raw), ("d/one.txt", b"zero\n")]
    shard = Shard("a.tar", write_tar(tmp_path / "a.tar", [*members, ("d/two.webp", raw), (".hidden", b"")]), "tar")

    def read(options: zoo.ReadOptions) -> list[Any]:
        return list(rows_of(shard, find_reading(shard, options)))

    one, two = read(zoo.ReadOptions())
    assert (one.name, one.inputs["text"], one.inputs["image"].name) == ("d/one", "zero\n", "d/one.jpg")
    assert (two.name, two.reason) == ("d/two", "no text, only webp")
    assert read(zoo.ReadOptions(text=("caption",), label=("price",)))[0].inputs["text"] == "a zero"
    assert read(zoo.ReadOptions(text=("caption",), label=("price",)))[0].label == 3.0
    assert read(zoo.ReadOptions(label=("tags",)))[0].label == ["a", "b"]
    with pytest.raises(zoo.UnknownNameError, match=r"No column is named 'capton'\. Did you mean caption"):
        read(zoo.ReadOptions(text=("capton",)))


def test_a_tar_may_be_compressed_and_be_no_tar_at_all(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", [("1.png", png()), ("2.png", png())]).read_bytes()

    def names(raw: bytes) -> list[str]:
        (tmp_path / "b.tgz").write_bytes(raw)
        return [row.name for row in rows_of(Shard("b.tgz", tmp_path / "b.tgz", "tar"), Reading(image="image"))]

    assert names(whole) == names(gzip.compress(whole)) == ["1", "2"]
    for broken in (gzip.compress(whole)[:150], gzip.compress(whole[:1024]), whole[:700], whole[:1024], b"", b"<html>"):
        with pytest.raises(zoo.DataError, match=r"b\.tgz is damaged: "):
            names(broken)


def test_patterns_name_every_shard(tmp_path: Path) -> None:
    assert expanded("s-{08..11}.tar") == ["s-08.tar", "s-09.tar", "s-10.tar", "s-11.tar"]
    assert expanded("{a,b}/{0..1}") == ["a/0", "a/1", "b/0", "b/1"]
    for name in ("s-0.tar", "s-1.tar", "t.parquet"):
        (tmp_path / name).touch()
    assert [each.name for each in find_shards(str(tmp_path / "s-{0..1}.tar"))] == ["s-0.tar", "s-1.tar"]
    assert [each.name for each in find_shards(str(tmp_path / "s-*.tar"))] == ["s-0.tar", "s-1.tar"]
    with pytest.raises(zoo.DataError, match=r"(?s)1 of the 3 shards of .* not there.*s-2.tar"):
        find_shards(str(tmp_path / "s-{0..2}.tar"))
    with pytest.raises(zoo.DataError, match=r"holds tars and Parquet files, such as s-0\.tar and t\.parquet"):
        find_shards(tmp_path)
    with pytest.raises(zoo.UsageError, match="is not on this machine"):
        find_shards("s3://bucket/s-{0..2}.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(zoo.DataError, match="holds no shards"):
        find_shards(tmp_path / "empty")


@given(
    sizes=st.lists(st.integers(0, 50)),
    at_once=st.integers(1, 4),
    batches=st.integers(1, 3),
    size=st.integers(1, 100),
)
def test_chunks_hold_every_row_once_and_stay_small(sizes: list[int], at_once: int, batches: int, size: int) -> None:
    rows = [Row(str(number), {}, None, each) for number, each in enumerate(sizes)]
    found = list(chunks(rows, at_once=at_once, count=at_once * batches, size=size))
    assert [row for chunk in found for row in chunk] == rows
    for chunk in found:
        before = sum(row.size for row in chunk[:-1])
        assert len(chunk) <= at_once * batches
        assert before < 4 * size
        assert before < size or len(chunk) - at_once < 1 or sum(row.size for row in chunk[:-at_once]) < size
