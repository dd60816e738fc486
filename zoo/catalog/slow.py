"""Plugins that hung: remembered for a day, so that not every command waits for them again."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.records.files import published
from zoo.records.home import cache_home

REMEMBERED = 24 * 3600.0
"""Seconds after which a plugin gets its whole time again."""


@dataclass(frozen=True)
class Memory:
    """Whether one plugin, as it is now, hung before."""

    who: str
    """Its distribution and version."""
    value: str
    """The module that its entry point names."""

    def hung_before(self) -> bool:
        """Whether it did, not long ago, and has not been edited since."""
        found = _read().get(self._key)
        if not isinstance(found, dict) or found.get("changed") != _changed(self.value):
            return False
        return bool(0 <= time.time() - found.get("when", 0.0) < REMEMBERED)

    def remember(self) -> None:
        """It hung; a cache that cannot be written is no reason to stop."""
        _write({**_read(), self._key: {"when": time.time(), "changed": _changed(self.value)}})

    def forget(self) -> None:
        """It came back."""
        kept = _read()
        if kept.pop(self._key, None) is not None:
            _write(kept)

    @property
    def _key(self) -> str:
        return f"{self.who}: {self.value}"


def _changed(value: str) -> float | None:
    """When the newest file of its top package changed, found without importing it: an edit gives it a new chance."""
    try:
        spec = importlib.util.find_spec(value.partition(":")[0].partition(".")[0])
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin)
    files = origin.parent.rglob("*.py") if spec.submodule_search_locations else [origin]
    with contextlib.suppress(OSError):
        return max((file.stat().st_mtime for file in files), default=None)
    return None


def _file() -> Path:
    return cache_home() / "slow-plugins.json"


def _read() -> dict[str, Any]:
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(value: dict[str, Any]) -> None:
    with contextlib.suppress(OSError, ZooError), published(_file()) as path:
        path.write_text(json.dumps(value), encoding="utf-8")
