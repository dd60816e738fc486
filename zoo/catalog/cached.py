"""What the caches of this machine hold, without torch or the network: which weights, and at which commit."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from urllib.parse import urlparse

from zoo.catalog.spec import WeightsSpec


def is_cached(weights: WeightsSpec) -> bool:
    """Whether these weights can be loaded without the network."""
    kind, _, rest = weights.origin.partition(":")
    if kind in ("package", "file", "local"):
        return True
    if kind in ("https", "http"):
        return (_torch_home() / "hub" / "checkpoints" / Path(urlparse(weights.origin).path).name).is_file()
    if kind == "hub":
        repo, _, file = rest.partition(":")
        snapshots = _repo_folder(repo) / "snapshots"
        # A folder with a configuration alone is left by whoever asked for no weights.
        names = [file] if file else ["*.safetensors", "*.bin", "*.pt"]
        return any(True for name in names for _ in snapshots.glob(f"*/{name}"))
    return False


def pinned(weights: WeightsSpec) -> WeightsSpec:
    """These weights with the commit that their branch or tag means in the cache: a branch moves, a run does not."""
    kind, _, rest = weights.origin.partition(":")
    if kind != "hub":
        return weights
    reference = _repo_folder(rest.partition(":")[0]) / "refs" / (weights.revision or "main")
    try:
        commit = reference.read_text(encoding="ascii").strip()
    except (OSError, ValueError):  # a commit already, or not in the cache
        return weights
    return dataclasses.replace(weights, revision=commit) if commit else weights


def _repo_folder(repo: str) -> Path:
    return _hub_cache() / f"models--{repo.replace('/', '--')}"


def _torch_home() -> Path:
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "torch"
    return Path(os.environ.get("TORCH_HOME", default)).expanduser()


def _hub_cache() -> Path:
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
