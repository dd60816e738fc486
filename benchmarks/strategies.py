"""Every strategy on the same data, several seeds: what it scores, and what it costs.

    python benchmarks/strategies.py DATA WEIGHTS MINILM --keep results.jsonl --jobs 4 [--only row:trec,lora]
    python benchmarks/strategies.py DATA WEIGHTS MINILM --table > benchmarks/STRATEGIES.md

DATA holds the folders `hymenoptera`, `cifar10`, `trec`, `ag_news` and `emoji`; WEIGHTS the files
`squeezenet1_1-imagenet/model.safetensors` and `resnet20-cifar10/model.safetensors`; MINILM is the folder of
all-MiniLM-L6-v2; `tests/user/cifar_resnet.py` defines the ResNet-20. Each run is a process of its own with one thread
and an empty cache, so that its seconds and its peak memory are its own. A run that is in the file of `--keep` is not
made again, so the script goes on where it was stopped. `--table` prints the page from that file, which is
`benchmarks/results/strategies.jsonl` unless another is named, and runs nothing; `--lines` what `docs/strategies.md`
says of each strategy.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

SEEDS = 5
USER = Path(__file__).resolve().parents[1] / "tests" / "user" / "cifar_resnet.py"


@dataclass(frozen=True)
class Row:
    """A backbone on data."""

    name: str
    backbone: str
    data: str
    weights: str | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Way:
    """A strategy with its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def strategy(self) -> str:
        return self.name.split(" ", maxsplit=1)[0]


WAYS = (
    Way("linear-probe"),
    Way("linear-probe knn", {"head": "knn"}),
    Way("linear-probe prototypes", {"head": "prototypes"}),
    Way("head"),
    Way("partial"),
    Way("full"),
    Way("full ema", {"ema": 0.99}),
    Way("lp-ft"),
    Way("layer-decay"),
    Way("gradual-unfreezing"),
    Way("chain-thaw"),
    Way("surgical"),
    Way("bitfit"),
    Way("norm-tuning"),
    Way("lora"),
    Way("dora"),
    Way("l2-sp"),
    Way("wise-ft"),
    Way("soup"),
    Way("auto"),
    Way("auto 5m", {"budget": "5m"}),
)


@dataclass(frozen=True)
class Made:
    """What came of one run."""

    row: str
    way: str
    seed: int
    accuracy: float | None
    seconds: float
    trained: int
    memory: int
    """Peak bytes of the process, libraries included; on a card those of tensors."""
    chosen: str = ""
    """What auto took."""
    error: str = ""


def rows_of(data: Path, weights: Path, minilm: Path) -> tuple[Row, ...]:
    """The five rows of the table."""
    squeezenet = weights / "squeezenet1_1-imagenet" / "model.safetensors"
    resnet = weights / "resnet20-cifar10" / "model.safetensors"
    return (
        Row("hymenoptera", "torchvision/squeezenet1_1", str(data / "hymenoptera"), str(squeezenet)),
        Row("cifar10, 1,000 rows", f"local:{USER}:resnet20", str(data / "cifar10"), str(resnet), 1_000),
        Row("trec, 500 rows", f"transformers/{minilm}", str(data / "trec"), limit=500),
        Row("ag_news, 500 rows", f"transformers/{minilm}", str(data / "ag_news"), limit=500),
        Row(
            "emoji, 500 rows",
            f"torchvision/squeezenet1_1@{squeezenet}+transformers/{minilm}",
            str(data / "emoji"),
            limit=500,
        ),
    )


def make(row: Row, way: Way, seed: int, device: str) -> Made:
    """One run in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(row, way, seed, device, theirs))
    process.start()
    theirs.close()
    try:
        found: Made = ours.recv()
    except EOFError:
        process.join()
        found = Made(row.name, way.name, seed, None, 0.0, 0, 0, error=f"exit code {process.exitcode}")
    process.join()
    return found


def _child(row: Row, way: Way, seed: int, device: str, answer: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ZOO_HOME"] = folder
        import torch

        import zoo
        from zoo.errors import ZooError

        torch.set_num_threads(1)
        started = time.perf_counter()
        try:
            run = zoo.finetune(
                row.backbone,
                row.data,
                strategy=way.strategy,
                weights=row.weights,
                training=zoo.Training(**{"seed": seed, "device": device, **way.options}),
                read=zoo.ReadOptions(limit=row.limit),
                out=zoo.Output(dir=folder),
                baseline="none",
            )
        except ZooError as error:
            answer.send(Made(row.name, way.name, seed, None, 0.0, 0, 0, error=error.what))
            return
        seconds = time.perf_counter() - started
        on_card = device.startswith("cuda")
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        memory = torch.cuda.max_memory_allocated() if on_card else own
        accuracy, trained = run.metrics["accuracy"], run.plan.estimate.trained
        answer.send(Made(row.name, way.name, seed, accuracy, seconds, trained, memory, run.strategy))


PAGE = """# Strategies

Every strategy from the same weights, with its defaults: mean accuracy over seeds with the 95% interval of the mean by
Student's t. A seed also draws the training rows, the same for every strategy. Where fewer than five seeds were run, a
cell says how many; an empty one has not been run, and a dash is a strategy for which the backbone has nothing.
`python benchmarks/strategies.py DATA WEIGHTS MINILM --table` makes this page of `results/strategies.jsonl`, to which
the same command without `--table` adds what is missing.

Seconds are wall time of a process with one thread and an empty cache, beside others on a shared machine: ratios mean
more than they do, and 20% more or less means nothing. Memory is the peak of the process, libraries included.
"""


def table(found: list[Made]) -> Iterator[str]:
    """Markdown: accuracy of all, then a table a row with what each strategy cost."""
    names = list(dict.fromkeys(row.name for row in rows_of(Path(), Path(), Path())))
    yield from (PAGE, "## Accuracy", "", f"| strategy | {' | '.join(names)} |")
    yield "| --- " * (len(names) + 1) + "|"
    for way in WAYS:
        cells = [_cell(_of(found, name, way)) or _refused(found, name, way) for name in names]
        if any(cells):
            yield f"| {_named(way)} | {' | '.join(cells)} |"
    for name in names:
        probe = _of(found, name, WAYS[0])
        yield from ("", f"## {name[0].upper()}{name[1:]}", "")
        yield "| strategy | accuracy | seconds | times the probe | trained parameters | peak memory |"
        yield "| --- | --- | --- | --- | --- | --- |"
        for way in WAYS:
            own = _of(found, name, way)
            if own:
                yield _line(way, own, probe)


def scored(found: list[Made], way: Way) -> str:
    """A line of Markdown for `docs/strategies.md`: mean accuracy of one strategy on each row, beside the probe's."""
    names = list(dict.fromkeys(row.name for row in rows_of(Path(), Path(), Path())))
    said, probes = [], []
    for name in names:
        own = _of(found, name, way)
        if own:
            seeds = "" if len(own) == SEEDS else f" ({len(own)} of {SEEDS} seeds)"
            said.append(f"{name.split(',')[0]} {_mean(own):.3f}{seeds}")
            probes.append(f"{_mean(_of(found, name, WAYS[0])):.3f}")
    beside = "" if way == WAYS[0] else f" (the probe {', '.join(probes)})"
    head = way.options.get("head", "linear")
    title = f"`{head}` on " if way.strategy == WAYS[0].strategy else ""
    return f"**Here:** {title}{', '.join(said)}{beside}."


def _mean(own: list[Made]) -> float:
    return statistics.fmean(each.accuracy for each in own if each.accuracy is not None)


def _of(found: list[Made], name: str, way: Way) -> list[Made]:
    return [each for each in found if (each.row, each.way) == (name, way.name) and each.accuracy is not None]


def _refused(found: list[Made], name: str, way: Way) -> str:
    return "-" if any((each.row, each.way) == (name, way.name) and each.error for each in found) else ""


def _named(way: Way) -> str:
    strategy, _, rest = way.name.partition(" ")
    return f"`{strategy}`{f', {rest}' if rest else ''}"


def _cell(own: list[Made]) -> str:
    if not own:
        return ""
    scores = [each.accuracy for each in own if each.accuracy is not None]
    mean, (low, high) = statistics.fmean(scores), _interval(scores)
    seeds = "" if len(own) == SEEDS else f" ({len(own)} seed{'s' * (len(own) > 1)})"
    interval = "" if math.isnan(low) or low == high else f" [{low:.3f}, {high:.3f}]"
    return f"{mean:.3f}{interval}{seeds}"


def _line(way: Way, own: list[Made], probe: list[Made]) -> str:
    trained = sorted({each.trained for each in own})
    said = f"{trained[0]:,}" if len(trained) == 1 else f"{trained[0]:,} to {trained[-1]:,}"
    seconds = statistics.median(each.seconds for each in own)
    times = f"{seconds / statistics.median(each.seconds for each in probe):.1f}" if probe else ""
    memory = statistics.median(each.memory for each in own) / 1e9
    chosen = ", ".join(dict.fromkeys(each.chosen for each in own)) if way.strategy == "auto" else ""
    name = _named(way) + (f" ({chosen})" if chosen else "")
    return f"| {name} | {_cell(own)} | {seconds:.0f} | {times} | {said} | {memory:.2f} GB |"


def _interval(scores: list[float]) -> tuple[float, float]:
    """Of the mean over seeds, by Student's t; (nan, nan) for fewer than three, which tell nothing of their spread."""
    if len(scores) < 3:
        return math.nan, math.nan
    from scipy import stats

    mean, error = statistics.fmean(scores), statistics.stdev(scores) / math.sqrt(len(scores))
    if error == 0:
        return mean, mean
    low, high = stats.t.interval(0.95, len(scores) - 1, loc=mean, scale=error)
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("minilm", type=Path)
    parser.add_argument("--keep", type=Path, default=Path(__file__).parent / "results" / "strategies.jsonl")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--device", default="cpu", help="cuda: keep its figures in a file of their own")
    parser.add_argument("--only", help="such as row:trec,lora,lp-ft")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--lines", action="store_true", help="print what docs/strategies.md says of each, run nothing")
    given = parser.parse_args()
    kept = [Made(**json.loads(line)) for line in given.keep.read_text().splitlines()] if given.keep.is_file() else []
    if given.table:
        return print("\n".join(table(kept)))
    if given.lines:
        return print("\n".join(scored(kept, way) for way in WAYS if way.strategy != "auto"))
    done = {(each.row, each.way, each.seed) for each in kept if not each.error}
    wanted = [
        (row, way, seed)
        for seed in range(given.seeds)
        for row in rows_of(given.data, given.weights, given.minilm)
        for way in WAYS
        if _asked(given.only, row, way) and (row.name, way.name, seed) not in done
    ]
    with ThreadPoolExecutor(given.jobs) as pool:
        for count, made in enumerate(pool.map(lambda each: make(*each, given.device), wanted), 1):
            with given.keep.open("a") as file:
                file.write(json.dumps(asdict(made)) + "\n")
            said = made.error or f"{made.accuracy:.3f} in {made.seconds:.0f} s"
            print(f"{count}/{len(wanted)}  {made.row}  {made.way}  seed {made.seed}  {said}", flush=True)
    return None


def _asked(only: str | None, row: Row, way: Way) -> bool:
    """Whether each of row and strategy holds one of the words that are about it."""
    words = [] if only is None else only.split(",")
    of_rows = [word for word in words if word.startswith("row:")]
    of_ways = [word for word in words if not word.startswith("row:")]
    row_asked = not of_rows or any(word[4:] in row.name for word in of_rows)
    return row_asked and (not of_ways or any(word == way.name for word in of_ways))


if __name__ == "__main__":
    main()
