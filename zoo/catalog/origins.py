"""Whether the weights of an origin are on this machine, told from names of files alone."""

from __future__ import annotations

import os


def is_here(origin: str) -> bool:
    """Whether weights from there can be loaded without the network."""
    kind, _, rest = origin.partition(":")
    if kind in ("package", "file", "local"):
        return True
    if kind in ("https", "http"):
        name = rest.partition("#")[0].partition("?")[0].rpartition("/")[2]
        return os.path.isfile(f"{torch_home()}/hub/checkpoints/{name}")  # noqa: PTH113
    if kind == "hub":
        repo, _, file = rest.partition(":")
        # A folder with a configuration alone is left by whoever asked for no weights.
        return any(_holds(snapshot, file) for snapshot in _folders(f"{repo_folder(repo)}/snapshots"))
    return False


def repo_folder(repo: str) -> str:
    """Where the hub's cache keeps a repository."""
    return f"{hub_cache()}/models--{repo.replace('/', '--')}"


def torch_home() -> str:
    """torch's cache folder."""
    default = f"{os.path.expanduser(os.environ.get('XDG_CACHE_HOME', '~/.cache'))}/torch"  # noqa: PTH111
    return os.path.expanduser(os.environ.get("TORCH_HOME", default))  # noqa: PTH111


def hub_cache() -> str:
    """The cache folder of huggingface_hub."""
    home = os.path.expanduser(os.environ.get("HF_HOME", "~/.cache/huggingface"))  # noqa: PTH111
    return os.path.expanduser(os.environ.get("HF_HUB_CACHE", f"{home}/hub"))  # noqa: PTH111


def _folders(path: str) -> list[str]:
    try:
        return [f"{path}/{name}" for name in os.listdir(path)]  # noqa: PTH208
    except OSError:
        return []


def _holds(folder: str, file: str) -> bool:
    """Whether a snapshot holds this file, or any weights if none is named."""
    if file:
        return os.path.lexists(f"{folder}/{file}")
    endings = (".safetensors", ".bin", ".pt")
    try:
        return any(name.endswith(endings) for name in os.listdir(folder))  # noqa: PTH208
    except OSError:
        return False
