"""How long `zoo` takes to answer, beside the least that a Typer and pluggy program can take, and beside its peers.

    python benchmarks/startup.py [--rounds 15]

Each answer is a process of its own; all are taken in turn, so that a busy machine slows all of them alike, those that
import a framework in every fifth round. The bare program parses a command line with Typer, registers one pluggy hook
and prints a line. The goal is a ratio of at most 0.5 for what the index answers, also with 50 plugins of 20 backbones
each (made for this run, in a folder on the path), and of at most 2 for what the catalogue answers, with a setting under
which no index is used. Before anything is timed, what the index answers is compared with what the catalogue does.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
from plugins_made import write_plugins

BARE = """
import pluggy, typer

spec, impl = pluggy.HookspecMarker("bare"), pluggy.HookimplMarker("bare")

class Specs:
    @spec
    def names(self): ...

class Plugin:
    @impl
    def names(self): return ["one"]

app = typer.Typer()

@app.command("list")
def list_names(pattern: str = typer.Argument("")) -> None:
    manager = pluggy.PluginManager("bare")
    manager.add_hookspecs(Specs)
    manager.register(Plugin())
    print(manager.hook.names())

@app.command()
def info() -> None: ...

app()
"""
ZOO = "import sys; from zoo.cli.main import run; sys.argv[0] = 'zoo'; run()"
ANEW = "import os; os.environ['ZOO_PLUGIN_TIMEOUT'] = '5'; " + ZOO
INDEX = """
import argparse, json, os

parser = argparse.ArgumentParser()
parser.add_argument("pattern", nargs="?", default="")
asked = parser.parse_args()
for row in json.load(open(os.environ["BENCHMARK_INDEX"])):
    if asked.pattern in row["name"]:
        print(row["name"], row["params"])
"""
HELP, LIST = "bare --help", "bare list"
PROGRAMS: dict[str, list[str]] = {
    LIST: [BARE, "list"],
    HELP: [BARE, "--help"],
    "zoo list": [ZOO, "list"],
    "zoo list, 50 plugins": [ZOO, "list"],
    "zoo list --json": [ZOO, "list", "--json"],
    "zoo info": [ZOO, "info", "torchvision/resnet50"],
    "zoo --version": [ZOO, "--version"],
    "zoo --help": [ZOO, "--help"],
    "zoo list, anew": [ANEW, "list"],
    "zoo list, 50 plugins, anew": [ANEW, "list"],
    "zoo --help, anew": [ANEW, "--help"],
    "argparse over an index in JSON": [INDEX],
    "hf --help": ["from huggingface_hub.cli.hf import main; main()", "--help"],
    "llm models": ["from llm.cli import cli; cli()", "models"],
    "timm.list_models()": ["import timm; print(timm.list_models())"],
    "torchvision.models.list_models()": ["import torchvision; print(torchvision.models.list_models())"],
    "open_clip.list_pretrained()": ["import open_clip; print(open_clip.list_pretrained())"],
}
NEEDS = {"hf --help": "huggingface_hub", "llm models": "llm", "timm.list_models()": "timm"} | {
    "torchvision.models.list_models()": "torchvision",
    "open_clip.list_pretrained()": "open_clip",
}
HEAVY = ("timm.list_models()", "torchvision.models.list_models()", "open_clip.list_pretrained()")
EVERY = 5
PLUGINS, BACKBONES = 50, 20


def goal(name: str) -> float | None:
    """The ratio that zoo is to stay below."""
    if not name.startswith("zoo"):
        return None
    if "anew" in name:
        return None if "plugins" in name else 2.0  # fifty packages are imported
    return 0.5


def answer(program: list[str], environ: dict[str, str]) -> tuple[dict[str, float], str]:
    """Wall and CPU seconds and peak MiB of one process, and what it printed."""
    with tempfile.TemporaryFile() as out:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", *program],
            stdout=out,
            stderr=subprocess.DEVNULL,
            env=environ,
            cwd=tempfile.gettempdir(),
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{program[-1]} ended with {process.returncode}")
        out.seek(0)
        text = out.read().decode()
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024}, text


def checked(environs: dict[str, dict[str, str]]) -> str:
    """That the index says what the catalogue does; it is made by the first two answers.

    Raises:
        AssertionError: it does not.
    """
    rows = 0
    for name, other in (("zoo list", "zoo list, anew"), ("zoo list, 50 plugins", "zoo list, 50 plugins, anew")):
        for _ in range(2):  # what Python compiles in the first changes the folders of new plugins
            answer(PROGRAMS[name], environs[name])
        kept, anew = answer(PROGRAMS[name], environs[name])[1], answer(PROGRAMS[other], environs[other])[1]
        assert kept == anew, f"{name} and {other} print different rows"
        rows = kept.count("\n")
    return f"`zoo list` prints the same with and without its index, {rows - 1:,} rows with {PLUGINS} plugins."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    missing = {name: "not installed here" for name, module in NEEDS.items() if importlib.util.find_spec(module) is None}
    chosen = {name: program for name, program in PROGRAMS.items() if name not in missing}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as folder:
        environs = prepared(Path(folder))
        said = checked(environs)
        for name, program in chosen.items():  # compile and warm the file cache
            answer(program, environs[name])
        for number in range(rounds):
            for name, program in chosen.items():
                if name not in HEAVY or number % EVERY == 0:
                    times[name].append(answer(program, environs[name])[0])
                else:
                    times[name].append({})
    rows = [row(name, times) for name in chosen]
    print(said)
    print(f"{'program':<34} {'median ms':>10} {'ratio':>6} {'of CPU':>6} {'goal':>5} {'MiB':>5}")
    for each in rows:
        wanted = "" if each["goal"] is None else f"{each['goal']:.1f}"
        print(
            f"{each['side']:<34} {each['wall'] * 1000:>10.0f} {each['ratio']:>6.2f} {each['cpu_ratio']:>6.2f} "
            f"{wanted:>5} {each['peak_mib']:>5.0f}"
        )
    harness.keep("startup", rows, said=said, missing=missing)


def prepared(folder: Path) -> dict[str, dict[str, str]]:
    """The environment of each program: a home of its own for what has plugins, and an index for argparse."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ZOO_")}
    plain.pop("PYTHONDONTWRITEBYTECODE", None)
    plain |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "80", "ZOO_HOME": str(folder / "home")}
    write_plugins(folder / "site", PLUGINS, BACKBONES)
    path = os.pathsep.join(filter(None, [str(folder / "site"), plain.get("PYTHONPATH")]))
    crowded = plain | {"PYTHONPATH": path, "ZOO_HOME": str(folder / "crowded")}
    listed = answer([ZOO, "list", "--json"], plain)[1]
    names = [{"name": row["name"], "params": row["params"]} for row in json.loads(listed)]
    (folder / "index.json").write_text(json.dumps(names))
    plain |= {"BENCHMARK_INDEX": str(folder / "index.json")}
    shutil.rmtree(folder / "home")
    return {name: crowded if "plugins" in name else plain for name in PROGRAMS}


def row(name: str, times: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians, and ratios within a round to the bare program that prints the same kind of thing."""
    found = times[name]
    base = times[HELP if "--help" in name and name.startswith(("zoo", "bare")) else LIST]
    both = [(one, other) for one, other in zip(found, base, strict=True) if one]
    return {
        "side": name,
        "wall": statistics.median(one["wall"] for one, _ in both),
        "cpu": statistics.median(one["cpu"] for one, _ in both),
        "ratio": statistics.median(one["wall"] / other["wall"] for one, other in both),
        "cpu_ratio": statistics.median(one["cpu"] / other["cpu"] for one, other in both),
        "peak_mib": max(one["peak_mib"] for one, _ in both),
        "goal": goal(name),
        "rounds": {key: [one[key] for one, _ in both] for key in ("wall", "cpu")},
    }


if __name__ == "__main__":
    main()
