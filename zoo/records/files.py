"""Files that are whole or absent: written under another name, flushed, renamed."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo.errors import ZooError

FULL_BYTES = 1 << 20
"""A disk with less room than this is full: no file that zoo writes much of is smaller."""


GO_ON = "free some space and go on with --resume, or choose another folder with --out"


@contextlib.contextmanager
def published(path: Path, *, mend: str = GO_ON) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well; a file or a folder.

    Args:
        path: of the file or folder.
        mend: what to do when the disk is full.

    Raises:
        ZooError: the disk is full; what stood at `path` is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".tmp-{path.name}-{uuid.uuid4().hex[:8]}"
    try:
        yield temporary
        _flush(temporary)
        _put(temporary, path)
        _flush_folder(path.parent)
    except ZooError:
        _remove(temporary)
        raise
    except Exception as error:
        full = _is_full(error, path.parent)
        _remove(temporary)
        if full:
            raise ZooError(
                f"the disk of {path} is full; what was there before is kept",
                help=mend,
            ) from error
        raise
    except BaseException:
        _remove(temporary)
        raise


def _put(temporary: Path, path: Path) -> None:
    if not (path.is_dir() and temporary.is_dir()):
        temporary.replace(path)
        return
    # A folder takes no other's place; the old one stands aside until the new one is there.
    aside = temporary.with_name(f".old{temporary.name}")
    path.replace(aside)
    temporary.replace(path)
    shutil.rmtree(aside, ignore_errors=True)


def _is_full(error: Exception, folder: Path) -> bool:
    """Whether the disk was full; safetensors and torch.save raise errors of their own for it."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if "No space left on device" in str(error) or "Disk quota exceeded" in str(error):
        return True
    return isinstance(error, RuntimeError) and shutil.disk_usage(folder).free < FULL_BYTES


def write_json(path: Path, value: Any) -> None:
    """Plain JSON, published at once."""
    with published(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    for each in [*path.rglob("*"), path] if path.is_dir() else [path]:
        if each.is_dir():
            _flush_folder(each)
        elif each.is_file():
            # safetensors writes files that only their owner may read; a team shares its runs.
            each.chmod(0o666 & ~_umask())
            with each.open("rb") as file:
                os.fsync(file.fileno())


@functools.cache
def _umask() -> int:
    """Asked once, as it can only be asked by changing it for a moment."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _flush_folder(path: Path) -> None:
    with contextlib.suppress(OSError):  # not every system opens folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
