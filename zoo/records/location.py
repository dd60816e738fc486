"""The name of zoo's cache folder, found without importing anything that is slow to import."""

from __future__ import annotations

import os
import sys


def cache_path() -> str:
    """`ZOO_HOME`, or `zoo` in the user's cache folder; it may not exist."""
    given = os.environ.get("ZOO_HOME")
    if given:
        return os.path.expanduser(given)  # noqa: PTH111  (pathlib would take longer than all of this)
    if sys.platform == "linux":  # as platformdirs has it, which takes as long to import as the index to answer
        folder = os.environ.get("XDG_CACHE_HOME", "").strip() or os.path.expanduser("~/.cache")  # noqa: PTH111
        if folder.startswith("/"):
            return f"{folder}/zoo"
    import platformdirs

    return platformdirs.user_cache_dir("zoo")
