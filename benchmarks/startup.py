"""How long `zoo` takes to answer, beside the least that a Typer and pluggy program can take.

    python benchmarks/startup.py

Prints the median of 15 processes each, taken in turn, so that a busy machine slows all of them alike. The bare program
parses a command line with Typer, registers one pluggy hook and prints a line. The target is a ratio of at most 0.5 for
what the index answers, and of at most 2 for what the catalogue does, with a setting under which no index is used.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

ROUNDS = 15
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
PROGRAMS = {
    "bare list": [BARE, "list"],
    "bare --help": [BARE, "--help"],
    "zoo list": [ZOO, "list"],
    "zoo list --json": [ZOO, "list", "--json"],
    "zoo info": [ZOO, "info", "torchvision/resnet50"],
    "zoo --version": [ZOO, "--version"],
    "zoo --help": [ZOO, "--help"],
    "zoo list, anew": [ANEW, "list"],
    "zoo --help, anew": [ANEW, "--help"],
}
BESIDE = {name: "bare --help" if "--help" in name else "bare list" for name in PROGRAMS if name.startswith("zoo")}


def seconds(code: str, *words: str) -> float:
    """Wall time of one process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    return time.perf_counter() - started


def main() -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for program in PROGRAMS.values():  # compile and warm the file cache
        seconds(*program)
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(ROUNDS):
        for name, program in PROGRAMS.items():
            times[name].append(seconds(*program))
    print(f"{'program':<16} {'median ms':>10} {'fastest ms':>11} {'ratio':>6}")
    for name, found in times.items():
        middle = statistics.median(found)
        beside = BESIDE.get(name)
        ratio = f"{middle / statistics.median(times[beside]):.2f}" if beside else ""
        print(f"{name:<16} {middle * 1000:>10.0f} {min(found) * 1000:>11.0f} {ratio:>6}")


if __name__ == "__main__":
    main()
