"""Rows of several images: out of tables, through checks and batches, to backbones that take them or do not."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import zoo
from zoo import DataError, ImagePreprocess, ImageProcessor, ImageRef, Loader, Table
from zoo.data.reading import dataset_of, read_dataset

ROWS: list[list[str]] = [["a.png", "b.png"], ["b.png"], [], ["c.png", "a.png", "b.png"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for level, name in enumerate("abc"):
        (tmp_path / f"{name}.png").write_bytes(png(40 * level))
    return tmp_path


def png(level: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (12, 10), (level, 10, 20)).save(stream, "PNG")
    return stream.getvalue()


def jsonl(folder: Path, rows: list[list[str]] = ROWS) -> Path:
    path = folder / "rows.jsonl"
    lines = [{"images": row, "text": f"text {i}", "label": "ab"[i % 2]} for i, row in enumerate(rows * 3)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def parquet(folder: Path, kind: str) -> Path:
    held: dict[str, Any] = {
        "paths": ROWS,
        "bytes": [[(folder / name).read_bytes() for name in row] for row in ROWS],
        "structs": [[{"bytes": (folder / name).read_bytes(), "path": None} for name in row] for row in ROWS],
    }
    path = folder / "rows.parquet"
    columns = {"images": held[kind] * 3, "text": [f"text {i}" for i in range(12)], "label": ["a", "b"] * 6}
    pq.write_table(pa.table(columns), path)
    return path


def counts_of(values: Any) -> list[int]:
    return [len(value) for value in values]


@pytest.mark.parametrize("kind", ["jsonl", "paths", "bytes", "structs"])
def test_a_column_of_lists_holds_tuples_of_images(kind: str, folder: Path) -> None:
    path = jsonl(folder) if kind == "jsonl" else parquet(folder, kind)
    data = read_dataset(path, zoo.ReadOptions(val=0.5))
    assert data.columns["image"] == "images"
    values = [value for examples in data.splits.values() for value in examples.inputs["image"]]
    assert sorted(counts_of(values)) == sorted(len(row) for row in ROWS * 3)
    assert all(isinstance(each, ImageRef) for value in values for each in value)
    assert zoo.check(path).ok


def test_rows_of_bytes_and_of_paths_are_the_same_rows(folder: Path) -> None:
    by_path, by_bytes = (set(read_dataset(parquet(folder, kind)).splits["train"].ids) for kind in ("paths", "bytes"))
    assert by_path == by_bytes
    assert len(by_path) > 4


def test_the_order_of_images_is_part_of_a_row(folder: Path) -> None:
    first, second = (
        read_dataset(jsonl(folder, [row, ["c.png"], ["b.png"], ["a.png"]])).splits for row in (ROWS[0], ROWS[0][::-1])
    )
    every = [{each for examples in splits.values() for each in examples.ids} for splits in (first, second)]
    assert len(every[0] - every[1]) == 3


def test_one_bad_image_of_several_is_named(folder: Path) -> None:
    (folder / "c.png").write_bytes(b"no image")
    report = zoo.check(jsonl(folder))
    assert not report.ok
    assert any("c.png" in row for problem in report.problems for row in problem.rows)


def test_batches_hold_every_image_of_a_row(folder: Path) -> None:
    class Count(ImageProcessor):
        def __call__(self, value: Any, draw: Any = None) -> Any:
            return value if isinstance(value, tuple) else (value,)

        def collate(self, examples: Any) -> dict[str, torch.Tensor]:
            return {"count": torch.tensor([len(each) for each in examples])}

        def finish(self, tensors: Any) -> dict[str, torch.Tensor]:
            return dict(tensors)

    examples = read_dataset(jsonl(folder)).splits["train"]
    batches = Loader(examples, {"image": Count(ImagePreprocess((8, 8)))}, batch_size=3).epoch(0)
    counts = [int(each) for batch in batches for each in batch.inputs["image"]["count"]]
    assert counts == counts_of(examples.inputs["image"])


def test_a_backbone_of_one_image_refuses_rows_of_several_and_names_them(folder: Path) -> None:
    backbone = zoo.load("starter/glyph-cnn")
    with pytest.raises(DataError, match="rows do not suit starter/glyph-cnn") as caught:
        zoo.extract(backbone, jsonl(folder, [["a.png"], ["a.png", "b.png"]]), cache=False)
    assert "2 images, and starter/glyph-cnn.letters takes one a row" in caught.value.details[0]


def test_lists_of_one_image_are_images(folder: Path) -> None:
    rows = [[name] for name in ("a.png", "b.png", "c.png")]
    backbone = zoo.load("starter/glyph-cnn")
    listed = zoo.extract(backbone, jsonl(folder, rows), cache=False)
    refs = [ImageRef(name=name, path=str(folder / name)) for [name] in rows] * 3
    plain = dataset_of(Table("plain", {"image": refs, "label": ["a", "b", "a"] * 3}), zoo.ReadOptions())
    alone = zoo.extract(backbone, plain, cache=False)
    assert {each.tobytes() for each in listed.features} == {each.tobytes() for each in alone.features}
