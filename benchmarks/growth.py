"""How time and peak memory grow with rows, candidates, backbones and plugins: 1, 10 and 100 times as many.

    python benchmarks/growth.py [JOB ...]

Each measurement is a process of its own, of one thread. It imports, loads and runs a few rows first, which is no part
of it; then it is timed, and what its peak memory grows by is noted. `zoo list` is the whole process instead, as a user
waits for it. Images are digits of scikit-learn with noise, texts are made of words of the standard library; backbones
are `starter/glyph-cnn` and `starter/bag-of-words`, the candidates of a ranking and the lists are plugins made for this
run. The exponent is the slope of log time over log size, between 10 and 100 times and over all three; what is below 1
has costs that do not grow. A table is printed, `results/growth.json` and `results/growth.png` are written.
"""

from __future__ import annotations

import json
import math
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
from plugins_made import write_plugins

TIMES = (1, 10, 100)
LINEAR = 1.1
"""An exponent above this is more than linear."""
IMAGES, TEXTS = "starter/glyph-cnn", "starter/bag-of-words"
JOBS: dict[str, tuple[str, int]] = {
    "extract, images": ("rows", 100),
    "extract, texts": ("rows", 400),
    "extract to shards, images": ("rows", 100),
    "probe, images": ("rows", 100),
    "probe, all heads, images": ("rows", 100),
    "probe, texts": ("rows", 100),
    "rank, 2 candidates": ("rows", 100),
    "rank, 300 rows": ("candidates", 1),
    "list, from the index": ("backbones", 100),
    "list, anew": ("backbones", 100),
    "list, from the index, 20 backbones each": ("plugins", 1),
    "list, anew, 20 backbones each": ("plugins", 1),
}
"""What grows, and how many 1 times are."""


def images(path: Path, rows: int) -> None:
    """Digits as PNG, each with noise of its own so that no two are alike."""
    import io

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image
    from sklearn.datasets import load_digits

    digits, rng = load_digits(), np.random.default_rng(0)
    found, labels = [], []
    for row in range(rows):
        pixels = digits.images[row % len(digits.images)] * 15 + rng.integers(0, 15, (8, 8))
        file = io.BytesIO()
        Image.fromarray(pixels.astype("uint8")).resize((28, 28)).save(file, "PNG", compress_level=1)
        found.append({"bytes": file.getvalue(), "path": None})
        labels.append(str(digits.target[row % len(digits.images)]))
    pq.write_table(pa.table({"image": found, "label": labels}), path)


def texts(path: Path, rows: int) -> None:
    """Ten to forty words, of which one in three tells the class."""
    import keyword

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = sorted({*sys.stdlib_module_names, *keyword.kwlist})
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, rows)
    found = []
    for label in labels:
        count = int(rng.integers(10, 40))
        own = rng.integers(0, 20, count) + 20 * label
        any_word = rng.integers(0, len(words), count)
        found.append(" ".join(words[i] for i in np.where(rng.random(count) < 1 / 3, own, any_word)))
    pq.write_table(pa.table({"text": found, "label": [f"class {label}" for label in labels]}), path)


def work(job: str, size: int, folder: Path) -> Callable[[], object]:
    """What is timed, prepared and run on a few rows."""
    import zoo

    name = TEXTS if "texts" in job else IMAGES
    many, few = folder / "many.parquet", folder / "few.parquet"
    (texts if "texts" in job else images)(few, 60)
    (texts if "texts" in job else images)(many, size if "candidates" not in JOBS[job][0] else 300)
    backbone = zoo.load(name)
    if job.startswith("extract to"):
        zoo.extract_shards(backbone, few, folder / "few", threads=1)
        return lambda: zoo.extract_shards(backbone, many, folder / "out", threads=1)
    if job.startswith("extract"):
        zoo.extract(backbone, few, cache=False)
        return lambda: zoo.extract(backbone, many, cache=False)
    if job.startswith("probe"):
        heads = None if "all heads" in job else ["linear"]
        zoo.probe(backbone, few, shots=("all",), seeds=1, heads=heads)
        return lambda: zoo.probe(backbone, many, shots=("all",), seeds=1, heads=heads)
    candidates = [f"made0/tiny{number}" for number in range(size)] if "300 rows" in job else [name, "starter/pixels"]
    limit = 300 if "300 rows" in job else size
    zoo.rank(few, candidates[:2], limit=limit)
    return lambda: zoo.rank(many, candidates, limit=limit)


def child(job: str, size: int) -> None:
    """One measurement, told on standard output."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = work(job, size, Path(folder))
        before, cpu, wall = peak(), time.process_time(), time.perf_counter()
        run()
        found = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "mib": peak() - before}
    print(json.dumps(found))


def peak() -> float:
    """MiB of resident memory at the most; not `ru_maxrss`, which begins with that of the process that started this."""
    status = Path("/proc/self/status")
    if status.is_file() and (found := re.search(r"VmHWM:\s+(\d+)", status.read_text())):
        return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(job: str, size: int, folder: Path) -> dict[str, float]:
    """Of a process of its own; of a list the median of five, whole."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environ = {**os.environ, **threads, "ZOO_HOME": str(folder / "home"), "ZOO_LEDGER": "off", "HF_HUB_OFFLINE": "1"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if job.startswith("list"):
        write_plugins(folder / "site", *((1, size) if JOBS[job][0] == "backbones" else (size, 20)))
        program = ["-m", "zoo", "list", "--source", "made0"]
    else:
        write_plugins(folder / "site", 1, 100)
        program = [__file__, "--child", job, str(size)]
    path = os.pathsep.join(filter(None, [str(folder / "site"), environ.get("PYTHONPATH")]))
    environ |= {"PYTHONPATH": path, "TMPDIR": str(folder)}
    if not job.startswith("list"):
        done = subprocess.run([sys.executable, *program], env=environ, check=True, stdout=subprocess.PIPE, text=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found
    if "anew" in job:
        environ["ZOO_PLUGIN_TIMEOUT"] = "5"  # with which no index is used
    times = [whole([sys.executable, *program], environ) for _ in range(7)][2:]  # the first two make the index
    return {key: statistics.median(each[key] for each in times) for key in times[0]}


def whole(program: list[str], environ: dict[str, str]) -> dict[str, float]:
    """A process from its start to its end."""
    started = time.perf_counter()
    process = subprocess.Popen(program, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{program} ended with {process.returncode}"
    wall = time.perf_counter() - started
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "mib": usage.ru_maxrss / 1024}


def slope(sizes: list[int], times: list[float]) -> float:
    """Least squares of log time over log size."""
    x, y = [math.log(size) for size in sizes], [math.log(each) for each in times]
    middle, level = statistics.mean(x), statistics.mean(y)
    return sum((a - middle) * (b - level) for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x)


def row_of(job: str, found: list[dict[str, float]]) -> dict[str, Any]:
    """One row of the table; exponents are of CPU time, which other programs disturb less."""
    unit, first = JOBS[job]
    sizes, cpu = [first * times for times in TIMES], [each["cpu"] for each in found]
    added = (found[2]["mib"] - found[0]["mib"]) / (sizes[2] - sizes[0]) * 1024
    return {
        "job": job,
        "unit": unit,
        "sizes": sizes,
        **{key: [each[key] for each in found] for key in ("wall", "cpu", "mib")},
        "exponent": slope(sizes[1:], cpu[1:]),
        "exponent_overall": slope(sizes, cpu),
        "kib_each": added,
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Time and memory over size, both logarithmic, beside a line of exponent 1."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    units = list(dict.fromkeys(row["unit"] for row in rows))
    figure, axes = plt.subplots(2, len(units), figsize=(4.0 * len(units), 7.6), squeeze=False, sharex="col")
    for column, unit in enumerate(units):
        time, memory = axes[:, column]
        for row in (row for row in rows if row["unit"] == unit):
            label = f"{row['job']}: {row['exponent']:.2f}"
            time.loglog(row["sizes"], row["cpu"], "o-", label=label, markersize=4)
            memory.loglog(row["sizes"], [max(each, 1) for each in row["mib"]], "o-", markersize=4)
        low, high = time.get_xlim()
        bottom, top = time.get_ylim()
        time.set_ylim(min(bottom, 0.02), max(top, 2))
        time.set_autoscale_on(False)
        time.loglog([low, high], [bottom, bottom * high / low], ":", color="grey", label="exponent 1")
        time.set_title(f"more {unit}", fontsize=10)
        memory.set_ylim(1, max(1000, memory.get_ylim()[1]))
        memory.set_xlabel(unit)
        handles, labels = time.get_legend_handles_labels()
        memory.legend(handles, labels, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), frameon=False)
    axes[0, 0].set_ylabel("CPU seconds")
    axes[1, 0].set_ylabel("MiB, at least 1; of lists the whole process")
    figure.savefig(path, dpi=100, bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    asked = sys.argv[1:] or list(JOBS)
    rows = []
    print(f"{'':<42} {'sizes':>22} {'CPU seconds':>24} {'10-100':>6} {'all':>5} {'MiB':>20} {'KiB each':>8}")
    for job in asked:
        found = []
        for times in TIMES:
            with tempfile.TemporaryDirectory() as folder:
                found.append(measured(job, JOBS[job][1] * times, Path(folder)))
        row = row_of(job, found)
        rows.append(row)
        sizes, cpu, mib = (" ".join(f"{each:,.4g}" for each in row[key]) for key in ("sizes", "cpu", "mib"))
        mark = " more than linear" if row["exponent"] > LINEAR else ""
        print(
            f"{job + ', ' + row['unit']:<42} {sizes:>22} {cpu:>24} {row['exponent']:>6.2f} "
            f"{row['exponent_overall']:>5.2f} {mib:>20} {row['kib_each']:>8.2f}{mark}",
            flush=True,
        )
    if asked == list(JOBS):
        harness.keep("growth", [], rows=rows)
        draw(rows, harness.RESULTS / "growth.png")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]))
    else:
        main()
