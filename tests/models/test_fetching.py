"""Where weights come from: whole or absent, verified, never waited for, and no socket is opened offline."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import zoo
from zoo.models import fetching, network

BODY = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(BODY).hexdigest()
ADAPTERS = [
    "transformers/nobody/never-cached",
    "timm/resnet18.a1_in1k",
    "open_clip/ViT-B-32.laion2b_s34b_b79k",
    "torchvision/squeezenet1_1",
]


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache and no setting of this machine decides a test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    network.answers.cache_clear()


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


# --- downloads


def test_a_download_is_whole_and_is_made_once(tmp_path: Path, socket_enabled: None) -> None:
    with serving(whole) as server:
        path = zoo.fetch(server.weights())
        assert path == tmp_path / "torch" / "hub" / "checkpoints" / "w.safetensors"
        assert path.read_bytes() == BODY
        assert zoo.fetch(server.weights()) == path
        assert zoo.fetch(server.weights(), offline=True) == path
        assert server.asked == ["/w.safetensors"]
    assert files_under(tmp_path) == ["w.safetensors"]


@pytest.mark.parametrize(
    ("answer", "sha256", "said"),
    [
        pytest.param(whole, "0" * 64, "its sha256 begins with", id="other-bytes"),
        pytest.param(half_and_away, DIGEST, "the connection ended after 524,288 of 1,048,576 bytes", id="cut"),
        pytest.param(half_and_away, None, "the connection ended after 524,288 of 1,048,576 bytes", id="cut-no-sha"),
        pytest.param(half_and_silent, DIGEST, "no byte came for 0.3 s", id="stalled"),
        pytest.param(not_found, DIGEST, "HTTP Error 404", id="not-found"),
    ],
)
def test_a_download_that_fails_is_one_clear_error_and_leaves_nothing(
    tmp_path: Path,
    socket_enabled: None,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[BaseHTTPRequestHandler], None],
    sha256: str | None,
    said: str,
) -> None:
    monkeypatch.setattr(network, "STALL_SECONDS", 0.3)
    with serving(answer) as server, pytest.raises(zoo.WeightsError, match=f"was not fetched: .*{said}") as caught:
        zoo.fetch(server.weights(sha256))
    assert str(tmp_path / "torch") in (caught.value.help or "")
    assert files_under(tmp_path) == []


def test_a_download_that_is_killed_leaves_no_half_file(tmp_path: Path, socket_enabled: None) -> None:
    with serving(half_and_silent) as server:
        code = f"import zoo; zoo.fetch(zoo.WeightsSpec('a', '{server.url}/w.safetensors'))"
        child = subprocess.Popen([sys.executable, "-c", code], env=os.environ)
        begun = [""]
        for _ in range(600):  # until the first half is on the disk
            begun = [str(p) for p in (tmp_path / "torch").rglob(".tmp-*") if p.stat().st_size > 0]
            if begun or child.poll() is not None:
                break
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        child.wait()
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    assert begun
    assert not (checkpoints / "w.safetensors").exists()
    with serving(whole) as server:
        assert zoo.fetch(server.weights()).read_bytes() == BODY


def test_a_damaged_file_in_the_cache_is_set_aside_and_fetched_again_once(tmp_path: Path, socket_enabled: None) -> None:
    cached = tmp_path / "torch" / "hub" / "checkpoints" / "w.safetensors"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(BODY[:1000])
    with serving(whole) as server:
        assert zoo.fetch(server.weights()).read_bytes() == BODY
        assert server.asked == ["/w.safetensors"]
    assert files_under(tmp_path) == ["w.safetensors", "w.safetensors.damaged"]


def test_a_cache_that_cannot_be_written_is_read_and_zoos_own_takes_the_rest(
    tmp_path: Path, socket_enabled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "cache_home", lambda: tmp_path / "zoo")
    (tmp_path / "torch").write_text("a file where the folder should be")
    with serving(whole) as server:
        path = zoo.fetch(server.weights())
        assert path == tmp_path / "zoo" / "checkpoints" / "w.safetensors"
        assert zoo.fetch(server.weights(), offline=True) == path


def test_a_download_goes_through_the_proxy_of_the_environment(
    socket_enabled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(whole) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        path = zoo.fetch(zoo.WeightsSpec("a", "http://weights.example/w.safetensors", sha256=DIGEST))
        assert path.read_bytes() == BODY
        assert proxy.asked == ["http://weights.example/w.safetensors"]


# --- a hub that is not there

SOON = 15
"""Seconds: a wait of 3 and room for a busy machine; what is tested against takes from 24 seconds to for ever."""


def refused(name: str) -> tuple[str, float]:
    """The error of a name that cannot be loaded, and how long it took."""
    import timm  # noqa: F401  (imports are not what is timed)
    import torchvision  # noqa: F401
    import transformers  # noqa: F401

    begun = time.monotonic()
    with pytest.raises(zoo.WeightsError, match="did not answer within 3 s") as caught:
        zoo.load(name)
    assert caught.value.exit_code == 4
    assert caught.value.help
    return str(caught.value), time.monotonic() - begun


@pytest.mark.parametrize("name", ADAPTERS[:3])
def test_a_hub_at_a_closed_port_is_one_clear_error_at_once(
    name: str, socket_enabled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = closed_port()
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    said, seconds = refused(name)
    assert f"is not cached: {endpoint} did not answer" in said
    assert "looked in " in said
    assert "hf download " in said
    assert seconds < SOON


@pytest.mark.parametrize("name", ADAPTERS[:3])
def test_a_hub_that_accepts_and_never_answers_is_one_clear_error_in_seconds(
    name: str, socket_enabled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarpit() as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        said, seconds = refused(name)
    assert f"is not cached: {endpoint} did not answer" in said
    assert seconds < SOON


@pytest.mark.parametrize("server", ["closed", "tarpit"])
def test_a_web_server_that_does_not_answer_is_one_clear_error_in_seconds(
    server: str, socket_enabled: None, tmp_path: Path
) -> None:
    with tarpit() if server == "tarpit" else contextlib.nullcontext(closed_port()) as url:
        begun = time.monotonic()
        with pytest.raises(zoo.WeightsError, match=r"and 127\.0\.0\.1:\d+ did not answer within 3 s") as caught:
            zoo.fetch(zoo.WeightsSpec("a", f"{url}/w.pth"))
        assert time.monotonic() - begun < SOON
    assert f"w.pth is not in {tmp_path / 'torch'}" in caught.value.what
    assert f"fetch {url}/w.pth on a connected machine" in (caught.value.help or "")


def test_an_address_that_does_not_answer_is_waited_for_once(
    socket_enabled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarpit() as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        refused("transformers/nobody/never-cached")
        assert refused("transformers/nobody/never-cached")[1] < 2.5  # less than one wait


def test_a_hub_that_answers_all_but_the_question_is_given_up(
    socket_enabled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own client would wait for ever."""
    with serving(silent) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        said, seconds = refused("transformers/nobody/never-cached")
    assert f"{server.url} did not answer" in said
    assert seconds < SOON


def test_the_program_says_so_in_one_error_with_its_exit_code(tmp_path: Path, socket_enabled: None) -> None:
    words = ["extract", "transformers/nobody/never-cached", "builtin:docstrings", "-o", str(tmp_path / "f.npy")]
    endpoint = closed_port()
    done = subprocess.run(
        [sys.executable, "-m", "zoo", *words],
        env={**os.environ, "HF_ENDPOINT": endpoint},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 4
    assert f"error[weights]: nobody/never-cached is not cached: {endpoint} did not answer" in done.stderr
    assert done.stderr.count("error[") == 1
    assert "Traceback" not in done.stderr


# --- offline


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What tried to reach the network; every attempt fails."""
    found: list[str] = []

    def refuse(what: str) -> Callable[..., None]:
        def attempt(*_: object, **__: object) -> None:
            found.append(what)
            raise OSError("the network is out of bounds")

        return attempt

    for name in ("socket", "create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse(name))
    return found


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("how", ["offline=True", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_no_adapter_opens_a_socket(
    name: str, how: str, attempts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if how != "offline=True":
        monkeypatch.setenv(how, "1")
    with pytest.raises(zoo.WeightsError, match="zoo is offline") as caught:
        zoo.load(name, offline=how == "offline=True")
    assert caught.value.exit_code == 4
    assert re.search("hf download|on a connected machine", caught.value.help or "")
    assert attempts == []


def test_offline_a_damaged_file_in_the_cache_is_said(tmp_path: Path, attempts: list[str]) -> None:
    cached = tmp_path / "torch" / "hub" / "checkpoints" / "w.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"half")
    with pytest.raises(zoo.WeightsError, match=r"has other bytes than published; it was moved to w\.pth\.damaged, and"):
        zoo.fetch(zoo.WeightsSpec("a", "https://weights.example/w.pth", sha256=DIGEST), offline=True)
    assert attempts == []


@pytest.mark.parametrize("name", ADAPTERS)
def test_random_weights_need_no_network(name: str, attempts: list[str]) -> None:
    if name.startswith("transformers"):
        with pytest.raises(zoo.WeightsError, match="zoo is offline"):  # not even its configuration is here
            zoo.load(f"{name}@random", offline=True)
    elif name.startswith("open_clip"):
        assert zoo.load("open_clip/RN50:image@random", offline=True).weights is None
    else:
        assert zoo.load(f"{name.partition('.')[0]}@random", offline=True).weights is None
    assert attempts == []


# --- origins


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        ("ftp://host/w.pth", "zoo cannot fetch 'ftp://host/w.pth'"),
        ("w.pth", r"zoo cannot fetch 'w\.pth'"),
        ("file:/no/such/w.pth", r"there are no weights at /no/such/w\.pth"),
        ("package:zoo_starter/no-such.safetensors", r"there are no weights at .*no-such\.safetensors"),
        ("package:no_such_package/w.safetensors", "the package no_such_package is not installed"),
    ],
)
def test_an_origin_that_leads_nowhere_is_one_clear_error(origin: str, said: str) -> None:
    with pytest.raises(zoo.WeightsError, match=said):
        zoo.fetch(zoo.WeightsSpec("a", origin))


def test_the_error_names_the_revision_that_is_wanted(attempts: list[str]) -> None:
    with pytest.raises(zoo.WeightsError, match="nobody/none @ v1 is not cached: zoo is offline") as caught:
        zoo.hub_folder("nobody/none", revision="v1", offline=True)
    assert "hf download nobody/none --revision v1" in (caught.value.help or "")


# --- what was loaded is written down


def test_a_branch_of_the_hub_is_pinned_to_the_commit_that_was_loaded(tmp_path: Path, minilm: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--someone--sentences"
    for folder in ("refs", "snapshots"):
        (repo / folder).mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "snapshots" / commit).symlink_to(minilm)
    code = "import zoo; print(zoo.load('transformers/someone/sentences', offline=True).weights.revision)"
    environ = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub")}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == commit, done.stderr


def test_a_run_says_which_weights_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = zoo.finetune(
        "starter/glyph-cnn", "sklearn:digits", strategy="linear-probe", baseline="none", read=zoo.ReadOptions(limit=100)
    )
    written = json.loads((Path(run.path) / "model" / "config.json").read_text())
    began = zoo.default_catalog().backbones["starter/glyph-cnn"].weights[0]
    (part,) = written["parts"]
    assert (part["weights"]["origin"], part["weights"]["sha256"]) == (began.origin, began.sha256)
