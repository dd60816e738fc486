"""Results by content: what was trained once on the same rows in the same way is not trained again."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.records.files import published
from zoo.records.home import cache_home


def read(key: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Arrays and plain values kept under `key`; None if there are none. A damaged entry is said and removed."""
    from safetensors import SafetensorError, safe_open

    path = _path(key)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
            return arrays, json.loads((file.metadata() or {})["plain"])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        warnings.warn(f"the kept result {path.name[:16]} is damaged ({error}); computing it anew", stacklevel=2)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None


def write(key: str, arrays: Mapping[str, Any], plain: Mapping[str, Any]) -> None:
    """Keep arrays and plain values; what cannot be written costs nothing but the next computation."""
    from safetensors.numpy import save_file

    path = _path(key)
    try:
        with published(path) as temporary:
            save_file(dict(arrays), temporary, metadata={"plain": json.dumps(plain)})
    except (OSError, ZooError) as error:
        why = error.what if isinstance(error, ZooError) else error
        warnings.warn(f"a result was not kept in {path.parent}: {why}", stacklevel=2)


def _path(key: str) -> Path:
    return cache_home() / "outcomes" / key[:2] / f"{key}.safetensors"
