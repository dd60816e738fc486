"""Features of shards: the same as of rows in memory, whoever computes them, however often they are killed."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import zoo
from zoo.verbs.extract import extract
from zoo.verbs.extract_shards import extract_shards

Members = Iterable[tuple[str, bytes]]


def keys_of(command: str) -> set[str]:
    """The keys that the page of commands lists."""
    _, _, after = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8").partition(command)
    table = after.partition("| --- | --- |\n")[2].partition("\n\n")[0]
    return {key for line in table.splitlines() for key in re.findall(r"`(\w+)`", line.split(" | ")[0])}


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    box = io.BytesIO()
    Image.fromarray(pixels).save(box, "PNG")
    return box.getvalue()


def write_tar(path: Path, members: Members) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, raw in members:
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    return path


@pytest.fixture(scope="module")
def digits() -> zoo.Examples:
    return zoo.read_dataset("sklearn:digits").splits["train"].select(range(70))


@pytest.fixture(scope="module")
def images(digits: zoo.Examples) -> list[bytes]:
    return [png(np.asarray(ref.array)) for ref in digits.inputs["image"]]


@pytest.fixture(scope="module")
def backbone() -> zoo.Backbone:
    return zoo.load("starter/glyph-cnn")


@pytest.fixture(scope="module")
def expected(backbone: zoo.Backbone, digits: zoo.Examples) -> np.ndarray[Any, Any]:
    return extract(backbone, digits, cache=False).features


@pytest.fixture
def tars(tmp_path: Path, digits: zoo.Examples, images: list[bytes]) -> Path:
    """70 digits in shards of 30, 30 and 10."""
    folder = tmp_path / "tars"
    folder.mkdir()
    assert digits.targets is not None
    for number, start in enumerate((0, 30, 60)):
        members = [
            (f"{row:04d}.{ending}", raw)
            for row in range(start, min(start + 30, 70))
            for ending, raw in (("png", images[row]), ("cls", str(digits.targets[row]).encode()))
        ]
        write_tar(folder / f"shard-{number:06d}.tar", members)
    return folder


def same(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    """Batches end at other rows, and kernels add up in another order."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_features_of_tars_are_those_of_the_same_rows(
    backbone: zoo.Backbone, tars: Path, digits: zoo.Examples, expected: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    done = extract_shards(backbone, tars, tmp_path / "out")
    assert (done.shards, done.written, done.rows, done.unreadable, done.dim) == (3, 3, 70, 0, backbone.dim)
    assert set(done.to_json()) == keys_of("`zoo extract ... -o FOLDER/ --json`")
    found = zoo.read_features(tmp_path / "out")
    same(found.features, expected)
    assert found.features.dtype == np.float32
    assert found.names == tuple(f"{row:04d}" for row in range(70))
    assert found.labels is not None
    np.testing.assert_array_equal(found.labels, digits.targets)
    assert found.shards[29:31] == ("shard-000000.parquet", "shard-000001.parquet")
    one = zoo.read_features(tmp_path / "out", shards=["shard-000002.parquet"])
    np.testing.assert_array_equal(one.features, found.features[60:])


def test_a_shard_is_a_parquet_file_that_says_what_it_holds(backbone: zoo.Backbone, tars: Path, tmp_path: Path) -> None:
    extract_shards(backbone, tars, tmp_path / "out")
    schema = pq.read_schema(tmp_path / "out" / "shard-000000.parquet")
    assert schema.names == ["id", "name", "label", "features"]
    assert schema.field("features").type == pa.list_(pa.field("element", pa.float32()), backbone.dim)
    about = json.loads(schema.metadata[b"zoo.features"])
    assert about == json.loads((tmp_path / "out" / "_features.json").read_text())
    assert about["backbone"] == backbone.name
    assert about["preprocess"]["image"]["size"] == [32, 32]
    assert len(about["weights"]) == 64
    assert json.loads(pq.read_metadata(tmp_path / "out" / "shard-000002.parquet").metadata[b"zoo.shard"])["rows"] == 10
    assert [path.name for path in sorted((tmp_path / "out").glob("*"))][-3:] == [
        f"shard-{number:06d}.parquet" for number in range(3)
    ]


def test_parquet_shards_of_images_and_texts_give_what_a_table_gives(tmp_path: Path, images: list[bytes]) -> None:
    words = "zero one two three four five six seven eight nine".split()
    texts = [" ".join(words[: 1 + row % 7]) for row in range(70)]
    labels = [words[row % 3] for row in range(70)]
    table = pa.table({"image": [{"bytes": raw, "path": None} for raw in images], "text": texts, "label": labels})
    pq.write_table(table, tmp_path / "whole.parquet")
    (tmp_path / "parts" / "more").mkdir(parents=True)
    pq.write_table(table.slice(0, 40), tmp_path / "parts" / "a.parquet", row_group_size=7)
    pq.write_table(table.slice(40), tmp_path / "parts" / "more" / "b.parquet")
    both = zoo.fuse(zoo.load("starter/glyph-cnn"), zoo.load("starter/gru"))
    whole = zoo.read_dataset(tmp_path / "whole.parquet", zoo.ReadOptions(val=0.5)).splits
    rows = {name: row for split in whole.values() for name, row in zip(split.names, split.ids, strict=True)}
    extract_shards(both, tmp_path / "parts", tmp_path / "out", batch_size=8)
    found = zoo.read_features(tmp_path / "out")
    assert found.shards == ("a.parquet",) * 40 + ("more/b.parquet",) * 30
    assert found.ids == tuple(rows[f"whole.parquet:{row}"] for row in range(70))
    assert found.labels is not None
    assert found.labels.tolist() == labels
    inputs = {"image": [zoo.ImageRef("", data=raw) for raw in images], "text": texts}
    plain = zoo.Examples(inputs, None, found.ids, found.names)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.features, extract(both, plain, cache=False).features, rtol=1e-4, atol=1e-5)


@settings(max_examples=12)
@given(sizes=st.lists(st.integers(0, 12), min_size=1, max_size=3), at_once=st.integers(1, 7))
def test_order_and_number_hold_for_shards_of_any_size(
    tmp_path_factory: pytest.TempPathFactory,
    backbone: zoo.Backbone,
    images: list[bytes],
    expected: np.ndarray[Any, Any],
    sizes: list[int],
    at_once: int,
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    sizes = [max(sizes[0], 1), *sizes[1:]]  # the first row says what the columns are
    first = 0
    for number, size in enumerate(sizes):
        write_tar(folder / f"{number}.tar", [(f"{row}.png", images[row]) for row in range(first, first + size)])
        first += size
    done = extract_shards(backbone, folder, folder / "out", batch_size=at_once)
    found = zoo.read_features(folder / "out")
    assert (done.rows, done.written) == (sum(sizes), len(sizes))
    assert found.names == tuple(map(str, range(sum(sizes))))
    same(found.features, expected[: sum(sizes)])


def test_float16_takes_half_the_room(backbone: zoo.Backbone, tars: Path, tmp_path: Path) -> None:
    extract_shards(backbone, tars, tmp_path / "half", dtype="float16")
    extract_shards(backbone, tars, tmp_path / "whole")
    half, whole = zoo.read_features(tmp_path / "half"), zoo.read_features(tmp_path / "whole")
    np.testing.assert_array_equal(half.features, whole.features.astype(np.float16))


def test_other_features_do_not_go_into_the_same_folder(backbone: zoo.Backbone, tars: Path, tmp_path: Path) -> None:
    extract_shards(backbone, tars, tmp_path / "out")
    with pytest.raises(zoo.UsageError, match=r"(?s)has other features\n.*  weights: .* there, .* now"):
        extract_shards("starter/glyph-cnn@random", tars, tmp_path / "out")
    with pytest.raises(zoo.UsageError, match="dtype: float32 there, float16 now"):
        extract_shards(backbone, tars, tmp_path / "out", dtype="float16")
    alone = write_tar(tmp_path / "a.tar", [("1.png", png(np.zeros((8, 8), np.uint8)))])
    with pytest.raises(zoo.UsageError, match="label_type: int64 there, null now"):
        extract_shards(backbone, alone, tmp_path / "out")


def test_a_shard_that_has_changed_is_not_taken_for_the_old_one(
    backbone: zoo.Backbone, tars: Path, images: list[bytes], tmp_path: Path
) -> None:
    extract_shards(backbone, tars, tmp_path / "out")
    write_tar(tars / "shard-000001.tar", [(f"{row}.png", images[row]) for row in range(60)])
    with pytest.raises(zoo.DataError, match=r"shard-000001.tar has changed since its features were computed"):
        extract_shards(backbone, tars, tmp_path / "out")


def test_rows_that_cannot_be_read_are_refused_listed_or_left_out(
    backbone: zoo.Backbone, tars: Path, images: list[bytes], tmp_path: Path
) -> None:
    members = [(f"{row}.png", images[row]) for row in range(40)]
    members[3] = ("3.png", b"no image")
    members[9] = ("9.txt", b"no image beside this text")
    write_tar(tars / "shard-000001.tar", members)
    said: list[str] = []
    with pytest.raises(zoo.DataError, match=r"(?s)1 of 3 shards is refused; 2 are finished.*2 of 40 rows \(5.0%\)"):
        extract_shards(backbone, tars, tmp_path / "out", say=said.append)
    assert said == ["shard-000001.tar is refused: 2 of 40 rows (5.0%) cannot be read"]
    with pytest.raises(zoo.DataError, match="--skip-bad passes over 1% of a shard's rows"):
        extract_shards(backbone, tars, tmp_path / "out", read=zoo.ReadOptions(skip_bad=True))
    done = extract_shards(backbone, tars, tmp_path / "out", read=zoo.ReadOptions(skip_bad=True, bad_limit=0.05))
    assert (done.written, done.rows, done.unreadable) == (1, 78, 2)
    assert done.reasons == (
        "shard-000001.tar: 3.png: not an image (starts with 'no image')",
        "shard-000001.tar: 9: no image, only txt",
    )
    found = zoo.read_features(tmp_path / "out", shards=["shard-000001.parquet"])
    assert found.names == tuple(str(row) for row in range(40) if row not in (3, 9))


def test_a_tar_that_is_cut_off_is_refused(backbone: zoo.Backbone, tars: Path, tmp_path: Path) -> None:
    whole = (tars / "shard-000001.tar").read_bytes()
    for end in (20_000, 20_480, 20_992):  # within a member, and at the end of one
        (tars / "shard-000001.tar").write_bytes(whole[:end])
        with pytest.raises(zoo.DataError, match=r"(?s)1 of 3 shards is refused.*000001.tar is damaged"):
            extract_shards(backbone, tars, tmp_path / "out")
    assert not (tmp_path / "out" / "shard-000001.parquet").exists()


WORKER = """
import sys, time, zoo
from zoo.verbs import shard_board
whole = shard_board.Work.features
shard_board.POLL_SECONDS = 0.1
pause = float(sys.argv[3])
shard_board.Work.features = lambda self, ready: (time.sleep(pause), whole(self, ready))[1]
print("begins", flush=True)
found = zoo.extract_shards("starter/glyph-cnn", sys.argv[1], sys.argv[2])
print(found.written, found.rows)
"""


def start(tars: Path, out: Path, pause: float = 0.0) -> subprocess.Popen[str]:
    """A process at work; slow where it is to be met in the middle."""
    words = [sys.executable, "-c", WORKER, str(tars), str(out), str(pause)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def until(happens: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_what_a_killed_process_left_is_finished_by_another(
    backbone: zoo.Backbone, tars: Path, expected: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with start(tars, out, pause=0.4) as worker:
        until(lambda: (out / "shard-000000.parquet").exists() and any(out.glob(".claims/shard-000001*")))
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    before = (out / "shard-000000.parquet").stat().st_mtime_ns
    assert list(out.glob(".claims/*.claim"))
    assert not (out / "shard-000001.parquet").exists()
    done = extract_shards(backbone, tars, out)
    assert (done.written, done.rows) == (2, 70)
    assert (out / "shard-000000.parquet").stat().st_mtime_ns == before
    assert not [*out.glob(".claims/*.claim"), *out.glob(".tmp-*")]
    same(zoo.read_features(out).features, expected)


def test_two_processes_share_the_shards(
    backbone: zoo.Backbone, tars: Path, expected: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with start(tars, out, pause=0.4) as worker:
        until(lambda: any(out.glob(".claims/*.claim")))
        done = extract_shards(backbone, tars, out)
        said, _ = worker.communicate()
    written, rows = map(int, said.split()[-2:])
    assert written >= 1
    assert written + done.written == 3
    assert rows == done.rows == 70
    same(zoo.read_features(out).features, expected)


def abandon(folder: Path, name: str, *, age: float) -> Path:
    """The claim of a process on another machine that was last touched so long ago."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.0.claim"
    path.write_text(json.dumps({"host": "elsewhere", "machine": "another", "pid": 1, "started": 0.0}))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_shards_of_the_dead_are_waited_for_and_taken(backbone: zoo.Backbone, tars: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    abandon(out / ".claims", "shard-000001", age=0)
    said: list[str] = []
    done = extract_shards(backbone, tars, out, expiry=0.8, say=said.append)
    assert done.written == 3
    assert said == ["waiting for 1 shard that other processes are working on"]


def test_a_process_that_slept_while_others_took_its_shard_over_does_no_harm(
    backbone: zoo.Backbone, tars: Path, expected: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    awake: list[int] = []

    def sleep(progress: Any) -> None:
        if not awake:
            awake.append(progress.rows)
            for claim in (out / ".claims").glob("*.claim"):
                os.utime(claim, (0, 0))
            awake.append(extract_shards(backbone, tars, out).written)

    done = extract_shards(backbone, tars, out, progress=sleep)
    assert awake == [16, 3]
    assert (done.written, done.rows) == (0, 70)
    assert not [*out.glob(".claims/*.claim"), *out.glob(".tmp-*")]
    same(zoo.read_features(out).features, expected)


def test_ranks_begin_at_different_shards(
    backbone: zoo.Backbone, tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    finished: list[list[str]] = []
    out = tmp_path / "out"
    extract_shards(backbone, tars, out, progress=lambda _: finished.append(sorted(map(str, out.glob("*.parquet")))))
    assert next(each for each in finished if each) == [str(out / "shard-000001.parquet")]
