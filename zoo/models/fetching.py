"""Where weights come from: a file, a package, a URL or the model hub; never the network when offline."""

from __future__ import annotations

import contextlib
import importlib.resources
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlparse

from zoo.catalog.spec import WeightsSpec
from zoo.errors import NotCachedError, WeightsError
from zoo.models.network import PROBE_SECONDS, answers, download
from zoo.records.files import sha256_of
from zoo.records.home import cache_home


def fetch(weights: WeightsSpec, *, offline: bool = False) -> Path:
    """The local file or folder of these weights, downloaded where that is allowed and needed.

    Raises:
        WeightsError: not here and not to be had, or other bytes than the specification says.
    """
    kind, _, rest = weights.origin.partition(":")
    if kind == "file":
        path = Path(rest)
        if not path.exists():
            raise WeightsError(f"there are no weights at {path}", help="check the path")
        return _verified(path, weights) if path.is_file() else path
    if kind == "package":
        package, _, inner = rest.partition("/")
        try:
            root = importlib.resources.files(package)
        except ModuleNotFoundError as error:
            raise WeightsError(
                f"the package {package} is not installed", help=f"install it: {weights.origin}"
            ) from error
        return _verified(Path(str(root / inner)), weights)
    if kind in ("https", "http"):
        return _from_url(weights, offline=offline)
    if kind == "hub":
        repo, _, file = rest.partition(":")
        if file:
            return _verified(_hub_file(repo, file, weights.revision, offline=offline), weights)
        return hub_folder(repo, revision=weights.revision, offline=offline)
    raise WeightsError(f"zoo cannot fetch '{weights.origin}'", help="origins are hub:, https:, file: and package:")


def hub_folder(
    repo: str,
    *,
    revision: str | None = None,
    patterns: Sequence[str] | None = None,
    needed: Sequence[str] = (),
    offline: bool = False,
) -> Path:
    """The local folder of a hub repository.

    Args:
        repo: `owner/name`.
        revision: a commit, branch or tag.
        patterns: files to fetch, all if None.
        needed: a cached folder without a file of one of these patterns is not complete, and is fetched.
        offline: never touch the network.

    Raises:
        WeightsError: not cached, and the hub is not to be reached or has no such repository.
    """
    import huggingface_hub as hub

    allowed = list(patterns) if patterns else None
    try:
        found = Path(hub.snapshot_download(repo, revision=revision, allow_patterns=allowed, local_files_only=True))
    except Exception:  # noqa: BLE001  (whatever the cache lacks, the hub may have)
        found = None
    if found is not None and any(True for pattern in needed or ("*",) for _ in found.glob(pattern)):
        return found
    _need_hub(repo, revision, offline=offline)
    try:
        return Path(hub.snapshot_download(repo, revision=revision, allow_patterns=allowed, etag_timeout=5))
    except Exception as error:
        raise _not_cached(repo, revision, _first_line(error)) from error


def is_offline(offline: bool = False) -> bool:
    """Whether the network is out of bounds, by option or by HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE."""
    truthy = {"1", "true", "yes", "on"}
    return offline or any(os.environ.get(n, "").lower() in truthy for n in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def _hub_file(repo: str, file: str, revision: str | None, *, offline: bool) -> Path:
    import huggingface_hub as hub

    cached = hub.try_to_load_from_cache(repo, file, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    _need_hub(repo, revision, offline=offline)
    try:
        return Path(hub.hf_hub_download(repo, file, revision=revision, etag_timeout=5))
    except Exception as error:
        raise _not_cached(repo, revision, _first_line(error)) from error


def _need_hub(repo: str, revision: str | None, *, offline: bool) -> None:
    if is_offline(offline):
        raise _not_cached(repo, revision, "zoo is offline")
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    # The very request that the hub's client makes first, and waits for without end.
    if not answers(f"{endpoint.rstrip('/')}/api/models/{repo}", "GET"):
        raise _not_cached(repo, revision, f"{endpoint} did not answer within {PROBE_SECONDS:g} s")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _not_cached(repo: str, revision: str | None, why: str) -> NotCachedError:
    from huggingface_hub.constants import HF_HUB_CACHE

    at = f" @ {revision}" if revision else ""
    flag = f" --revision {revision}" if revision else ""
    return NotCachedError(
        f"{repo}{at} is not cached: {why}",
        details=[f"looked in {HF_HUB_CACHE}"],
        help=f"on a connected machine run  hf download {repo}{flag}  and copy the cache, set HF_ENDPOINT for a mirror, "
        "or try starter/glyph-cnn, which needs no network",
    )


def _from_url(weights: WeightsSpec, *, offline: bool) -> Path:
    import torch

    name = Path(urlparse(weights.origin).path).name
    # torch's own cache; where that cannot be written, zoo's.
    folders = (Path(torch.hub.get_dir()) / "checkpoints", cache_home() / "checkpoints")
    wrong = f"{name} is not in {folders[0]}"
    for folder in folders:
        path = folder / name
        if not path.is_file():
            continue
        if weights.sha256 is None or sha256_of(path).startswith(weights.sha256):
            return path
        wrong = f"{path} has other bytes than published; {_set_aside(path)}"
    help_ = f"fetch {weights.origin} on a connected machine and put it into {folders[0]}"
    if is_offline(offline):
        raise WeightsError(f"{wrong}, and zoo is offline", help=help_)
    if not answers(weights.origin):
        where = urlparse(weights.origin).netloc
        raise WeightsError(f"{wrong}, and {where} did not answer within {PROBE_SECONDS:g} s", help=help_)
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                break
    return download(weights.origin, folder / name, sha256=weights.sha256)


def _set_aside(path: Path) -> str:
    """A partial download would fail for ever, and a planted file must not be used."""
    aside = path.with_suffix(path.suffix + ".damaged")
    try:
        path.replace(aside)
    except OSError:  # a read-only cache
        return "it is not used"
    return f"it was moved to {aside.name}"


def _verified(path: Path, weights: WeightsSpec) -> Path:
    if not path.is_file():
        raise WeightsError(f"there are no weights at {path}", help="re-install the package they come with")
    if weights.sha256 is not None and not sha256_of(path).startswith(weights.sha256):
        raise WeightsError(
            f"{path} has other bytes than its specification says (sha256 {weights.sha256[:12]}...)",
            help="remove it and fetch it again",
        )
    return path
