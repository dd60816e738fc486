"""How well scores of frozen features, and what costs nothing, tell which backbone fine-tunes best.

    python benchmarks/ranking.py DATA WEIGHTS MINILM --keep ranking.jsonl --jobs 2 [--only trec] [--table]

Fourteen image backbones on four sets, thirteen text backbones on three; 400 training rows. The truth is the accuracy on
the held-out rows after fine-tuning (`lp-ft`, 5 epochs, the last one kept), one training of each on each set. Scores see
training rows alone. For every score and baseline: the weighted tau of its order with the truth (Vigna 2015), and the
regret, what the best of its first 1 or 3 lacks to the best of all. "other sets" is the mean place of a backbone on the
other sets of its modality, as the ledger gives it: what is left of a set is never asked about that set.

DATA holds the folders hymenoptera, cifar10, emoji, fashion, trec and ag_news; WEIGHTS squeezenet1_1-imagenet,
resnet20-cifar10, resnet56-cifar10 (each with model.safetensors) and stories260k-llama; MINILM is the folder of
all-MiniLM-L6-v2. What is in the file of `--keep` is not made again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

ROWS, EPOCHS = 400, 5
USER = Path(__file__).resolve().parents[1] / "tests" / "user"
DEAR = 300.0
"""Seconds above which a training is said to be slow."""


@dataclass(frozen=True)
class Set:
    """Rows and the modality of them that is read."""

    name: str
    path: str
    modality: str


@dataclass(frozen=True)
class Truth:
    """What came of one training."""

    set: str
    backbone: str
    value: float | None
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class Scores:
    """What each score and baseline says of one backbone on one set."""

    set: str
    backbone: str
    scores: Mapping[str, float]
    seconds: float
    """Of extraction and all scores."""
    params: int


def sets_of(data: Path) -> tuple[Set, ...]:
    """The seven sets."""
    image = ("hymenoptera", "cifar10", "emoji", "fashion")
    text = ("trec", "ag_news", "emoji")
    return (
        *(Set(f"{name}, image", str(data / name), "image") for name in image),
        *(Set(f"{name}, text", str(data / name), "text") for name in text),
    )


def backbones_of(weights: Path, minilm: Path) -> dict[str, tuple[tuple[str, str], ...]]:
    """Title and name of every candidate, by modality."""
    squeezenet = weights / "squeezenet1_1-imagenet" / "model.safetensors"
    stories = f"transformers/{weights / 'stories260k-llama'}"
    cifar = f"local:{USER / 'cifar_resnet.py'}"
    small, large = (weights / f"resnet{n}-cifar10" / "model.safetensors" for n in (20, 56))
    image = [
        ("squeezenet", f"torchvision/squeezenet1_1@{squeezenet}"),
        *((f"squeezenet[:{k}]", f"torchvision/squeezenet1_1[:{k}]@{squeezenet}") for k in (3, 2, 1)),
        ("squeezenet, random", "torchvision/squeezenet1_1@random"),
        ("resnet20", f"{cifar}:resnet20@{small}"),
        ("resnet20[:2]", f"{cifar}:resnet20[:2]@{small}"),
        ("resnet20, random", f"{cifar}:resnet20@random"),
        ("resnet56", f"{cifar}:resnet56@{large}"),
        ("resnet56[:2]", f"{cifar}:resnet56[:2]@{large}"),
        ("glyph-cnn", "starter/glyph-cnn"),
        ("glyph-cnn[:2]", "starter/glyph-cnn[:2]"),
        ("glyph-cnn, random", "starter/glyph-cnn@random"),
        ("pixels", "starter/pixels"),
    ]
    text = [
        ("minilm", f"transformers/{minilm}"),
        *((f"minilm[:{k}]", f"transformers/{minilm}[:{k}]") for k in (5, 3, 1)),
        ("minilm, random", f"transformers/{minilm}@random"),
        ("stories", stories),
        *((f"stories[:{k}]", f"{stories}[:{k}]") for k in (4, 2)),
        ("stories, random", f"{stories}@random"),
        ("bag-of-words", "starter/bag-of-words"),
        ("gru", "starter/gru"),
        ("lstm", "starter/lstm"),
        ("text-transformer", "starter/text-transformer"),
    ]
    return {"image": tuple(image), "text": tuple(text)}


def alone(work: Callable[..., Any], *given: Any) -> Any:
    """Carry it out in a process of its own with an empty cache."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(work, given, theirs))
    process.start()
    theirs.close()
    try:
        found = ours.recv()
    except EOFError:
        found = None
    process.join()
    return found


def _child(work: Callable[..., Any], given: tuple[Any, ...], answer: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ZOO_HOME"] = folder
        os.environ["ZOO_LEDGER"] = "off"
        import torch

        torch.set_num_threads(1)
        answer.send(work(*given, folder))


def trained(of: Set, title: str, name: str, folder: str) -> Truth:
    """One fine-tuning, measured on the held-out rows."""
    import zoo

    started = time.perf_counter()
    try:
        run = zoo.finetune(
            name,
            of.path,
            training=zoo.Training(strategy="lp-ft", epochs=EPOCHS, device="cpu"),
            read=zoo.ReadOptions(limit=ROWS, modalities=(of.modality,)),  # type: ignore[arg-type]
            out=zoo.Output(dir=folder),
            baseline="none",
        )
    except zoo.ZooError as error:
        return Truth(of.name, title, None, 0.0, error.what)
    return Truth(of.name, title, run.metrics["accuracy"], time.perf_counter() - started)


def scored(of: Set, title: str, name: str, folder: str) -> Scores | None:
    """Every score of one backbone; that of training rows alone."""
    del folder
    import zoo

    read = zoo.ReadOptions(limit=ROWS, modalities=(of.modality,))  # type: ignore[arg-type]
    started = time.perf_counter()
    try:
        found = zoo.rank(of.path, [name], scorers=["all"], read=read, device="cpu")
    except zoo.ZooError:
        return None
    each = found.ranked[0]
    values = {score: one.value for score, one in each.scores.items() if one.value is not None}
    return Scores(of.name, title, values, time.perf_counter() - started, each.params)


def table(truths: list[Truth], scores: list[Scores]) -> Iterator[str]:
    """Markdown: a line a score, a column a set, with tau and both regrets."""
    from scipy.stats import weightedtau

    truth = {(each.set, each.backbone): each.value for each in truths if each.value is not None}
    said: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for each in scores:
        for name, value in each.scores.items():
            said[name][each.set, each.backbone] = value
        said["parameters"][each.set, each.backbone] = float(each.params)
    names = list(dict.fromkeys(each.set for each in scores))
    said["knn + linear (zoo rank)"] = _mean_of(said["knn"], said["linear"], names)
    said["other sets"] = _elsewhere(truth, names)
    yield f"| score | {' | '.join(names)} | mean |"
    yield f"| --- |{' --- |' * (len(names) + 1)}"
    for score, values in said.items():
        cells, whole = [], []
        for name in names:
            own = [b for (s, b) in values if s == name and (s, b) in truth]
            if len(own) < 3:
                cells.append("")
                continue
            x, y = [values[name, b] for b in own], [truth[name, b] for b in own]
            tau = float(weightedtau(y, x).statistic) if len(set(x)) > 1 else 0.0
            first = sorted(own, key=lambda b: -values[name, b])
            best = max(y)
            regret = [best - max(truth[name, b] for b in first[:k]) for k in (1, 3)]
            whole.append((tau, *regret))
            cells.append(_cell(tau, *regret))
        mean = [sum(column) / len(whole) for column in zip(*whole, strict=True)] if whole else []
        yield f"| {score} | {' | '.join(cells)} | {_cell(*mean) if mean else ''} |"


def _cell(tau: float, one: float, three: float) -> str:
    return f"{tau:.2f} ({100 * one:.1f}, {100 * three:.1f})"


def _mean_of(one: Mapping[Any, float], other: Mapping[Any, float], names: list[str]) -> dict[tuple[str, str], float]:
    """Minus the mean of the places that two scores give, as `zoo rank` orders."""
    from scipy.stats import rankdata

    found: dict[tuple[str, str], float] = {}
    for name in names:
        own = [key for key in one if key[0] == name and key in other]
        if own:
            places = [rankdata([-of[key] for key in own]) for of in (one, other)]
            found |= {key: -float(sum(column)) / 2 for key, *column in zip(own, *places, strict=True)}
    return found


def _elsewhere(truth: Mapping[tuple[str, str], float], names: list[str]) -> dict[tuple[str, str], float]:
    """Minus the mean place of a backbone on the other sets."""
    from scipy.stats import rankdata

    places: dict[str, dict[str, float]] = {}
    for name in names:
        own = [b for (s, b) in truth if s == name]
        if own:
            places[name] = dict(zip(own, rankdata([-truth[name, b] for b in own]), strict=True))
    found: dict[tuple[str, str], float] = {}
    for name, own_places in places.items():
        for backbone in own_places:
            others = [each[backbone] for other, each in places.items() if other != name and backbone in each]
            if others:
                found[name, backbone] = -sum(others) / len(others)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("minilm", type=Path)
    parser.add_argument("--keep", type=Path, default=Path("ranking.jsonl"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", help="a word in the names of the sets")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    kept = [json.loads(line) for line in given.keep.read_text().splitlines()] if given.keep.is_file() else []
    truths = [Truth(**each) for each in kept if "value" in each]
    scores = [Scores(**each) for each in kept if "scores" in each]
    if given.table:
        return print("\n".join(table(truths, scores)))
    done = {("trained", each.set, each.backbone) for each in truths} | {("scored", e.set, e.backbone) for e in scores}
    everyone = backbones_of(given.weights, given.minilm)
    wanted = [
        (work, of, title, name)
        for of in sets_of(given.data)
        for title, name in everyone[of.modality]
        for work in (trained, scored)
        if (work.__name__, of.name, title) not in done and (given.only is None or given.only in of.name)
    ]
    with ThreadPoolExecutor(given.jobs) as pool:
        for count, made in enumerate(pool.map(lambda each: alone(*each), wanted), 1):
            if made is not None:
                with given.keep.open("a") as file:
                    file.write(json.dumps(asdict(made)) + "\n")
            print(f"{count}/{len(wanted)}  {_said(made)}", flush=True)
    return None


def _said(made: Truth | Scores | None) -> str:
    if made is None:
        return "nothing"
    if isinstance(made, Scores):
        return f"{made.set}  {made.backbone}  {len(made.scores)} scores in {made.seconds:.0f} s"
    slow = "  slow" if made.seconds > DEAR else ""
    value = made.error or f"{made.value:.3f} in {made.seconds:.0f} s"
    return f"{made.set}  {made.backbone}  {value}{slow}"


if __name__ == "__main__":
    main()
