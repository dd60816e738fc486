"""Where weights come from: whole or absent, verified, never waited for, and no socket is opened offline."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from servers import (
    BODY,
    DIGEST,
    files_under,
    half_and_away,
    half_and_silent,
    not_found,
    serving,
    whole,
)

import zoo
from zoo.models import fetching, network

pytestmark = pytest.mark.usefixtures("own_caches")


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
