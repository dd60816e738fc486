"""A finished training beside what the source knew, a frozen probe and training from scratch, on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.discovery import default_catalog
from zoo.data.types import Examples, Task
from zoo.models.backbone import Backbone
from zoo.models.composed import is_pretrained
from zoo.records.runs import RunFolder
from zoo.transfer.against import OURS, TITLES, verdicts
from zoo.transfer.baseline import random_twin, reloaded
from zoo.transfer.options import Training
from zoo.transfer.probe import predict, solve
from zoo.transfer.solvers import only_solved
from zoo.transfer.trained import Trained, load_trained, set_pooling
from zoo.verbs.config import Output, RunConfig
from zoo.verbs.run import Event
from zoo.verbs.session import Session
from zoo.verbs.sidebyside import Candidate, SideBySide, side_by_side
from zoo.verbs.spaces import Naming, name_classes, open_space, rows_of

FOLDER = "against"
"""Of the runs that were trained for comparison, within the run's own."""
Predictions = NDArray[Any]


@dataclass(frozen=True)
class Against:
    """The fine-tuned model beside others."""

    table: SideBySide
    absent: Mapping[str, str]
    """Those that could not be had, and why."""
    notes: tuple[str, ...]
    """What the differences say."""

    def to_json(self) -> dict[str, Any]:
        """The stable keys of `against` in a run."""
        return {**self.table.to_json(), "absent": dict(self.absent), "notes": list(self.notes)}


class _Absent(Exception):  # noqa: N818  (an answer, not a fault)
    """There is no such contender, and why."""


def set_against(session: Session, trained: Trained, folder: RunFolder, stop: Callable[[], bool]) -> Against | None:
    """The contenders that were asked for, each measured on the held-out rows; None: none were asked for.

    What was trained before a stop is not trained again.

    Raises:
        Interrupted: `stop` said so.
    """
    names = [name for name in TITLES if name in session.config.against]
    if not names:
        return None
    held = session.data.splits[session.data.held_out]
    ours = trained.predict(held, batch_size=session.batch_size())
    candidates = [Candidate(OURS, session.backbone.name, session.params, folder.path, ours)]
    absent: dict[str, str] = {}
    named: dict[str, str] = {}
    for name in names:
        session.watch(Event(note=f"against: {TITLES[name]}"))
        try:
            candidates.append(_contender(name, session, folder, held, stop))
            named[candidates[-1].title] = name
        except _Absent as reason:
            absent[name] = str(reason)
    pairs = [(OURS, title) for title in named]
    table = side_by_side(session.data.task, session.data.held_out, held, candidates, pairs)
    return Against(table, absent, verdicts({named[other]: each for _, other, each in table.differences}))


def _contender(name: str, session: Session, folder: RunFolder, held: Examples, stop: Callable[[], bool]) -> Candidate:
    if name == "source":
        return _source(session, held)
    if not is_pretrained(session.backbone):
        raise _Absent("the run itself began with random weights")
    return _probe(session, held) if name == "probe" else _scratch(session, folder, held, stop)


def _probe(session: Session, held: Examples) -> Candidate:
    """A linear head, solved on the features of the source as it was."""
    backbone = _pooled(reloaded(session.backbone), session)
    x, y = (session.features(rows, "against", backbone) for rows in (session.data.splits["train"], held))
    targets = session.data.splits["train"].targets
    assert targets is not None
    solved = solve(x, targets, session.data.task, seed=session.training.seed)
    return Candidate(TITLES["probe"], backbone.name, session.params, None, predict(solved, session.data.task, y))


def _scratch(session: Session, folder: RunFolder, held: Examples, stop: Callable[[], bool]) -> Candidate:
    """The same network from random weights, everything trained at the rate of the head, all else as in the run."""
    from zoo.verbs.beside import carried_out

    twin = _pooled(random_twin(session.backbone, session.training.seed), session)
    config = RunConfig(
        backbone=twin.name,
        data=session.config.data,
        baseline="none",
        read=session.config.read,
        train=from_scratch(session.training),
        out=Output(dir=str(folder.path / FOLDER), name="scratch"),
    )

    def watch(event: Event) -> None:
        if event.plan is None:  # one plan is shown, that of the run
            session.watch(event)

    path = carried_out(config, twin, session.data, watch=watch, stop=stop)
    found = load_trained(path, device=session.device).predict(held, batch_size=session.batch_size())
    return Candidate(TITLES["scratch"], f"{twin.name} from random weights", session.params, path, found)


def from_scratch(training: Training) -> Training:
    """The same training where there is nothing to transfer: every stage learns at the rate of the head."""
    catalog = default_catalog().heads
    head = str(training.head)
    plain = only_solved(head) or (head in catalog and catalog[head].names)
    return replace(
        training,
        strategy="full",
        strategy_options={},
        backbone_lr=1.0,
        head="linear" if plain else head,
        channels=None,  # the twin is changed already
        image_size=None,
    )


def _source(session: Session, held: Examples) -> Candidate:
    """What was known before any training on these rows: the head of a finished run, or the names of the classes."""
    weights = session.backbone.weights
    run = weights.options.get("run") if weights is not None and weights.tag == "run" else None
    if run is not None:
        return _source_run(Path(str(run)), session, held)
    selections = default_catalog().select(str(session.config.backbone), weights=session.config.weights)
    if len(selections) != 1 or selections[0].spec.space is None:
        raise _Absent("the source brings no head of these classes: it is no finished run, and has no text space")
    if session.data.task.kind not in ("binary", "multiclass"):
        raise _Absent(f"class names cannot answer a {session.data.task.kind} task")
    space = open_space(str(session.config.backbone), weights=session.config.weights, offline=session.config.offline)
    modality = space.modality(session.data)
    texts = name_classes(space.both, session.data.task, Naming(), device=str(session.device))
    found = session.features(rows_of(held, modality), "against", space.both.tower(modality))
    return Candidate("zero-shot", space.both.name, session.params, None, texts.probabilities(found))


def _source_run(run: Path, session: Session, held: Examples) -> Candidate:
    source = load_trained(run, device=session.device)
    columns = matching(source.task, session.data.task)
    if columns is None:
        raise _Absent(f"the run {run.name} was trained on other classes than these")
    learned = RunFolder(run).read_json("data.json").get("splits", {}).get("train", ())
    if seen := set(learned) & set(held.ids):
        raise _Absent(f"{len(seen):,} of these rows were training rows of the run {run.name}")
    found = source.predict(held, batch_size=session.batch_size())[:, columns]
    if session.data.task.kind in ("binary", "multiclass"):
        found = found / np.maximum(found.sum(1, keepdims=True), np.finfo(np.float32).tiny)
    return Candidate(TITLES["source"], source.backbone.name, session.params, run, found)


def matching(source: Task, target: Task) -> list[int] | None:
    """The columns of a source's answers in the order of the target's; None where it does not know them all by name."""
    one_of_many = ("binary", "multiclass")
    alike = source.kind == target.kind or (source.kind in one_of_many and target.kind in one_of_many)
    known = source.targets if target.kind == "regression" else source.classes
    wanted = target.targets if target.kind == "regression" else target.classes
    places = {name: index for index, name in enumerate(known)}
    if not alike or not all(name in places for name in wanted):
        return None
    return [places[name] for name in wanted]


def _pooled(backbone: Backbone | None, session: Session) -> Backbone:
    if backbone is None:
        raise _Absent("the backbone cannot be made anew")
    if session.training.pooling is not None:
        set_pooling(backbone, session.training.pooling)
    return backbone
