"""Commands of zoo in two processes, several of them in one launch: most of what a launch takes is to import torch."""

from __future__ import annotations

import contextlib
import json
import os
import random
import runpy
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ACCELERATE = (
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
)


@dataclass(frozen=True)
class Done:
    """A command as it ended."""

    code: int
    stdout: str
    """Of the first process."""
    stderr: str


@dataclass(frozen=True)
class Launch:
    """Commands that ended, and what the launcher itself said."""

    done: tuple[Done, ...]
    said: str


@dataclass(frozen=True)
class Runs:
    """What one process did, and what two did in the same folder."""

    folder: Path
    launch: Launch

    def __getitem__(self, name: str) -> Path:
        return self.folder / "runs" / name

    def done(self, number: int) -> str:
        """What a command said that went well."""
        done = self.launch.done[number]
        assert done.code == 0, done.stderr
        return done.stderr


def launch(launcher: tuple[str, ...], *commands: str, folder: Path) -> Launch:
    """Carry out commands one after another in the same two processes; the last may fail.

    Args:
        launcher: TORCHRUN or ACCELERATE.
        commands: words of `zoo`, or the path of a script.
        folder: to work in.
    """
    (folder / "commands.json").write_text(json.dumps(commands), encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ZOO_HOME": str(folder / "home")}
    ended = subprocess.run(
        [*launcher, __file__],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    found = []
    for number in range(len(commands)):
        out, err, code = (folder / f"{number}.{kind}" for kind in ("out", "err", "code"))
        assert err.exists(), ended.stderr
        status = int(code.read_text()) if code.exists() else ended.returncode
        found.append(Done(status, out.read_text(), err.read_text()))
    return Launch(tuple(found), ended.stderr)


def apart(one: Path, other: Path) -> float:
    """The largest difference between the weights of two runs, beside the largest of each tensor."""
    a, b = (load_file(run / "model" / "model.safetensors") for run in (one, other))
    assert a.keys() == b.keys()
    return max(float((a[k] - b[k]).abs().max() / a[k].abs().max().clamp(min=1)) for k in a if a[k].is_floating_point())


def steps(run: Path) -> list[str]:
    """The checkpoints of a run."""
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def write_texts(path: Path) -> None:
    """A table of 61 texts of unlike length with two classes."""
    rng = random.Random(0)
    rows = ["text,label,split"]
    for number in range(61):
        words = " ".join(f"w{rng.randrange(20) + 20 * (number % 2)}" for _ in range(rng.randint(2, 12)))
        rows.append(f"{words} {number},{('low', 'high')[number % 2]},{'train' if number < 45 else 'val'}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def main() -> None:
    """What each process does."""
    from zoo.cli.main import run

    for number, words in enumerate(json.loads(Path("commands.json").read_text(encoding="utf-8"))):
        os.environ.update(_store(Path(f"{number}.port")))
        told = Path(str(number) if os.environ["RANK"] == "0" else "silent")
        with (
            told.with_suffix(".out").open("w", encoding="utf-8") as out,
            told.with_suffix(".err").open("w", encoding="utf-8") as err,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code: object = 0
            try:
                if words.endswith(".py"):
                    runpy.run_path(words, run_name="__main__")
                else:
                    sys.argv = ["zoo", *words.split()]
                    run()
            except SystemExit as ended:
                code = ended.code or 0
        if os.environ["RANK"] == "0":
            Path(f"{number}.code").write_text(str(code), encoding="utf-8")
        if code:
            sys.exit(int(str(code)))


def _store(told: Path) -> dict[str, str]:
    """Where the processes meet for one command: what they left in the launcher's store would be in their way."""
    if os.environ["RANK"] == "0":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        told.with_suffix(".part").write_text(str(port), encoding="utf-8")
        told.with_suffix(".part").rename(told)
    while not told.exists():
        time.sleep(0.02)
    port = told.read_text(encoding="utf-8")
    return {"TORCHELASTIC_USE_AGENT_STORE": "False", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}


if __name__ == "__main__":
    main()
