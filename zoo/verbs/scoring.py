"""What is measured of one candidate: features of the rows once, and every score of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.spec import Modality, ScorerSpec
from zoo.data.identity import content_of
from zoo.data.types import Examples, Task
from zoo.errors import DataError, UsageError, ZooError
from zoo.models.backbone import Backbone
from zoo.records import cache as features_cache
from zoo.records import outcomes as kept
from zoo.scoring.order import ORDERING, Scored, scored
from zoo.verbs.candidates import Candidate, opened
from zoo.verbs.contenders import identity
from zoo.verbs.extract import extract, parts_of
from zoo.verbs.run import Event, Watch

TIMED = 32
"""Rows that tell how long one takes."""


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
class Extracted:
    """Features of a candidate, and what they took."""

    features: NDArray[np.float32]
    """(N, D), the parts of `a+b` balanced."""
    rows: Examples
    """With what the backbone takes."""
    modalities: tuple[Modality, ...]
    params: int
    seconds: float
    """Of loading and extraction."""
    ms_per_row: float | None
    """None: they were kept."""


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
    max_ms: float | None = None
    """A row, at most."""

    def opened(self, candidate: Candidate) -> tuple[Backbone, Examples]:
        """The backbone, and the rows with what it takes.

        Raises:
            UsageError: it takes longer a row than it may.
        """
        backbone = opened(candidate, self.rows, pooling=self.pooling, offline=self.offline, seed=self.seed)
        rows = only(self.rows, backbone.modalities)
        if self.max_ms is not None and (taken := self._ms(backbone, rows)) > self.max_ms:
            raise UsageError(f"it takes {taken:.1f} ms a row, more than --max-ms {self.max_ms:g}")
        return backbone, rows

    def _ms(self, backbone: Backbone, rows: Examples) -> float:
        """A row, of the first few, in batches as extraction has them."""
        extract(backbone, rows.select(range(min(2, len(rows)))), device=self.device, cache=False)  # what is set up once
        some = rows.select(range(min(TIMED, len(rows))))
        began = time.perf_counter()
        extract(backbone, some, device=self.device, cache=False)
        return 1000 * (time.perf_counter() - began) / len(some)

    def extracted(self, candidate: Candidate) -> Extracted:
        """Features of the rows, which are kept for whoever asks for them next."""
        started = time.perf_counter()
        backbone, rows = self.opened(candidate)
        began = time.perf_counter()
        doing = f"extracting {candidate.title}"
        found = extract(
            backbone,
            rows,
            device=self.device,
            progress=lambda done: self.watch(Event(doing=doing, done=done, total=len(rows))),
            say=lambda text: self.watch(Event(note=text)),
        )
        ended = time.perf_counter()
        # Of a+b each part has an entry of its own.
        kept.write(self._mark(candidate), {}, {"entry": found.key if len(candidate.selections) == 1 else None})
        return Extracted(
            features=balanced(found.features, [part.columns for part in parts_of(backbone)]),
            rows=rows,
            modalities=backbone.modalities,
            params=sum(p.numel() for p in backbone.parameters()),
            seconds=ended - started,
            ms_per_row=None if found.cached else 1000 * (ended - began) / len(rows),
        )

    def is_kept(self, candidate: Candidate) -> bool:
        """Whether features of these rows were kept by an earlier ranking; told without loading the backbone."""
        known = kept.read(self._mark(candidate))
        return known is not None and (known[1]["entry"] is None or features_cache.has(known[1]["entry"]))

    def _mark(self, candidate: Candidate) -> str:
        """Where it is written down that the features are kept."""
        import zoo

        return features_cache.key_of(
            ranked=1,
            zoo=zoo.__version__,
            backbone=candidate.name,
            identity=identity(candidate.selections),
            pooling=self.pooling,
            seed=self.seed if any(each.weights is None for each in candidate.selections) else None,
            rows={m: content_of(self.rows, m) for m in sorted(candidate.modalities & set(self.rows.inputs))},
        )

    def seen(self, candidate: Candidate) -> Seen:
        """Features of the rows, and every score of them."""
        found = self.extracted(candidate)
        gc.collect()
        began = time.perf_counter()
        scores, failures = self._scores(candidate, found.features, found.rows)
        return Seen(
            scores,
            failures,
            found.modalities,
            found.params,
            found.features.shape[1],
            found.seconds,
            found.ms_per_row,
            time.perf_counter() - began,
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
        by = [spec.name for spec in self.specs if spec.name in ORDERING]
        if not scores and not failures:
            raise UsageError(
                f"{candidate.title} brings no head of its own classes, which {self.specs[0].name} asks for",
                help="name a finished run, or another score such as knn",
            )
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
