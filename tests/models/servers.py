"""Servers on this machine that answer, break off, stay silent, or are not there."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import zoo

BODY = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(BODY).hexdigest()


class Server:
    """Answers on this machine; `asked` holds the methods and paths so far."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.send_response(200)
                self.end_headers()

            def do_GET(self) -> None:
                asked.append(self.path)
                with contextlib.suppress(OSError):
                    answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.asked = asked
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.stopping = threading.Event()  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def weights(self, sha256: str | None = DIGEST) -> zoo.WeightsSpec:
        return zoo.WeightsSpec("a", f"{self.url}/w.safetensors", sha256=sha256)


@contextlib.contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Server]:
    server = Server(answer)
    try:
        yield server
    finally:
        server.http.stopping.set()  # type: ignore[attr-defined]
        server.http.shutdown()
        server.http.server_close()


def whole(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(BODY)))
    request.end_headers()
    request.wfile.write(BODY)


def half_and_away(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(BODY)))
    request.end_headers()
    request.wfile.write(BODY[: len(BODY) // 2])


def half_and_silent(request: BaseHTTPRequestHandler) -> None:
    half_and_away(request)
    request.wfile.flush()
    silent(request)


def silent(request: BaseHTTPRequestHandler) -> None:
    request.server.stopping.wait(20)  # type: ignore[attr-defined]


def not_found(request: BaseHTTPRequestHandler) -> None:
    request.send_error(404)


@contextlib.contextmanager
def tarpit() -> Iterator[str]:
    """A server that accepts and never answers, as a broken proxy does."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def closed_port() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def files_under(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())
