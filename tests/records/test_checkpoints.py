"""A checkpoint is whole or absent, and resuming takes the newest that is whole."""

from __future__ import annotations

import errno
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.errors import ZooError
from zoo.records.checkpoints import MANIFEST, newest, publish, verify

FILES = {"model.safetensors": b"m" * 5000, "optimizer.pt": b"o" * 5000}


def write(folder: Path) -> None:
    for name, content in FILES.items():
        (folder / name).write_bytes(content)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with checkpoints of steps 10 and 20."""
    for step in (10, 20):
        publish(tmp_path, step, write, {"epoch": step // 10})
    return tmp_path


def step_of(folder: Path) -> int | None:
    found = newest(folder)
    return None if found is None else found.step


def test_the_newest_is_found_with_its_state(two: Path) -> None:
    found = newest(two)
    assert found is not None
    assert (found.step, found.state, found.skipped) == (20, {"epoch": 2}, ())
    assert found.path == two / "step-000020"


def test_none_is_found_where_there_is_none(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    assert newest(tmp_path / "no-such-folder") is None


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    for step in (9, 999_999, 1_000_000):
        publish(tmp_path, step, write, {}, keep=9)
    assert step_of(tmp_path) == 1_000_000


def test_only_the_newest_are_kept(two: Path) -> None:
    publish(two, 30, write, {}, keep=2)
    assert sorted(path.name for path in two.iterdir()) == ["step-000020", "step-000030"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def zero(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("harm", [Path.unlink, truncate, zero, flip, empty], ids=lambda f: f.__name__)
def test_a_damaged_newest_one_is_skipped_and_the_one_before_is_used(
    two: Path, name: str, harm: Callable[[Path], None]
) -> None:
    harm(two / "step-000020" / name)
    found = newest(two)
    assert found is not None
    if harm is flip and name == MANIFEST and found.step == 20:
        pytest.skip("the flipped bit changed nothing that is read")
    assert found.step == 10
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith(f"step-000020: {name} is ") or name == MANIFEST
    assert "step-000020" in found.skipped[0]


@pytest.mark.parametrize("text", ["[]", "null", "3", '{"step": 20}', '{"files": 3, "step": 20}', "{" * 20_000])
def test_a_manifest_that_is_something_else_is_skipped(two: Path, text: str) -> None:
    (two / "step-000020" / MANIFEST).write_text(text)
    assert step_of(two) == 10


def test_an_empty_folder_of_a_later_step_is_skipped(two: Path) -> None:
    (two / "step-000030").mkdir()
    found = newest(two)
    assert found is not None
    assert (found.step, found.skipped) == (20, ("step-000030: MANIFEST.json is missing",))


def test_all_damaged_is_none(two: Path) -> None:
    for path in two.glob("step-*"):
        truncate(path / "model.safetensors")
    assert newest(two) is None


def test_verify_names_what_is_damaged(two: Path) -> None:
    flip(two / "step-000020" / "optimizer.pt")
    with pytest.raises(ValueError, match=r"optimizer\.pt is damaged"):
        verify(two / "step-000020")
    (two / "step-000020" / "optimizer.pt").unlink()
    with pytest.raises(ValueError, match=r"optimizer\.pt is missing"):
        verify(two / "step-000020")


def test_a_step_that_is_made_again_replaces_the_damaged_one(two: Path) -> None:
    truncate(two / "step-000020" / "model.safetensors")
    publish(two, 20, write, {"epoch": 2})
    assert step_of(two) == 20


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), RuntimeError("no"), KeyboardInterrupt()])
def test_a_writer_that_fails_leaves_the_last_good_one_and_no_debris(two: Path, error: BaseException) -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise error

    expected = ZooError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        publish(two, 30, fail, {})
    assert step_of(two) == 20
    assert sorted(path.name for path in two.iterdir()) == ["step-000010", "step-000020"]


def test_a_full_disk_is_one_clear_error(two: Path) -> None:
    def fail(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ZooError, match=r"the disk of .*step-000030 is full; what was there before is kept"):
        publish(two, 30, fail, {})


def test_debris_of_a_killed_writer_is_cleared_away(two: Path) -> None:
    (two / ".tmp-step-000030-dead").mkdir()
    publish(two, 30, write, {})
    assert [path.name for path in two.glob(".*")] == []


WRITER = """
import sys
from pathlib import Path
from zoo.records.checkpoints import newest, publish

folder = Path(sys.argv[1])
last = newest(folder)
step = last.step if last else 0

def write(path):
    for name in ("model", "optimizer"):
        (path / name).write_bytes(str(step).encode() * 200_000)

while True:
    step += 1
    publish(folder, step, write, {"step": step})
    print(step, flush=True)
"""


def test_a_writer_killed_at_random_moments_always_leaves_one_that_verifies(tmp_path: Path) -> None:
    draw = random.Random(0)
    said = 0
    for _ in range(20):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        said = max(said, int(child.stdout.readline()))  # it has started, and one is published
        time.sleep(draw.uniform(0, 0.03))
        child.send_signal(signal.SIGKILL)
        said = max([said, *(int(line) for line in child.stdout.read().splitlines())])
        child.wait()
        child.stdout.close()
        found = newest(tmp_path)
        assert found is not None
        assert found.step >= said, "a checkpoint that was reported is lost"
        assert found.state == {"step": found.step}
        assert (found.path / "model").read_bytes() == str(found.step).encode() * 200_000
        assert found.skipped == ()
    publish(tmp_path, 10**6 - 1, write, {})
    assert [path.name for path in tmp_path.glob(".*")] == []
    assert json.loads((tmp_path / "step-999999" / MANIFEST).read_text())["step"] == 999_999
