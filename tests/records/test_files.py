"""Files and folders are whole or absent, whatever happens to the writer."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from zoo.errors import DataError, ZooError
from zoo.records import files
from zoo.records.files import published, sha256_of, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends_well(tmp_path: Path) -> None:
    with published(tmp_path / "deep" / "a.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "deep" / "a.txt").exists()
    assert (tmp_path / "deep" / "a.txt").read_text() == "new"
    assert names(tmp_path / "deep") == ["a.txt"]


def test_a_folder_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with published(tmp_path / "model") as temporary:
            temporary.mkdir()
            (temporary / f"{text}.txt").write_text(text)
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["new.txt"]


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), SystemExit(1), OSError(errno.EIO, "no")])
def test_what_stood_there_is_kept_when_the_writer_fails(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), published(path) as temporary:  # noqa: PT012
        temporary.write_text("ne")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        # as safetensors says it, whose errors are no OSErrors
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_clear_error_and_the_old_file_is_kept(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZooError, match=f"the disk of {path} is full; what was there before is kept") as caught:  # noqa: PT012, SIM117
        with published(path) as temporary:
            temporary.write_text("ne")
            raise error
    assert "--resume" in (caught.value.help or "")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_the_riddle_of_torch_save_on_a_full_disk_is_solved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=4096)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: full)
    with pytest.raises(ZooError, match="is full"), published(tmp_path / "a.pt"):
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 576 vs 534")


FULL = """
import sys, torch
from pathlib import Path
from safetensors.torch import save_file
from zoo.errors import ZooError
from zoo.records.checkpoints import newest, publish

folder = Path(sys.argv[1]) / "checkpoints"
save = {"torch": torch.save, "safetensors": save_file}[sys.argv[2]]
publish(folder, 1, lambda path: save({"a": torch.ones(1000)}, path / "w"), {"step": 1})
try:
    publish(folder, 2, lambda path: save({"a": torch.ones(1_000_000)}, path / "w"), {"step": 2})
except ZooError as error:
    print(error.what)
print(newest(folder).state["step"], sorted(path.name for path in folder.iterdir()))
"""


@pytest.mark.parametrize("how", ["torch", "safetensors"])
def test_a_checkpoint_on_a_disk_that_is_really_full_keeps_the_last_good_one(tmp_path: Path, how: str) -> None:
    """On a file system of 1 MB in a name space of its own, where this machine allows one."""
    mount = f"mount -t tmpfs -o size=1m tmpfs {tmp_path} && exec {sys.executable} -c '{FULL}' {tmp_path} {how}"
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("needs `unshare -rm` for a small file system")
    done = subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, text=True, timeout=120)
    if "mount" in done.stderr and done.returncode:
        pytest.skip("needs to mount a small file system")
    said, left = done.stdout.splitlines()
    assert said == f"the disk of {tmp_path}/checkpoints/step-000002 is full; what was there before is kept"
    assert left == "1 ['step-000001']"


def test_files_can_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    """safetensors writes files that only their owner may read."""
    with published(tmp_path / "model") as temporary:
        temporary.mkdir()
        save_file({"a": torch.zeros(1)}, temporary / "w.safetensors")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "model" / "w.safetensors").stat().st_mode) == 0o666 & ~mask


def test_json_holds_no_nan_and_stays_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"accuracy": 0.5})
    with pytest.raises(ValueError, match="Out of range float values"):
        write_json(tmp_path / "a.json", {"accuracy": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"accuracy": 0.5}
    assert names(tmp_path) == ["a.json"]


def test_the_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


REPLACE = """
import sys
from pathlib import Path
from zoo.records.files import published

for number in range(10**9):
    with published(Path(sys.argv[1])) as temporary:
        temporary.mkdir()
        for name in "ab":
            (temporary / name).write_text(str(number) * 2000)
"""


def test_a_writer_that_is_killed_leaves_a_whole_folder(tmp_path: Path) -> None:
    """At any moment but the one between two renames, in which the old folder stands aside under its own name."""
    target = tmp_path / "model"
    for round_ in range(12):
        child = subprocess.Popen([sys.executable, "-c", REPLACE, str(target)])
        deadline = time.monotonic() + 20
        while not target.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.013 * round_)
        child.send_signal(signal.SIGKILL)
        child.wait()
        # A child that was killed while it removed an old folder left a part of that one behind.
        found = [target] if target.is_dir() else list(tmp_path.glob(".old*"))
        held = [[(each / name).read_text() for name in "ab" if (each / name).exists()] for each in found]
        assert any(len(texts) == 2 and texts[0] == texts[1] != "" for texts in held), (found, held)


@pytest.mark.parametrize("text", ["", "{", '{"status": "done"', "[1, 2]", "\x00\x00"])
def test_a_run_with_a_damaged_record_is_listed_and_does_not_hide_the_others(tmp_path: Path, text: str) -> None:
    import zoo
    from zoo.records.runs import RunFolder

    RunFolder.create(tmp_path, "good", backbone="a", strategy="full").finish("done")
    RunFolder.create(tmp_path, "torn", backbone="a", strategy="full")
    (tmp_path / "torn" / "run.json").write_text(text)
    assert {run.path.name: run.status for run in zoo.runs(tmp_path)} == {"good": "done", "torn": "damaged"}
    with pytest.raises(DataError, match=r"run\.json is damaged"):
        zoo.open_run("torn", root=tmp_path).read_json("run.json")
