"""The network, entered for a moment and never waited for: a probe, and downloads that are whole or absent."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

from zoo.errors import WeightsError
from zoo.records.files import published

PROBE_SECONDS = 3.0
"""How long a server may take to accept a connection and answer, once for each address and process."""
STALL_SECONDS = 30.0
"""How long a download may stand still."""


@functools.cache
def answers(url: str, method: Literal["GET", "HEAD"] = "HEAD") -> bool:
    """Whether a server accepts a connection and says something; asked once, since retries cost minutes."""
    parts = urlparse(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    proxy = _proxy(parts.scheme, host)
    try:
        with socket.create_connection(proxy or (host, port), timeout=PROBE_SECONDS) as connection:
            if proxy:  # it answers for every host; what lies behind it shows in the download
                return True
            connection.settimeout(PROBE_SECONDS)
            if parts.scheme == "https":
                import ssl

                with ssl.create_default_context().wrap_socket(connection, server_hostname=host) as secure:
                    return _speaks(secure, method, host, parts.path)
            return _speaks(connection, method, host, parts.path)
    except (OSError, ValueError):  # ValueError: no host name at all
        return False


def _speaks(connection: socket.socket, method: str, host: str, path: str) -> bool:
    connection.sendall(f"{method} {path or '/'} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    return bool(connection.recv(1))


def _proxy(scheme: str, host: str) -> tuple[str, int] | None:
    """The proxy that the environment sets for this host."""
    from urllib.request import getproxies, proxy_bypass

    given = urlparse(getproxies().get(scheme, ""))
    if not given.hostname or proxy_bypass(host):
        return None
    return given.hostname, given.port or 8080


def download(url: str, path: Path, *, sha256: str | None = None) -> Path:
    """Fetch one file; `path` holds all of it or nothing, however this ends.

    Args:
        url: http or https.
        path: where it goes.
        sha256: full digest or a leading part of it.

    Raises:
        WeightsError: not to be had, stalled, cut short, or other bytes than the digest says.
    """
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, build_opener

    digest, done = hashlib.sha256(), 0
    try:
        request = Request(url, headers={"User-Agent": "zoo"})
        # An opener of its own: the shared one keeps the proxies of its first use.
        with build_opener().open(request, timeout=STALL_SECONDS) as answer, published(path) as temporary:
            size = int(answer.headers.get("Content-Length") or 0)
            with temporary.open("wb") as file, _bar(path.name, size) as advance:
                while chunk := answer.read(1 << 18):
                    file.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    advance(len(chunk))
            if size and done != size:
                raise OSError(f"the connection ended after {done:,} of {size:,} bytes")
            if sha256 is not None and not digest.hexdigest().startswith(sha256):
                raise OSError(f"its sha256 begins with {digest.hexdigest()[:12]}, not {sha256[:12]}")
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()  # it is the server's answer too
        why = f"no byte came for {STALL_SECONDS:g} s" if isinstance(error, TimeoutError) else error
        raise WeightsError(f"{url} was not fetched: {why}", help=f"try again, or put it at {path} by hand") from error
    return path


@contextlib.contextmanager
def _bar(name: str, size: int) -> Iterator[Callable[[float], None]]:
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    quiet = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as progress:
        task = progress.add_task(name, total=size or None)
        yield lambda count: progress.advance(task, count)
