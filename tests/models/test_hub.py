"""A hub or web server that is not there, offline, and what is written down of where weights came from."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import (
    DIGEST,
    closed_port,
    serving,
    silent,
    tarpit,
)

import zoo

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cli"))

from program import zoo as program

pytestmark = pytest.mark.usefixtures("own_caches")

ADAPTERS = [
    "transformers/nobody/never-cached",
    "timm/resnet18.a1_in1k",
    "open_clip/ViT-B-32.laion2b_s34b_b79k",
    "torchvision/squeezenet1_1",
]


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


def test_the_program_says_so_in_one_error_with_its_exit_code(
    tmp_path: Path, socket_enabled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = closed_port()
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    done = program("extract", "transformers/nobody/never-cached", "builtin:docstrings", "-o", tmp_path / "f.npy")
    assert done.code == 4
    assert f"error[weights]: nobody/never-cached is not cached: {endpoint} did not answer" in done.err
    assert done.err.count("error[") == 1
    assert "Traceback" not in done.err


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


def test_the_error_names_the_revision_that_is_wanted(attempts: list[str]) -> None:
    with pytest.raises(zoo.WeightsError, match="nobody/none @ v1 is not cached: zoo is offline") as caught:
        zoo.hub_folder("nobody/none", revision="v1", offline=True)
    assert "hf download nobody/none --revision v1" in (caught.value.help or "")


# --- what was loaded is written down


def test_a_branch_of_the_hub_is_pinned_to_the_commit_that_was_loaded(
    tmp_path: Path, minilm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--someone--sentences"
    for folder in ("refs", "snapshots"):
        (repo / folder).mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "snapshots" / commit).symlink_to(minilm)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))  # read from it at import
    weights = zoo.load("transformers/someone/sentences", offline=True).weights
    assert weights is not None
    assert weights.revision == commit


def test_a_run_says_which_weights_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = zoo.finetune(
        "starter/glyph-cnn", "sklearn:digits", strategy="linear-probe", baseline="none", read=zoo.ReadOptions(limit=100)
    )
    written = json.loads((Path(run.path) / "model" / "config.json").read_text())
    began = zoo.default_catalog().backbones["starter/glyph-cnn"].weights[0]
    (part,) = written["parts"]
    assert (part["weights"]["origin"], part["weights"]["sha256"]) == (began.origin, began.sha256)
