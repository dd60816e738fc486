"""Where weights come from: a file, a package, a URL or the model hub; never the network when offline."""

from __future__ import annotations

import functools
import importlib.resources
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlparse

from zoo.catalog.spec import WeightsSpec
from zoo.errors import WeightsError
from zoo.records.files import sha256_of

PROBE_SECONDS = 3.0
"""How long the model hub may take to accept a connection and answer, once for each process."""


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
        return path
    if kind == "package":
        package, _, inner = rest.partition("/")
        return _verified(Path(str(importlib.resources.files(package) / inner)), weights)
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
        raise _not_cached(repo, revision, str(error).strip().splitlines()[0]) from error


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
        raise _not_cached(repo, revision, str(error).strip().splitlines()[0]) from error


def _need_hub(repo: str, revision: str | None, *, offline: bool) -> None:
    if is_offline(offline):
        raise _not_cached(repo, revision, "zoo is offline")
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if not _answers(endpoint):
        raise _not_cached(repo, revision, f"{endpoint} did not answer within {PROBE_SECONDS:g} s")


@functools.cache
def _answers(endpoint: str) -> bool:
    """Whether a server accepts a connection and says something; asked once, since retries cost minutes."""
    url = urlparse(endpoint)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    try:
        with socket.create_connection((host, port), timeout=PROBE_SECONDS) as connection:
            connection.settimeout(PROBE_SECONDS)
            if url.scheme == "https":
                import ssl

                with ssl.create_default_context().wrap_socket(connection, server_hostname=host) as secure:
                    secure.sendall(_hello(host))
                    return bool(secure.recv(1))
            connection.sendall(_hello(host))
            return bool(connection.recv(1))
    except OSError:
        return False


def _hello(host: str) -> bytes:
    return f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


def _not_cached(repo: str, revision: str | None, why: str) -> WeightsError:
    from huggingface_hub.constants import HF_HUB_CACHE

    at = f" @ {revision}" if revision else ""
    flag = f" --revision {revision}" if revision else ""
    return WeightsError(
        f"{repo}{at} is not cached: {why}",
        details=[f"looked in {HF_HUB_CACHE}"],
        help=f"on a connected machine run  hf download {repo}{flag}  and copy the cache, set HF_ENDPOINT for a mirror, "
        "or try starter/glyph-cnn, which needs no network",
    )


def _from_url(weights: WeightsSpec, *, offline: bool) -> Path:
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(urlparse(weights.origin).path).name
    if path.is_file():
        if weights.sha256 is None or sha256_of(path).startswith(weights.sha256):
            return path
        # A partial download would fail for ever; a planted file must not be used.
        aside = path.with_suffix(path.suffix + ".damaged")
        path.replace(aside)
        wrong = f"{path} had other bytes than published and was moved to {aside.name}"
    else:
        wrong = f"{path.name} is not in {folder}"
    if is_offline(offline):
        raise WeightsError(
            f"{wrong}, and zoo is offline",
            help=f"fetch {weights.origin} on a connected machine and put it into {folder}",
        )
    parts = urlparse(weights.origin)
    if not _answers(f"{parts.scheme}://{parts.netloc}"):
        raise WeightsError(
            f"{wrong}, and {parts.netloc} did not answer within {PROBE_SECONDS:g} s",
            help=f"fetch {weights.origin} on a connected machine and put it into {folder}",
        )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(weights.origin, str(path), hash_prefix=weights.sha256, progress=True)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"{weights.origin} was not fetched: {error}", help="try again, or fetch it by hand"
        ) from error
    return path


def _verified(path: Path, weights: WeightsSpec) -> Path:
    if not path.is_file():
        raise WeightsError(f"there are no weights at {path}", help="re-install the package they come with")
    if weights.sha256 is not None and not sha256_of(path).startswith(weights.sha256):
        raise WeightsError(
            f"{path} has other bytes than its specification says (sha256 {weights.sha256[:12]}...)",
            help="remove it and fetch it again",
        )
    return path
