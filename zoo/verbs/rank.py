"""Backbones ranked on new data before any is fine-tuned: features once, scores on them, baselines beside them."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.discovery import default_catalog
from zoo.catalog.spec import Modality, ScorerSpec
from zoo.data.splits import split_rows
from zoo.data.types import MANY_ANSWERS, Dataset, Examples, ReadOptions, Task
from zoo.errors import DataError, UnknownNameError, UsageError, ZooError
from zoo.models.backbone import Backbone
from zoo.records.prior import Past
from zoo.scoring.order import ORDERING, Scored, places, scored
from zoo.transfer.metrics import primary
from zoo.verbs.candidates import Candidate, Filters, named, opened, suiting
from zoo.verbs.check import opened_data
from zoo.verbs.extract import extract, parts_of
from zoo.verbs.past import prior_of, with_regret, write_ranking
from zoo.verbs.ranking import Ranked, Ranking
from zoo.verbs.run import Event, Watch

SHOWN = (*ORDERING, "logme", "h-score")
"""Scores that are computed where none are named."""
ROWS = 2_000
"""Training rows, at most, that are looked at where no other limit is given."""


def rank(
    data: str | Path | Dataset,
    backbones: Sequence[str] = (),
    *,
    filters: Filters | None = None,
    scorers: Sequence[str] | None = None,
    limit: int = ROWS,
    pooling: str | None = None,
    finetune: int = 0,
    budget: str = "5m",
    prior: Mapping[str, Past] | None = None,
    device: str = "auto",
    seed: int = 0,
    read: ReadOptions | None = None,
    offline: bool = False,
    watch: Watch | None = None,
) -> Ranking:
    """Rank backbones by scores of their frozen features on training rows; held-out rows are never looked at.

    Args:
        data: a folder, a table, the name of a data set, or a `Dataset`.
        backbones: names, `a+b`, or globs such as "torchvision/resnet*"; of the catalogue those that take the data and
            have their weights on this machine, if none are named.
        filters: of globs, and of the catalogue.
        scorers: names, or "all"; knn, linear, logme and h-score if None. The first two make the order.
        limit: training rows, at most, in a sample that keeps the shares of the classes.
        pooling: native, cls, mean, max or last.
        finetune: how many of the best are then fine-tuned shortly, on the rows that were looked at.
        budget: for these together, such as "90s" or "5m".
        prior: how backbones fared elsewhere, by name; shown beside the order. None: what the ledger knows.
        device: auto, cpu, cuda or cuda:1; scores are computed on the CPU.
        seed: of the sample, of intervals and of random weights.
        read: how to read the data.
        offline: never touch the network.
        watch: called with notes, and with rows and candidates as they are done.

    Raises:
        DataError, UsageError: bad input, each with its mend. A candidate that fails is in `Ranking.failures`.
    """
    started = time.perf_counter()
    filters, watch = filters or Filters(), watch or (lambda event: None)
    check_numbers(limit, finetune, budget)
    chosen = named(backbones, filters, offline=offline)
    dataset = dataset_for(data, chosen, read)
    specs = scorers_for(scorers, dataset.task)
    chosen = chosen if backbones else suiting(dataset, filters)
    rows, notes = looked_at(dataset, limit, seed)
    for note in (*dataset.notes, *notes):
        watch(Event(note=f"note: {note}"))
    job = Job(dataset.task, rows, specs, pooling, device, seed, offline, watch)
    found: list[tuple[Candidate, Seen]] = []
    failures: dict[str, str] = {}
    for candidate in chosen:
        try:
            seen = job.seen(candidate)
        except Exception as error:  # noqa: BLE001  (one candidate costs a line, not the run)
            failures[candidate.name] = said(error)
            watch(Event(note=f"{candidate.name}: left out: {failures[candidate.name]}"))
            continue
        failures |= {f"{name} of {candidate.name}": why for name, why in seen.failures.items()}
        found.append((candidate, seen))
    if not found:
        raise UsageError(
            "no candidate could be scored",
            details=[f"{name}: {why}" for name, why in failures.items()],
            help="name backbones that take these data: zoo rank DATA torchvision/resnet18",
        )
    if prior is None:
        prior = prior_of([candidate.name for candidate, _ in found], dataset)
    ranking = with_regret(_ranking(dataset, rows, specs, found, failures, prior, (*dataset.notes, *notes)))
    write_ranking(ranking, dataset)
    if finetune:
        from zoo.verbs.rank_finetune import finetuned

        ranking = finetuned(ranking, {each.name: each for each, _ in found}, job, count=finetune, budget=budget)
    return replace(ranking, seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class Seen:
    """What was measured of a candidate."""

    scores: Mapping[str, Scored]
    failures: Mapping[str, str]
    modalities: tuple[str, ...]
    params: int
    dim: int
    extract_seconds: float
    ms_per_row: float | None
    score_seconds: float


@dataclass(frozen=True)
class Job:
    """The terms on which every candidate is looked at."""

    task: Task
    rows: Examples
    """With every modality that the data have."""
    specs: tuple[ScorerSpec, ...]
    pooling: str | None
    device: str
    seed: int
    offline: bool
    watch: Watch

    def opened(self, candidate: Candidate) -> tuple[Backbone, Examples]:
        """The backbone, and the rows with what it takes."""
        backbone = opened(candidate, self.rows, pooling=self.pooling, offline=self.offline, seed=self.seed)
        return backbone, only(self.rows, backbone.modalities)

    def seen(self, candidate: Candidate) -> Seen:
        """Features of the rows, and every score of them."""
        started = time.perf_counter()
        backbone, rows = self.opened(candidate)
        began = time.perf_counter()
        doing = f"extracting {candidate.name}"
        found = extract(
            backbone,
            rows,
            device=self.device,
            progress=lambda done: self.watch(Event(doing=doing, done=done, total=len(rows))),
            say=lambda text: self.watch(Event(note=text)),
        )
        extracted = time.perf_counter()
        features = balanced(found.features, [part.columns for part in parts_of(backbone)])
        params = sum(p.numel() for p in backbone.parameters())
        modalities, dim = backbone.modalities, found.features.shape[1]
        del backbone
        gc.collect()
        scores, failures = self._scores(candidate, features, rows)
        return Seen(
            scores,
            failures,
            modalities,
            params,
            dim,
            extracted - started,
            None if found.cached else 1000 * (extracted - began) / len(rows),
            time.perf_counter() - extracted,
        )

    def _scores(
        self, candidate: Candidate, features: NDArray[np.float32], rows: Examples
    ) -> tuple[dict[str, Scored], dict[str, str]]:
        scores: dict[str, Scored] = {}
        failures: dict[str, str] = {}
        targets = as_scored(self.task, rows.targets)
        for spec in self.specs:
            try:
                given: NDArray[Any] | None = features if spec.needs == "features" else self._source(candidate, rows)
                if given is None:  # most candidates have no source head; the cell stays empty
                    continue
                scores[spec.name] = scored(spec, given, targets, seed=self.seed)
            except Exception as error:  # noqa: BLE001  (a score costs a line, not the candidate)
                failures[spec.name] = said(error)
                self.watch(Event(note=f"{spec.name} of {candidate.name}: left out: {failures[spec.name]}"))
        by = [spec.name for spec in self.specs if spec.name in ORDERING]
        if not scores or (by and not set(by) & set(scores)):
            raise DataError(next(iter(failures.values()), "no score can be had from its features"))
        return scores, failures

    def _source(self, candidate: Candidate, rows: Examples) -> NDArray[np.float32] | None:
        """(N, Z) what the source's own head says of the rows; None where it has none."""
        if candidate.run is None:
            return None
        from zoo.transfer.devices import choose_device
        from zoo.transfer.trained import load_trained

        trained = load_trained(candidate.run, device=choose_device(self.device))
        if trained.task.kind not in ("binary", "multiclass"):
            return None
        return np.asarray(trained.predict(only(rows, trained.backbone.modalities)), dtype=np.float32)


def scorers_for(names: Sequence[str] | None, task: Task) -> tuple[ScorerSpec, ...]:
    """The scores of these names; all that suit the task for "all", the usual ones for None.

    Raises:
        UnknownNameError: no score has that name.
        UsageError: one is not for this kind of task.
    """
    known = default_catalog().scorers
    if names is None:
        return tuple(known[name] for name in SHOWN if task.kind in known[name].tasks)
    if list(names) == ["all"]:
        return tuple(spec for spec in known.values() if task.kind in spec.tasks)
    if not names:
        raise UsageError("no score is named", help=f"there are {', '.join(known)}")
    found = []
    for name in dict.fromkeys(names):
        if name not in known:
            raise UnknownNameError("scorer", name, known, help=f"there are {', '.join(known)}")
        if task.kind not in known[name].tasks:
            suit = ", ".join(spec.name for spec in known.values() if task.kind in spec.tasks)
            raise UsageError(f"the score {name} is not for a task of {task.kind}", help=f"use {suit}")
        found.append(known[name])
    return tuple(found)


def check_numbers(limit: int, finetune: int, budget: str) -> None:
    """Refuse what would be noticed after minutes.

    Raises:
        UsageError: a number that cannot be meant.
    """
    from zoo.transfer.budget import budget_seconds

    if limit < 4:
        raise UsageError(f"--limit {limit} is too few rows to rank by", help="give a number such as 2000")
    if finetune < 0:
        raise UsageError(f"--finetune {finetune} is below 0", help="give the number of candidates, such as 3")
    budget_seconds(budget)


def looked_at(data: Dataset, limit: int, seed: int) -> tuple[Examples, tuple[str, ...]]:
    """Training rows, each content once, at most `limit` of them and of each class its share; and that in words.

    Raises:
        UsageError: a task with many answers a row.
    """
    if data.task.kind in MANY_ANSWERS:
        raise UsageError(
            f"zoo rank scores one answer a row, and this is a task of {data.task.kind}",
            help="give labels, several labels or numbers; or compare fine-tuned runs",
        )
    train, notes = data.splits["train"], []
    first = list(dict(zip(reversed(train.ids), reversed(range(len(train))), strict=True)).values())[::-1]
    if len(first) < len(train):
        notes.append(f"{len(train) - len(first):,} training rows are copies of others and are left out")
        train = train.select(sorted(first))
    if len(train) > limit:
        kept, _ = split_rows(train, data.task, share=1 - limit / len(train), seed=seed)
        notes.append(f"{len(kept):,} of {len(train):,} training rows are looked at (--limit)")
        train = train.select(kept)
    return train, tuple(notes)


def as_scored(task: Task, targets: NDArray[Any] | None) -> NDArray[Any]:
    """Targets as a score takes them."""
    assert targets is not None
    if task.kind == "multilabel":
        return np.asarray(targets) > 0.5
    return np.asarray(targets, dtype=np.float64 if task.kind == "regression" else np.int64)


def balanced(features: NDArray[np.float32], parts: Sequence[slice]) -> NDArray[np.float32]:
    """Features in which each part of `a+b` has the same variance in all, so that none drowns the others."""
    if len(parts) < 2:
        return features
    found = features.astype(np.float64)
    for part in parts:
        own = found[:, part]
        spread = float(np.sqrt(own.var(0).sum()))
        if spread > 0:
            found[:, part] = own / spread
    return found.astype(np.float32)


def only(rows: Examples, modalities: Sequence[Modality]) -> Examples:
    """The rows without the modalities that are not taken."""
    return replace(rows, inputs={each: rows.inputs[each] for each in modalities})


def said(error: BaseException) -> str:
    """What went wrong in one line."""
    if isinstance(error, ZooError):
        return error.what + (f" ({error.help})" if error.help else "")
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"


def dataset_for(data: str | Path | Dataset, chosen: Sequence[Candidate], read: ReadOptions | None) -> Dataset:
    """The data with what the candidates take, where each of them takes one modality; with all that they have else."""
    if isinstance(data, Dataset):
        return data
    read = read or ReadOptions()
    parts = [part for each in chosen for part in each.selections]
    if parts and read.modalities is None and all(len(part.towers) == 1 for part in parts):
        wanted = {part.towers[0] for part in parts}
        read = replace(read, modalities=tuple(m for m in ("image", "text", "audio") if m in wanted))
    return opened_data(data, read)


def _ranking(
    data: Dataset,
    rows: Examples,
    specs: Sequence[ScorerSpec],
    found: Sequence[tuple[Candidate, Seen]],
    failures: Mapping[str, str],
    prior: Mapping[str, Past],
    notes: tuple[str, ...],
) -> Ranking:
    shown = [spec.name for spec in specs if any(spec.name in seen.scores for _, seen in found)]
    by = [name for name in shown if name in ORDERING] or shown
    place, mean = places([seen.scores for _, seen in found], by)
    ranked = [
        Ranked(
            backbone=candidate.name,
            place=place[index],
            mean_rank=mean[index],
            scores=seen.scores,
            modalities=seen.modalities,
            params=seen.params,
            dim=seen.dim,
            licence=candidate.licence,
            published=candidate.published,
            prior=prior.get(candidate.name),
            extract_seconds=seen.extract_seconds,
            ms_per_row=seen.ms_per_row,
            score_seconds=seen.score_seconds,
        )
        for index, (candidate, seen) in enumerate(found)
    ]
    ranked.sort(key=lambda each: (each.place, each.mean_rank, each.params, each.backbone))
    return Ranking(
        data=data.name,
        task=data.task,
        rows=len(rows),
        train_rows=len(data.splits["train"]),
        scorers=tuple(shown),
        by=tuple(by),
        ranked=tuple(ranked),
        failures=failures,
        seconds=0.0,
        metric=primary(data.task),
        notes=notes,
    )
