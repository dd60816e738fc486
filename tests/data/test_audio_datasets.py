"""Recordings in folders and tables: what is inferred, what is found wrong before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recorded import encoded, sound_folder, tone

from zoo import AudioRef, DataError, Dataset, Examples, Loader, ReadOptions, UnknownNameError, UsageError, read_dataset
from zoo.data.waveforms import AudioPreprocess, AudioProcessor
from zoo.verbs.check import check, without_bad_files


def read(source: Path, **options: Any) -> Dataset:
    return read_dataset(source, ReadOptions(**options))


def problems(source: Path, **options: Any) -> dict[str, Any]:
    return {problem.kind: problem for problem in check(source, read=ReadOptions(**options)).problems}


def test_class_folders_of_recordings_are_read_like_those_of_images(tmp_path: Path) -> None:
    root = sound_folder(tmp_path / "sounds" / "train", {"bark": 4, "meow": 4}).parent
    sound_folder(root / "test", {"bark": 2, "meow": 2}, start=300)
    data = read(root)
    assert data.modalities == ("audio",)
    assert data.task.classes == ("bark", "meow")
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 8, "test": 4}
    assert data.notes[0] == "reading audio from 'audio', label from 'label'"
    first = data.splits["train"].inputs["audio"][0]
    assert isinstance(first, AudioRef)
    assert first.name == "train/bark/0.wav"
    assert check(root).ok


def test_a_column_of_paths_to_recordings_is_found_or_given(tmp_path: Path) -> None:
    sound_folder(tmp_path / "clips", {"a": 4, "b": 4})
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.wav"))
    rows = [f"{file},{'yes' if '/a/' in file else 'no'},said so and so" for file in files]
    (tmp_path / "clips.csv").write_text("path,label,text\n" + "\n".join(rows))
    data = read(tmp_path / "clips.csv")
    assert data.columns == {"text": "text", "audio": "path", "label": "label"}
    assert read(tmp_path / "clips.csv", modalities=("audio",)).modalities == ("audio",)
    (tmp_path / "clips.csv").write_text("where,label\n" + "\n".join(row.rpartition(",")[0] for row in rows))
    with pytest.raises(DataError, match="no column that looks like image or text or audio"):
        read(tmp_path / "clips.csv")
    assert read(tmp_path / "clips.csv", audio="where").modalities == ("audio",)
    with pytest.raises(UnknownNameError, match="No column is named 'wher'"):
        read(tmp_path / "clips.csv", audio="wher")


@pytest.mark.parametrize("nested", [True, False], ids=["bytes and path", "bytes"])
def test_recordings_in_a_parquet_table_are_told_from_images_by_their_bytes(nested: bool, tmp_path: Path) -> None:
    cells: list[Any] = [encoded(tone(300 + 10 * row), kind="FLAC" if row % 2 else "WAV") for row in range(8)]
    if nested:
        cells = [{"bytes": cell, "path": f"{row}.wav"} for row, cell in enumerate(cells)]
    table = pa.table({"sound": cells, "label": ["a", "b"] * 4})
    pq.write_table(table, tmp_path / "clips.parquet")
    data = read(tmp_path / "clips.parquet")
    assert data.columns["audio"] == "sound"
    assert check(tmp_path / "clips.parquet").ok


def test_the_same_recording_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    root = sound_folder(tmp_path / "sounds" / "train", {"bark": 4, "meow": 4}).parent
    sound_folder(root / "test", {"bark": 2, "meow": 2}, start=300)
    (root / "test" / "bark" / "again.wav").write_bytes((root / "train" / "bark" / "0.wav").read_bytes())
    with pytest.raises(DataError, match=r"1 of 5 rows of test \(20.0%\) are also training rows") as caught:
        read(root)
    assert caught.value.details == ("test/bark/again.wav is also train/bark/0.wav",)


def test_check_names_every_recording_that_cannot_be_used(tmp_path: Path, zoo_command: Callable[..., Any]) -> None:
    root = sound_folder(tmp_path / "sounds", {"bark": 6, "meow": 6})
    (root / "bark" / "cut.wav").write_bytes(encoded(tone(777))[:300])
    (root / "bark" / "empty.flac").write_bytes(b"")
    (root / "meow" / "text.ogg").write_text("no sound")
    (root / "meow" / "nothing.wav").write_bytes(encoded(np.zeros(0)))
    (root / "meow" / "still.wav").write_bytes(encoded(np.zeros(800)))
    done = zoo_command("check", root, "--json")
    assert done.code == 3
    assert "Traceback" not in done.err
    found = {problem["kind"]: problem for problem in json.loads(done.out)["problems"]}
    assert found["unreadable"]["message"] == "4 of 17 recordings cannot be read (23.5%)"
    said = "\n".join(sorted(found["unreadable"]["rows"]))
    for name in ("bark/cut.wav: damaged", "bark/empty.flac: empty", "meow/nothing.wav: no sam", "meow/text.ogg: not a"):
        assert name in said
    assert found["silent"]["message"] == "1 recording is silent throughout"
    assert found["silent"]["rows"] == ["meow/still.wav"]


def test_bad_recordings_can_be_passed_over(tmp_path: Path) -> None:
    root = sound_folder(tmp_path / "sounds", {"bark": 6, "meow": 6})
    (root / "bark" / "0.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="1 of 12 recordings cannot be read"):
        without_bad_files(read(root), ReadOptions())
    kept = without_bad_files(read(root), ReadOptions(skip_bad=True, bad_limit=0.1))
    assert sum(map(len, kept.splits.values())) == 11
    assert "1 unreadable recordings are skipped: bark/0.wav: not a recording" in kept.notes[-1]


def test_a_longer_recording_than_is_allowed_is_refused(tmp_path: Path) -> None:
    root = sound_folder(tmp_path / "sounds", {"bark": 4, "meow": 4})
    (root / "bark" / "0.wav").write_bytes(encoded(tone(222, 3.0)))
    (row,) = problems(root, max_seconds=2)["unreadable"].rows
    assert row == "bark/0.wav: 3.0 seconds at 8,000 Hz, more than the limit of 2"
    assert not problems(root)
    with pytest.raises(UsageError, match="--max-seconds 0 is not above 0"):
        ReadOptions(max_seconds=0)


def test_recordings_of_like_length_share_a_batch() -> None:
    seconds = [0.5, 0.1, 0.4, 0.2, 0.3, 0.6]
    refs = [AudioRef(str(each), data=encoded(tone(seconds=each))) for each in seconds]
    rows = Examples({"audio": refs}, None, tuple(map(str, seconds)), tuple(map(str, seconds)))
    loader = Loader(rows, {"audio": AudioProcessor(AudioPreprocess(8_000))}, batch_size=2)
    batches = list(loader.epoch(0))
    assert [batch.rows.tolist() for batch in batches] == [[1, 3], [4, 2], [0, 5]]
    assert batches[0].inputs["audio"]["samples"].shape == (2, 1_600)
