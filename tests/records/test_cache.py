"""The feature cache: computed once, never trusted when damaged, never in the way when it cannot be written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zoo.records import cache, files, home


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setattr(cache, "cache_home", lambda: tmp_path)
    return tmp_path


KEY = cache.key_of(weights="a", rows=["1", "2"])
ARRAYS = {"pooled": np.arange(12, dtype=np.float32).reshape(3, 4), "rows": np.arange(3)}


def entry(folder: Path) -> Path:
    (found,) = (folder / "features").rglob("*.safetensors")
    return found


def test_what_was_written_is_read(own_home: Path) -> None:
    assert cache.read(KEY) is None
    cache.write(KEY, ARRAYS)
    found = cache.read(KEY)
    assert found is not None
    assert {name: array.tolist() for name, array in found.items()} == {n: a.tolist() for n, a in ARRAYS.items()}
    assert found["pooled"].dtype == np.float32


def test_a_key_says_everything_that_decides_the_features() -> None:
    keys = {cache.key_of(**parts) for parts in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": "1"}, {"a": [1]}, {"a": None})}
    assert len(keys) == 6
    assert cache.key_of(a=1, b=2) == cache.key_of(b=2, a=1)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def zero_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-16] + b"\x01" * 16)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def html(path: Path) -> None:
    path.write_text("<!DOCTYPE html>")


def undigested(path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(ARRAYS, path)


@pytest.mark.parametrize("harm", [truncate, zero_the_end, empty, html, undigested], ids=lambda f: f.__name__)
def test_a_damaged_entry_is_said_and_removed_and_made_again(own_home: Path, harm: Callable[[Path], None]) -> None:
    cache.write(KEY, ARRAYS)
    harm(entry(own_home))
    with pytest.warns(UserWarning, match="are damaged .*; computing them anew"):
        assert cache.read(KEY) is None
    assert cache.read(KEY) is None
    cache.write(KEY, ARRAYS)
    assert cache.read(KEY) is not None


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), OSError(errno.EROFS, "read-only file system")])
def test_a_cache_that_cannot_be_written_costs_one_warning(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def refuse(path: Path) -> None:
        raise error

    monkeypatch.setattr(files, "_flush", refuse)
    with pytest.warns(UserWarning, match="features were not cached in") as said:
        cache.write(KEY, ARRAYS)
    assert len(said) == 1
    assert cache.read(KEY) is None
    assert [p for p in own_home.rglob("*") if p.is_file()] == []


def test_a_folder_that_cannot_be_made_is_no_error(own_home: Path) -> None:
    (own_home / "features").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="features were not cached in"):
        cache.write(KEY, ARRAYS)
    said: list[str] = []
    with cache.lock(KEY, said.append):
        assert cache.read(KEY) is None
    assert said == []


MANY = """
import sys, warnings
import numpy as np
from zoo.records import cache

warnings.simplefilter("error")
me = int(sys.argv[1])
for round_ in range(50):
    key = cache.key_of(round=round_)
    cache.write(key, {"pooled": np.full((300, 64), me, dtype=np.float32), "rows": np.full(300, me)})
    found = cache.read(key)
    assert found is not None
    assert len(set(found["pooled"].flat) | set(found["rows"].flat)) == 1, "a mix of two writers"
print("fine")
"""


def test_four_processes_that_write_the_same_keys_at_once_never_read_a_mix(tmp_path: Path) -> None:
    """Each writes other values, so that a mix would show; every read is one writer's whole entry."""
    environ = {**os.environ, "ZOO_HOME": str(tmp_path)}
    children = [
        subprocess.Popen([sys.executable, "-c", MANY, str(me)], env=environ, stdout=subprocess.PIPE, text=True)
        for me in range(4)
    ]
    assert [child.communicate(timeout=120)[0].strip() for child in children] == ["fine"] * 4
    assert list((tmp_path / "features").rglob(".tmp-*")) == []


HOLD = """
import sys, time
from zoo.records import cache

with cache.lock(sys.argv[1], print):
    print("held", flush=True)
    time.sleep(60)
"""


def test_waiting_for_another_process_is_said_and_ends(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    monkeypatch.setattr(cache, "SAY_AFTER_SECONDS", 0.2)
    monkeypatch.setattr(cache, "WAIT_SECONDS", 0.2)
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, KEY],
        env={**os.environ, "ZOO_HOME": str(own_home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "held\n"
        said: list[str] = []
        with cache.lock(KEY, said.append):  # given up: the lock saves work, correctness does not need it
            cache.write(KEY, ARRAYS)
        assert said == ["waiting for another process that computes the same features"]
    finally:
        child.kill()
        child.communicate()
    with cache.lock(KEY, pytest.fail):  # a killed holder holds nothing
        assert cache.read(KEY) is not None


# --- the cache folder


def test_zoo_home_chooses_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "mine"))
    assert home.cache_home.__wrapped__() == tmp_path / "mine"
    assert (tmp_path / "mine").is_dir()


def test_a_home_that_cannot_be_used_costs_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match=r"the cache folder .* cannot be used \(Not a directory\).* Set ZOO_HOME"):
        found = home.cache_home.__wrapped__()
    assert found.is_dir()
    assert os.access(found, os.W_OK)


def test_a_cache_that_is_there_needs_no_warning(own_home: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.write(KEY, ARRAYS)
        cache.read(KEY)


def test_features_whose_entry_is_damaged_are_computed_again_and_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zoo

    backbone = zoo.load("starter/glyph-cnn")
    first = zoo.extract(backbone, "sklearn:digits", split="val")
    zero_the_end(entry(tmp_path))
    with pytest.warns(UserWarning, match="are damaged .*; computing them anew"):
        second = zoo.extract(backbone, "sklearn:digits", split="val")
    np.testing.assert_array_equal(first.features, second.features)
    assert not second.cached
    third = zoo.extract(backbone, "sklearn:digits", split="val")
    np.testing.assert_array_equal(first.features, third.features)
    assert third.cached
