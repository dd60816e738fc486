"""Backbones ranked on new data before any is fine-tuned: features once, scores on them, baselines beside them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.discovery import default_catalog
from zoo.catalog.spec import ScorerSpec
from zoo.data.splits import split_rows
from zoo.data.types import MANY_ANSWERS, Dataset, Examples, ReadOptions, Task
from zoo.errors import UnknownNameError, UsageError, ZooError
from zoo.models.features import Pooling
from zoo.records.prior import Past
from zoo.scoring.order import ORDERING, places
from zoo.transfer.devices import choose_device
from zoo.transfer.metrics import primary
from zoo.verbs.candidates import Candidate, Filters, named, suiting
from zoo.verbs.check import opened_data
from zoo.verbs.executors import Fault, Pieces, carried_out, check_executor, gpus_of
from zoo.verbs.past import prior_of, with_regret, write_ranking
from zoo.verbs.ranking import Ranked, Ranking
from zoo.verbs.run import Event, Watch
from zoo.verbs.scoring import Job, Seen, said

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
    executor: str = "local",
    jobs: int | None = None,
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
        executor: "local", or "ray" for a Ray cluster.
        jobs: candidates at once; None: one for each GPU, or one.
        offline: never touch the network.
        watch: called with notes, and with rows and candidates as they are done.

    Raises:
        DataError, UsageError: bad input, each with its mend. A candidate that fails is in `Ranking.failures`.
    """
    filters = filters or Filters()
    check_numbers(limit, finetune, budget, filters)
    check_names(device, pooling)
    check_executor(executor, jobs)
    field = field_of(
        data,
        backbones,
        filters=filters,
        scorers=scorers,
        limit=limit,
        pooling=pooling,
        device=device,
        seed=seed,
        read=read,
        offline=offline,
        watch=watch,
    )
    return ranked(field, finetune=finetune, budget=budget, prior=prior, executor=executor, jobs=jobs)


def ranked(
    field: Field,
    *,
    finetune: int = 0,
    budget: str = "5m",
    prior: Mapping[str, Past] | None = None,
    executor: str = "local",
    jobs: int | None = None,
) -> Ranking:
    """The candidates in their order; arguments are those of `rank`.

    Raises:
        UsageError: no candidate could be scored.
    """
    found, failures = _scored(field, executor, jobs)
    if not found:
        raise UsageError(
            "no candidate could be scored",
            details=[f"{name}: {why}" for name, why in failures.items()],
            help="name backbones that take these data: zoo rank DATA torchvision/resnet18",
        )
    if prior is None:
        prior = prior_of([candidate.name for candidate, _ in found], field.data)
    ranking = with_regret(_ranking(field, found, failures, prior))
    write_ranking(ranking, field.data)
    if finetune:
        from zoo.verbs.rank_finetune import finetuned

        ranking = finetuned(ranking, {each.name: each for each, _ in found}, field.job, count=finetune, budget=budget)
    return replace(ranking, seconds=time.perf_counter() - field.began)


@dataclass(frozen=True)
class Field:
    """Who is ranked, and on what terms."""

    data: Dataset
    candidates: tuple[Candidate, ...]
    job: Job
    notes: tuple[str, ...]
    began: float
    """When the data began to be read, by `time.perf_counter`."""


def field_of(
    data: str | Path | Dataset,
    backbones: Sequence[str],
    *,
    filters: Filters,
    scorers: Sequence[str] | None,
    limit: int,
    pooling: str | None,
    device: str,
    seed: int,
    read: ReadOptions | None,
    offline: bool,
    watch: Watch | None,
) -> Field:
    """The candidates, and the rows that they are looked at on; nothing is loaded. Arguments are those of `rank`.

    Raises:
        DataError, UsageError: bad input, each with its mend.
    """
    began, watch = time.perf_counter(), watch or _unseen
    chosen = named(backbones, filters, offline=offline)
    dataset = dataset_for(data, chosen, read)
    specs = scorers_for(scorers, dataset.task)
    chosen = chosen if backbones else suiting(dataset, filters)
    rows, notes = looked_at(dataset, limit, seed)
    for note in (*dataset.notes, *notes):
        watch(Event(note=f"note: {note}"))
    job = Job(dataset.task, rows, specs, pooling, device, seed, offline, watch, filters.max_ms)
    return Field(dataset, chosen, job, (*dataset.notes, *notes), began)


def extract_one(field: Field, name: str) -> bool:
    """Compute and keep the features of one candidate, in this process; False: they were kept already.

    Raises:
        UnknownNameError: no candidate has that name.
        ZooError: what keeps the candidate from these data.
    """
    candidates = {each.name: each for each in field.candidates}
    if name not in candidates:
        raise UnknownNameError(
            "job", name, candidates, help="the same command with --dry-run shows those that are left"
        )
    check_names(field.job.device, field.job.pooling)
    if field.job.is_kept(candidates[name]):
        return False
    field.job.extracted(candidates[name])
    return True


def _scored(field: Field, executor: str, jobs: int | None) -> tuple[list[tuple[Candidate, Seen]], dict[str, str]]:
    """What was seen of each candidate, and why others were left out; both in the order of the candidates."""
    watch, away = field.job.watch, replace(field.job, watch=_unseen)
    pieces = Pieces(field.candidates, do=away.seen, here=field.job.seen, name=lambda each: each.name, whole="ranking")
    gpus = gpus_of(str(choose_device(field.job.device)))
    answers: dict[str, Seen | ZooError] = {}
    for candidate, seen in carried_out(pieces, executor=executor, jobs=jobs, gpus=gpus):
        answers[candidate.name] = seen
        for name, why in _failures(candidate, seen).items():
            watch(Event(note=f"{name}: left out: {why}"))
        watch(Event(doing="ranking", done=1, total=len(field.candidates)))
    if len(answers) == 1 and isinstance(seen, ZooError) and not isinstance(seen, Fault):
        raise seen
    found: list[tuple[Candidate, Seen]] = []
    failures: dict[str, str] = {}
    for candidate in field.candidates:
        seen = answers[candidate.name]
        failures |= _failures(candidate, seen)
        if not isinstance(seen, ZooError):
            found.append((candidate, seen))
    return found, failures


def _unseen(event: Event) -> None:
    """Nobody watches another process."""


def _failures(candidate: Candidate, seen: Seen | ZooError) -> dict[str, str]:
    if isinstance(seen, ZooError):
        return {candidate.name: said(seen)}
    return {f"{name} of {candidate.name}": why for name, why in seen.failures.items()}


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


def check_numbers(limit: int, finetune: int, budget: str, filters: Filters) -> None:
    """Refuse what would be noticed after minutes.

    Raises:
        UsageError: a number that cannot be meant.
    """
    from zoo.transfer.budget import budget_seconds

    if limit < 4:
        raise UsageError(f"--limit {limit} is too few rows to rank by", help="give a number such as 2000")
    if finetune < 0:
        raise UsageError(f"--finetune {finetune} is below 0", help="give the number of candidates, such as 3")
    if filters.max_ms is not None and not filters.max_ms > 0:
        raise UsageError(f"--max-ms {filters.max_ms:g} is not above 0", help="give milliseconds a row, such as 20")
    budget_seconds(budget)


def check_names(device: str, pooling: str | None) -> None:
    """Refuse what would otherwise be said of every candidate in turn.

    Raises:
        UsageError: no such device or pooling.
    """
    choose_device(device)
    if pooling is not None and pooling not in get_args(Pooling):
        raise UnknownNameError("pooling", pooling, get_args(Pooling), help=f"use {', '.join(get_args(Pooling))}")


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
        kept = _at_most(train, data.task, limit, seed)
        notes.append(f"{len(kept):,} of {len(train):,} training rows are looked at (--limit)")
        train = train.select(kept)
    return train, tuple(notes)


def _at_most(train: Examples, task: Task, limit: int, seed: int) -> NDArray[np.int64]:
    """Row numbers in which each class has its share, and at least a row where there are as many."""
    kept, _ = split_rows(train, task, share=1 - limit / len(train), seed=seed)
    classes = train.targets if task.kind in ("binary", "multiclass") else None
    strata = np.zeros(len(kept), dtype=np.int64) if classes is None else np.asarray(classes)[kept]
    while len(kept) > limit:  # shares are rounded: the greatest class can spare a row best
        spared = np.flatnonzero(strata == np.bincount(strata).argmax())[-1]
        kept, strata = np.delete(kept, spared), np.delete(strata, spared)
    return kept


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
    field: Field,
    found: Sequence[tuple[Candidate, Seen]],
    failures: Mapping[str, str],
    prior: Mapping[str, Past],
) -> Ranking:
    data = field.data
    shown = [spec.name for spec in field.job.specs if any(spec.name in seen.scores for _, seen in found)]
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
        rows=len(field.job.rows),
        train_rows=len(data.splits["train"]),
        scorers=tuple(shown),
        by=tuple(by),
        ranked=tuple(ranked),
        failures=failures,
        seconds=0.0,
        metric=primary(data.task),
        notes=field.notes,
    )
