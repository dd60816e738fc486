"""Features by content: the same weights, preprocessing and rows are computed once."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.spec import fingerprint
from zoo.errors import ZooError
from zoo.records.files import published
from zoo.records.home import cache_home

FORMAT = 3
WAIT_SECONDS = 600.0
SAY_AFTER_SECONDS = 5.0

Arrays = dict[str, NDArray[Any]]


def key_of(**parts: Any) -> str:
    """sha256 over everything that decides the features."""
    return fingerprint({"format": FORMAT, **parts})


def read(key: str) -> Arrays | None:
    """The arrays stored under `key`; None if there are none. A damaged entry is said and removed."""
    from safetensors import SafetensorError, safe_open

    path = _path(key)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
            digest = (file.metadata() or {}).get("sha256")
        if _digest(arrays) != digest:
            raise ValueError("its bytes have changed")
    except (SafetensorError, ValueError, OSError) as error:
        warnings.warn(f"the cached features {path.name[:16]} are damaged ({error}); computing them anew", stacklevel=2)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    return arrays


def has(key: str) -> bool:
    """Whether there is something under `key`, damaged or not."""
    return _path(key).is_file()


def write(key: str, arrays: Arrays) -> None:
    """Store arrays; a cache that cannot be written costs nothing but the next computation."""
    from safetensors.numpy import save_file

    path = _path(key)
    try:
        with published(path) as temporary:
            # In the same file, so that no reader meets the digest of one writer and the arrays of another.
            save_file(arrays, temporary, metadata={"sha256": _digest(arrays)})
    except (OSError, ZooError) as error:
        why = error.what if isinstance(error, ZooError) else error
        warnings.warn(f"features were not cached in {path.parent}: {why}", stacklevel=2)


@contextlib.contextmanager
def lock(key: str, say: Callable[[str], None]) -> Iterator[None]:
    """Keep other processes from computing the same; never needed for correctness, so it gives up in the end."""
    from filelock import FileLock, Timeout

    path = _path(key).with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(path)
        try:
            held.acquire(timeout=SAY_AFTER_SECONDS)
        except Timeout:
            say("waiting for another process that computes the same features")
            with contextlib.suppress(Timeout):
                held.acquire(timeout=WAIT_SECONDS)
    except OSError:  # a read-only cache
        yield
        return
    try:
        yield
    finally:
        if held.is_locked:
            held.release()


def _path(key: str) -> Path:
    return cache_home() / "features" / key[:2] / f"{key}.safetensors"


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + str(arrays[name].shape).encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
