"""Times zoo and its peers in turn: each side a process of its own, rounds A B A B, medians, and ratios within a round.

A script that measures defines its sides and calls `main`:

    def zoo_side(setting: Setting) -> Run:      # prepares, untimed: imports, weights, data
        ...
        return lambda: features                 # what is timed; its arrays are what the sides must agree in

    if __name__ == "__main__":
        main("features", sides={"torchvision": by_hand, "zoo": zoo_side}, agree=alike, goals={"zoo": 0.63})

The first side is the one that the others are divided by. Wall time is that of the call; CPU time is that of the process
and of its worker processes. Beside the table a JSON file is written, of which RESULTS.md is made.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pickle
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Run = Callable[[], Mapping[str, Any] | None]
"""What is timed; gives arrays by name, which are compared once, or None."""
Agree = Callable[[Mapping[str, Mapping[str, Any]]], str]
"""Arrays by side to a sentence on how well they agree.

Raises:
    AssertionError: they do not.
"""
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Setting:
    """What each side is told."""

    words: tuple[str, ...]
    """The script's own arguments."""
    threads: int
    device: str


class MissingError(Exception):
    """A side that cannot run here; the message says why."""


Side = Callable[[Setting], Run]


@dataclass
class Times:
    """Of one side, a value each round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: float = 0.0
    """MiB of resident memory, or of the card's where there is one."""


def main(
    name: str,
    *,
    sides: Mapping[str, Side],
    agree: Agree | None = None,
    goals: Mapping[str, float] | None = None,
    rounds: int = 5,
    threads: int = 1,
    unit: str = "s",
    needs_cuda: bool = False,
    words: Sequence[str] = (),
) -> None:
    """Measure, print a table of ratios and write `results/NAME.json`.

    Args:
        name: of the job.
        sides: by name; the first is the peer that the others are divided by.
        agree: checks that all sides computed the same, before anything is timed.
        goals: the ratio of wall time that a side is to stay below.
        rounds: timed, after one that is not.
        threads: of the CPU, in each side.
        unit: of the times, as the table says it.
        needs_cuda: whether the job is one of a CUDA card.
        words: names of the script's own arguments, for its help.
    """
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("words", nargs="*", metavar=" ".join(words) or "WORD")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--device", default="cuda" if needs_cuda else "cpu")
    parser.add_argument("--only", help="sides by name, with commas")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    setting = Setting(tuple(asked.words), asked.threads, asked.device)
    if asked.device.startswith("cuda") and not _has_cuda():
        print(f"{name}: skipped, as this machine shows no CUDA card")
        return
    if asked.side:
        _serve(sides[asked.side], setting)
        return
    chosen = [each for each in sides if asked.only is None or each in asked.only.split(",")]
    times, said, missing = _measured(chosen, setting, asked.rounds, agree)
    rows = _table(times, goals or {})
    _print(name, rows, missing, said, setting, unit)
    keep(name, rows, said=said, missing=missing, setting=setting, unit=unit)


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """Median over rounds of what one took beside the other in the same round."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _measured(
    names: Sequence[str], setting: Setting, rounds: int, agree: Agree | None
) -> tuple[dict[str, Times], str, dict[str, str]]:
    """Times by side, what was said of their agreement, and why sides are missing."""
    children: dict[str, _Child] = {}
    missing: dict[str, str] = {}
    outputs: dict[str, Mapping[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name in names:
                child = _Child(name, setting, Path(folder) / f"{len(children)}.pickle")
                first = child.ask("first")
                if "missing" in first:
                    child.end()
                    missing[name] = first["missing"]
                    print(f"{name}: {first['missing']}", file=sys.stderr)
                    continue
                children[name] = child
                outputs[name] = pickle.loads(child.file.read_bytes())
            said = agree(outputs) if agree is not None else ""
            times = {name: Times() for name in children}
            for number in range(rounds):
                for name, child in children.items():
                    found = child.ask("again")
                    times[name].wall.append(found["wall"])
                    times[name].cpu.append(found["cpu"])
                    times[name].peak = found["peak"]
                print(f"round {number + 1} of {rounds}", file=sys.stderr)
        finally:
            for child in children.values():
                child.end()
    return times, said, missing


class _Child:
    """A side in a process of its own, which waits between its turns."""

    def __init__(self, name: str, setting: Setting, file: Path) -> None:
        self.name, self.file = name, file
        count = str(setting.threads)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), count)
        quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "ZOO_LEDGER": "off"}
        self.process = subprocess.Popen(
            [sys.executable, *sys.argv, "--side", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads, **quiet, "BENCHMARK_FILE": str(file)},
        )

    def ask(self, word: str) -> dict[str, Any]:
        """One turn of this side.

        Raises:
            RuntimeError: its process ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(word, file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith(MARK):
                answer: dict[str, Any] = json.loads(line.removeprefix(MARK))
                return answer
        raise RuntimeError(f"the process of {self.name} ended with {self.process.wait()}")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


MARK = "#answer "


def _serve(side: Side, setting: Setting) -> None:
    """The life of a child: it prepares, and then runs once for each line."""
    import torch

    torch.set_num_threads(setting.threads)
    run: Run | None = None
    for line in sys.stdin:
        try:
            run = run or side(setting)
            answer = _timed(run, setting.device, Path(os.environ["BENCHMARK_FILE"]) if line == "first\n" else None)
        except MissingError as error:
            answer = {"missing": str(error)}
        except ImportError as error:
            answer = {"missing": f"not installed here ({error.name})"}
        print(MARK + json.dumps(answer), flush=True)


def _timed(run: Run, device: str, file: Path | None) -> dict[str, Any]:
    import torch

    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    cpu, started = _cpu(), time.perf_counter()
    found = run()
    if cuda:
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - started, _cpu() - cpu
    peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else _peak()
    if file is not None:
        file.write_bytes(pickle.dumps(dict(found or {})))
    return {"wall": wall, "cpu": cpu, "peak": peak}


def _cpu() -> float:
    """Seconds of this process, of those it has ended and of its workers that live on."""
    import psutil

    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = [each.cpu_times() for each in psutil.Process().children(recursive=True)]
    return time.process_time() + ended.ru_utime + ended.ru_stime + sum(each.user + each.system for each in living)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _table(times: Mapping[str, Times], goals: Mapping[str, float]) -> list[dict[str, Any]]:
    base = next(iter(times.values()))
    return [
        {
            "side": name,
            "wall": statistics.median(each.wall),
            "cpu": statistics.median(each.cpu),
            "ratio": ratio(each.wall, base.wall),
            "cpu_ratio": ratio(each.cpu, base.cpu),
            "peak_mib": each.peak,
            "goal": goals.get(name),
            "rounds": asdict(each),
        }
        for name, each in times.items()
    ]


def _print(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    missing: Mapping[str, str],
    said: str,
    setting: Setting,
    unit: str,
) -> None:
    print(f"{name}, {setting.threads} threads, {setting.device}. {said}")
    print(f"{'':<34} {unit:>9} {'CPU s':>9} {'ratio':>6} {'of CPU':>6} {'goal':>5} {'MiB':>6}")
    for row in rows:
        goal = "" if row["goal"] is None else f"{row['goal']:.2f}"
        print(
            f"{row['side']:<34} {row['wall']:>9.4g} {row['cpu']:>9.4g} {row['ratio']:>6.2f} "
            f"{row['cpu_ratio']:>6.2f} {goal:>5} {row['peak_mib']:>6.0f}"
        )
    for side, reason in missing.items():
        print(f"{side:<34} {reason}")


def keep(
    name: str,
    sides: Sequence[Mapping[str, Any]],
    *,
    said: str = "",
    missing: Mapping[str, str] | None = None,
    setting: Setting | None = None,
    unit: str = "s",
    **more: Any,
) -> None:
    """Write `results/NAME.json`, or NAME-cuda.json, of which `results.py` makes RESULTS.md; all scripts use it.

    Args:
        name: of the job.
        sides: one a side: its name, wall, cpu, ratio, cpu_ratio, peak_mib and goal.
        said: on how well the sides agree.
        missing: sides that could not run, and why.
        setting: threads and device; one thread of the CPU if None.
        unit: of the times.
        more: what the job has beside, as plain values.
    """
    setting = setting or Setting((), 1, "cpu")
    RESULTS.mkdir(exist_ok=True)
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *_public(sys.argv[1:])])
    answer = {
        "name": name,
        "command": command,
        "machine": {"device": _device_name(setting), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": _versions(),
        "device": setting.device,
        "threads": setting.threads,
        "unit": unit,
        "agreement": said,
        "sides": list(sides),
        "missing": dict(missing or {}),
        **more,
    }
    on_card = "-cuda" if setting.device.startswith("cuda") and "cuda" not in name else ""
    (RESULTS / f"{name}{on_card}.json").write_text(json.dumps(answer, indent=1) + "\n")


def _public(words: Sequence[str]) -> list[str]:
    """Arguments with the last parts of each path alone: whose machine it was is of no concern."""
    return ["/".join(Path(word).parts[-2:]) if word.startswith("/") else word for word in words]


def _device_name(setting: Setting) -> str:
    if setting.device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions() -> dict[str, str]:
    found = {}
    for name in ("torch", "torchvision", "transformers", "timm", "open_clip", "accelerate"):
        try:
            found[name] = str(importlib.import_module(name).__version__)
        except ImportError:
            continue
    return found
