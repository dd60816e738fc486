"""Where zoo keeps what it can make again: the user's cache folder, or `ZOO_HOME`."""

from __future__ import annotations

import functools
import os
import tempfile
import warnings
from pathlib import Path

from zoo.records.location import cache_path


@functools.cache
def cache_home() -> Path:
    """The cache folder, made if it is missing; a temporary one, with one warning, where it cannot be written."""
    home = Path(cache_path()).expanduser()
    try:
        home.mkdir(parents=True, exist_ok=True)
        if os.access(home, os.W_OK):
            return home
        reason = "it is not writable"
    except OSError as error:
        reason = error.strerror or str(error)
    fallback = Path(tempfile.mkdtemp(prefix="zoo-cache-"))
    warnings.warn(
        f"the cache folder {home} cannot be used ({reason}); {fallback} serves for now. Set ZOO_HOME to choose one",
        stacklevel=2,
    )
    return fallback
