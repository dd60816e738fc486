"""What past runs say of backbones on data that none of them has seen, and how good past rankings were."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean

from zoo.records.entries import PastRanking, PastRun

NEAREST = 10
"""Data sets that speak for a new one. In the table of Shao et al. (2022, https://arxiv.org/abs/2207.03036), 11 models
on 11 sets, the mean rank on 1, 3 and 10 others gave a weighted tau of 0.74, 0.80 and 0.84; the best score gave 0.71."""
_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".json")
_ANY = ("train", "val", "dev", "test", "data", "dataset", "metadata", "annotations")
"""Names that say nothing of what is in a file."""
DOUBT = 1.0
"""Data sets on which every backbone beat half of the others, imagined beside those that there are."""


@dataclass(frozen=True)
class DataFacts:
    """What is known of data before anything is trained on them."""

    name: str
    fingerprint: str
    task: str
    modalities: tuple[str, ...]
    rows: int
    """Of training."""
    classes: int


@dataclass(frozen=True)
class Past:
    """How a backbone fared on other data."""

    score: float
    """In [0, 1]: the share of other backbones that it beat, drawn to 1/2 where few data sets speak."""
    sets: int
    """Data sets that this comes from."""
    runs: int
    """Runs of this backbone on them."""


@dataclass(frozen=True)
class Regret:
    """What following a ranking would have cost, or did."""

    data: str
    metric: str
    time: str
    """Of the ranking."""
    candidates: int
    """Of the ranking, that were fine-tuned on these data in the same way."""
    at_1: float
    """The best of their values, less that of the first: 0 if the first was the best; in units of the metric."""
    at_3: float | None
    """The same of the best of the first three; None for fewer than four, where it says nothing."""


def prior(
    backbones: Iterable[str], data: DataFacts, runs: Sequence[PastRun], *, nearest: int = NEAREST, doubt: float = DOUBT
) -> dict[str, Past]:
    """How each backbone fared on the past data sets that are most like these; without those of which nothing is known.

    A data set says of backbone b the share of other backbones that b beat there,

        s_d(b) = (wins + ties / 2) / comparisons = 1 - (rank - 1) / (n - 1) for n backbones under one strategy,

    where two backbones are compared if both were trained on the same rows of d by the same strategy and head, by the
    mean over their seeds. Of the k data sets nearest to the new ones that know b, with m = `doubt`,

        score(b) = (sum of s_d(b) + m / 2) / (k + m).

    Near is a small |ln(N / N_d)| + |ln(K / K_d)| + (1 if the modalities differ), for N training rows and K classes.
    The new data themselves never count, nor do data of another kind of task, nor runs on rows that leak.

    Args:
        backbones: names with weights, as in the ledger.
        data: the new data.
        runs: the ledger's.
        nearest: k.
        doubt: m, the weight of knowing nothing.

    Reference: average ranks over the nearest data sets, Brazdil, Soares and da Costa 2003, "Ranking Learning
    Algorithms", https://doi.org/10.1023/A:1021713901879; for pretrained models Arango et al. 2024, "Quick-Tune",
    https://arxiv.org/abs/2306.03828.
    """
    others = [run for run in _telling(runs) if _family(run.task) == _family(data.task) and not _same(run, data)]
    by_set: dict[str, list[PastRun]] = defaultdict(list)
    for run in others:
        by_set[_set_of(run)].append(run)
    sets = sorted(by_set.values(), key=lambda found: (_distance(found, data), found[0].data))
    shares = [_shares(found) for found in sets]
    known = {}
    for backbone in dict.fromkeys(backbones):
        told = [index for index, share in enumerate(shares) if backbone in share][:nearest]
        if told:
            total = sum(shares[index][backbone] for index in told)
            count = sum(run.backbone == backbone for index in told for run in sets[index])
            known[backbone] = Past((total + doubt / 2) / (len(told) + doubt), len(told), count)
    return known


def regret(rankings: Sequence[PastRanking], runs: Sequence[PastRun]) -> list[Regret]:
    """What each past ranking would have cost whom it was followed by, as far as its candidates were fine-tuned.

    Regret at k is max over all candidates - max over the k that were ranked first, of the metric on held-out rows, both
    over the candidates that were trained on those data by one strategy, in the order of the ranking; where there are
    several strategies or numbers of rows, the mean over those under which most were. Rankings of which fewer than two
    candidates were fine-tuned are left out.
    """
    telling = _telling(runs)
    found = []
    for ranking in rankings:
        facts = DataFacts(ranking.data, ranking.fingerprint, ranking.task, ranking.modalities, ranking.rows, 0)
        mine = [run for run in telling if run.backbone in ranking.order and _same(run, facts)]
        costs = [(_costs(ranking.order, values), key) for key, values in _alike(mine).items() if len(values) > 1]
        if not costs:
            continue
        most = max(len(cost) for cost, _ in costs)
        costs = [each for each in costs if len(each[0]) == most]
        costs = [each for each in costs if each[1].metric == costs[0][1].metric]
        found.append(
            Regret(
                data=ranking.data,
                metric=costs[0][1].metric,
                time=ranking.time,
                candidates=most,
                at_1=mean(cost[0] for cost, _ in costs),
                at_3=mean(cost[2] for cost, _ in costs) if most > 3 else None,
            )
        )
    return found


@dataclass(frozen=True)
class _Way:
    """What runs must share to be compared."""

    data: str
    split: str
    metric: str
    greater: bool
    strategy: str
    head: str | None
    rows: int


def _telling(runs: Iterable[PastRun]) -> list[PastRun]:
    return [run for run in runs if run.value is not None and math.isfinite(run.value) and not run.leak]


def _alike(runs: Iterable[PastRun]) -> dict[_Way, dict[str, float]]:
    """The value of each backbone, greater is better, by what the runs share: the mean over its seeds."""
    found: dict[_Way, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        way = _Way(_set_of(run), run.split, run.metric, run.greater, run.strategy, run.head, run.rows)
        assert run.value is not None
        found[way][run.backbone].append(run.value if run.greater else -run.value)
    return {way: {name: mean(values) for name, values in each.items()} for way, each in found.items()}


def _shares(runs: Sequence[PastRun]) -> dict[str, float]:
    """The share of other backbones that each beat on one data set, over all ways in which they were compared."""
    won: dict[str, float] = defaultdict(float)
    compared: dict[str, int] = defaultdict(int)
    for values in _alike(runs).values():
        for one, other in combinations(sorted(values), 2):
            apart = values[one] - values[other]
            won[one] += 1.0 if apart > 0 else 0.5 if apart == 0 else 0.0
            won[other] += 1.0 if apart < 0 else 0.5 if apart == 0 else 0.0
            compared[one] += 1
            compared[other] += 1
    return {name: won[name] / count for name, count in compared.items()}


def _costs(order: Sequence[str], values: Mapping[str, float]) -> list[float]:
    """Regret at 1, 2, 3, ... of the candidates that have a value."""
    placed = [values[name] for name in order if name in values]
    return [max(placed) - max(placed[:k]) for k in range(1, len(placed) + 1)]


def _distance(runs: Sequence[PastRun], data: DataFacts) -> float:
    rows, classes = max(run.rows for run in runs), max(run.classes for run in runs)
    modalities = {each for run in runs for each in run.modalities}
    apart = abs(math.log(max(rows, 1) / max(data.rows, 1))) + abs(math.log(max(classes, 1) / max(data.classes, 1)))
    return apart + (modalities != set(data.modalities))


def _set_of(run: PastRun) -> str:
    return set_name(run.data) or run.fingerprint


def set_name(data: str) -> str:
    """What a data set is called wherever it lies and whatever was kept of its rows: photos of ../photos/train.parquet.

    Fingerprints tell more than is wanted here: they change with every limit and every seed of a split.
    """
    parts = [part for part in data.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    while parts:
        stem = parts[-1].partition(".")[0] if parts[-1].lower().endswith(_ENDINGS) else parts[-1]
        if stem.lower() not in _ANY or len(parts) == 1:
            return stem
        parts.pop()
    return ""


def _same(run: PastRun, data: DataFacts) -> bool:
    return run.fingerprint == data.fingerprint or _set_of(run) == (set_name(data.name) or data.fingerprint)


def _family(task: str) -> str:
    """Kinds of task on which the same backbones are good, as far as a first guess goes."""
    return "multiclass" if task == "binary" else task
