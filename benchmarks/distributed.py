"""How far the weights of several processes are from those of one, and of a run that changes their number on its way.

Prints the table of docs/distributed.md:  python benchmarks/distributed.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file

DIGITS = "starter/glyph-cnn sklearn:digits --strategy full --optimizer sgd --lr 0.05"
WORDS = "builtin:numerals --limit 150"
SPREAD = " --parallel fsdp"
"""Not for one process."""
RUNS = {
    f"starter/text-transformer {WORDS} --strategy linear-probe": 2,
    f"starter/text-transformer {WORDS} --strategy head --epochs 2": 2,
    f"starter/text-transformer {WORDS} --strategy lora --epochs 2": 2,
    f"starter/gru {WORDS} --strategy full --epochs 2": 2,
    f"{DIGITS} --limit 34 --epochs 2 --batch-size 16": 3,
    f"{DIGITS} --limit 200 --epochs 1 --batch-size 200": 2,
    f"{DIGITS} --limit 200 --epochs 3 --batch-size 20 --save-every 7": 2,
    f"starter/text-transformer {WORDS} --strategy full --epochs 2": 2,
    f"starter/text-transformer {WORDS} --strategy lora --epochs 2{SPREAD}": 2,
    f"starter/gru {WORDS} --strategy full --epochs 2{SPREAD}": 2,
    f"{DIGITS} --limit 200 --epochs 1 --batch-size 200{SPREAD}": 2,
    f"{DIGITS} --limit 34 --epochs 2 --batch-size 16{SPREAD}": 3,
}
"""Options of `zoo finetune`, and the number of processes that are set beside one."""


def main() -> None:
    """Train everything, print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("| `zoo finetune ...` | processes | steps | largest difference |\n| --- | --- | --- | --- |")
        for number, (options, processes) in enumerate(RUNS.items()):
            one, many = f"{number}-one", f"{number}-many"
            finetune(folder, f"{options.removesuffix(SPREAD)} --baseline none --name {one}", 1)
            finetune(folder, f"{options} --baseline none --name {many}", processes)
            print(f"| `{options}` | {processes} | {steps(folder, one)} | {apart(folder, one, many):.0e} |", flush=True)
            if "--save-every" in options:
                for begun, processes_then in ((many, 1), (one, processes)):
                    whole = f"{begun}-whole"
                    shutil.copytree(folder / "runs" / begun, folder / "runs" / whole)
                    shutil.rmtree(folder / "runs" / begun / "model")
                    last = sorted((folder / "runs" / begun / "checkpoints").iterdir())[-1]
                    shutil.rmtree(last)
                    finetune(folder, f"--resume runs/{begun}", processes_then)
                    how = f"the same, ended by {processes_then}, beside all of it by the other number"
                    print(f"| {how} | | {steps(folder, one)} | {apart(folder, begun, whole):.0e} |", flush=True)


def finetune(folder: Path, options: str, processes: int) -> None:
    """One run by so many processes, in this folder."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ZOO_HOME": str(folder / "home")}
    words = [sys.executable, *(launcher if processes > 1 else ()), "-m", "zoo", "finetune", *options.split()]
    subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True)


def apart(folder: Path, one: str, other: str) -> float:
    """The largest difference between the weights of two runs."""
    a, b = (load_file(folder / "runs" / name / "model" / "model.safetensors") for name in (one, other))
    return max(float((a[key].float() - b[key].float()).abs().max()) for key in a)


def steps(folder: Path, run: str) -> int:
    """Of the optimiser."""
    found = sorted((folder / "runs" / run).glob("checkpoints/step-*"))
    return int(found[-1].name.removeprefix("step-")) if found else 0


if __name__ == "__main__":
    main()
