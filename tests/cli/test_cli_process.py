"""What only a real process shows: streams, signals, terminals, and what a command imports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from forked import Forked
from program import Zoo

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX")

ZOO = [sys.executable, "-m", "zoo"]


def run(*words: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*ZOO, *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_reader_that_has_enough_ends_a_listing_quietly(tmp_path: Path) -> None:
    line = f"set -o pipefail; {sys.executable} -m zoo list | head -1"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("backbone ")
    assert not [each for each in done.stderr.splitlines() if "rows:" not in each]
    assert done.returncode == 0


def test_a_run_goes_on_when_nobody_reads_its_progress(tmp_path: Path) -> None:
    words = "finetune starter/glyph-cnn sklearn:digits --limit 30 --strategy linear-probe --baseline none --name r"
    line = f"{sys.executable} -m zoo {words} 2>&1 >/dev/null | head -1"
    subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, timeout=120, check=True)
    shown = run("runs", "show", "r", cwd=tmp_path)
    assert re.search(r"^status +done$", shown.stdout, re.MULTILINE)


@pytest.mark.parametrize("words", [("--debug", "info", "nowhere"), ("info", "nowhere", "--debug")])
def test_debug_shows_where_an_error_arose_wherever_it_stands(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run(*words, cwd=tmp_path)
    assert "Traceback" in done.stderr
    assert "UnknownNameError: No backbone is named 'nowhere'" in done.stderr
    assert not done.stdout
    assert "Traceback" in run("info", "nowhere", cwd=tmp_path, ZOO_DEBUG="1").stderr


@pytest.mark.parametrize(
    "words",
    [("--help",), ("list", "--json"), ("info", "starter/gru"), ("plan", "starter/gru"), ("plugins",), ("runs",)],
    ids=lambda words: words[0],
)
def test_commands_that_only_look_import_no_torch(tmp_path: Path, words: tuple[str, ...]) -> None:
    code = (
        "import sys; from zoo.cli import main\n"
        f"sys.argv = ['zoo', *{words!r}]\n"
        "try: main.run()\n"
        "finally: print(sorted({'torch', 'torchvision', 'transformers', 'timm', 'open_clip', 'numpy', 'rich'} "
        "& set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"


def test_plugins_can_be_left_out(tmp_path: Path) -> None:
    assert "no backbone" in run("list", "--no-plugins", cwd=tmp_path).stderr
    assert run("list", "--json", cwd=tmp_path, ZOO_PLUGINS="starter").stdout.count('"source": "starter"') == 6
    disabled = run("info", "glyph-cnn", cwd=tmp_path, ZOO_DISABLE="starter")
    assert disabled.returncode == 2
    assert "error[usage]: No backbone is named 'glyph-cnn'" in disabled.stderr


@pytest.mark.xdist_group("forked")
def test_a_run_that_is_asked_to_end_says_how_to_go_on(tmp_path: Path) -> None:
    """By SIGTERM; tests/verbs/test_resume.py does it by Ctrl-C, and goes on."""
    words = "finetune starter/glyph-cnn sklearn:digits --strategy full --epochs 3000 --early-stop 3000 --baseline none"
    more = ["--limit", "40", "--val", "0.05", "--name", "r"]
    process = Forked([*words.split(), *more], cwd=tmp_path, env=dict(os.environ))
    while process.poll() is None and "\nepoch 1 " not in process.said():  # once it trains
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 143, rest
    assert "stopping after this step" in rest
    assert "error[interrupted]: stopped at step " in rest
    assert "help: go on with  zoo finetune --resume runs/r" in rest
    assert "Traceback" not in rest
    assert run("runs", cwd=tmp_path).stdout.splitlines()[1].split()[1] == "interrupted"


def terminal(*words: str, cwd: Path, program: Sequence[str] = ZOO) -> str:
    """What a terminal of 80 columns is sent."""
    import fcntl
    import pty
    import struct
    import termios

    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "COLUMNS", "TERM")}
    process = subprocess.Popen([*program, *words], cwd=cwd, env={**plain, "TERM": "xterm"}, stdout=child, stderr=child)
    os.close(child)
    found, end = b"", time.monotonic() + 120
    while time.monotonic() < end:
        try:
            piece = os.read(parent, 65_536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        found += piece
    os.close(parent)
    assert process.wait(timeout=10) == 0, found.decode()
    return found.decode()


def test_nothing_wraps_on_a_terminal_of_80_columns(tmp_path: Path) -> None:
    for words in ("list resnet", "list datasets", "info open_clip/ViT-B-32", "plugins", "plan torchvision/resnet18"):
        text = re.sub(r"\x1b\[\d*m", "", terminal(*words.split(), cwd=tmp_path))
        assert "\x1b" not in text
        lines = [line.rstrip("\r") for line in text.split("\n")]
        # The note of `plugins` and the counts of `list` go to standard error, as sentences.
        assert max(len(line) for line in lines if "rows:" not in line) <= 80, words


TWICE = """
import os
from zoo.cli import main

for setting in ({}, {"NO_COLOR": "1"}):
    os.environ.update(setting)
    try:
        main.run()
    except SystemExit as ended:
        assert not ended.code
    print("the end", flush=True)
"""


def test_bars_are_for_terminals_and_only_where_they_are_wanted(zoo: Zoo, tmp_path: Path) -> None:
    words = "finetune starter/glyph-cnn sklearn:digits --limit 40 --val 0.05 --baseline none --strategy".split()
    shown = terminal(*words, "linear-probe", cwd=tmp_path, program=[sys.executable, "-c", TWICE])
    wanted, unwanted, _ = shown.split("the end")
    assert "\x1b[" in wanted
    assert "saved " in unwanted
    assert "\x1b" not in unwanted
    piped = zoo(*words, "full", "--epochs", 2)
    for text in (piped.out, piped.err):
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)
    assert [line.split()[:2] for line in piped.err.splitlines() if line.startswith("epoch")] == [
        ["epoch", "1"],
        ["epoch", "2"],
    ]
    assert piped.out.startswith("saved     runs/")
