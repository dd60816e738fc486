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
from zoo.data.types import Examples, Task
from zoo.errors import DataError, UsageError, ZooError
from zoo.models.backbone import Backbone
from zoo.scoring.order import ORDERING, Scored, scored
from zoo.verbs.candidates import Candidate, opened
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

    def seen(self, candidate: Candidate) -> Seen:
        """Features of the rows, and every score of them."""
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
