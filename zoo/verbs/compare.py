"""Backbones of any modality on the same rows, by the same protocol, with what tells them apart from chance."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from zoo.catalog.spec import fingerprint
from zoo.comparison.board import Board, Cell
from zoo.comparison.result import Comparison, Shots
from zoo.comparison.work import (
    PROBE,
    Done,
    Entry,
    Facts,
    Group,
    Order,
    Outcome,
    Source,
    as_arrays,
    facts_key,
    facts_of,
    order_key,
    outcome_of,
)
from zoo.data.types import MANY_ANSWERS, Dataset, ReadOptions
from zoo.errors import UsageError, ZooError
from zoo.records import outcomes as kept
from zoo.records.runs import point_last, slug
from zoo.transfer.budget import AUTO, check_budget
from zoo.transfer.devices import choose_device
from zoo.transfer.metrics import measure_one, primary
from zoo.transfer.options import Training
from zoo.transfer.solvers import check_solvable
from zoo.transfer.strategies import strategy_named
from zoo.transfer.sweep import possible_shots
from zoo.verbs.check import opened_data, without_bad_files
from zoo.verbs.comparing import assembled
from zoo.verbs.config import Output
from zoo.verbs.contenders import entries
from zoo.verbs.executors import carried_out
from zoo.verbs.ledger import write_comparison
from zoo.verbs.run import Event, Watch

SEEDS = 3
FOLDER = "comparisons"


@dataclass(frozen=True)
class Asked:
    """What a comparison is asked to be."""

    backbones: tuple[str, ...]
    data: tuple[str, ...]
    strategies: tuple[str, ...] = (PROBE,)
    shots: tuple[Shots, ...] = ("all",)
    seeds: int = SEEDS
    floors: bool = True
    reference: str | None = None
    weights: str | None = None
    offline: bool = False
    read: ReadOptions = field(default_factory=ReadOptions)
    training: Training = field(default_factory=Training)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(range(self.training.seed, self.training.seed + self.seeds))


def compare(
    backbones: Sequence[str],
    data: str | Path | Dataset | Sequence[str | Path | Dataset],
    *,
    strategies: Sequence[str] | None = None,
    shots: Sequence[Shots] = ("all",),
    seeds: int = SEEDS,
    head: str | None = None,
    reference: str | None = None,
    floors: bool = True,
    weights: str | None = None,
    training: Training | None = None,
    read: ReadOptions | None = None,
    out: Output | None = None,
    executor: str = "local",
    jobs: int | None = None,
    offline: bool = False,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Set backbones side by side: the same rows, splits, draws, seeds, head and search budget for each.

    What was measured once is kept, so that the same call again trains nothing and one with another contender trains
    that one. Rows of each draw are the same for every contender, whatever its modality.

    Args:
        backbones: names, `a+b`, or `title=name`. The single parts of `a+b` take part too, to tell what joining brings.
        data: a folder, a table, the name of a data set, or a `Dataset`; or several of these.
        strategies: of `zoo finetune`; "linear-probe", the default, solves heads on features that are computed once.
            With a budget in `training` each contender looks for its own, "auto".
        shots: training rows of each class (rows in all for labels and numbers), or "all".
        seeds: of draws, random weights, order and augmentation; a head solved on all rows needs one.
        head: as in `finetune`; "linear" if None.
        reference: title of the contender that the others are set beside; the first if None.
        floors: add the same architectures with random weights, probed.
        weights: of a single backbone: a tag, "random" or a file.
        training: every other choice, the same for each contender.
        read: how to read the data.
        out: where to write; the name follows from what is compared.
        executor: "local", or "ray" for a Ray cluster.
        jobs: at once; None: one for each GPU, or one.
        offline: never touch the network.
        watch: called with notes and with work as it is done.
        stop: asked between trainings and after each step; True raises `Interrupted`, and the same call goes on.

    Raises:
        DataError, UsageError, WeightsError: bad input, each with its mend.
        ZooError: no contender could be measured.
        Interrupted: `stop` said so.
    """
    started = time.time()
    given = [data] if isinstance(data, str | Path | Dataset) else list(data)
    train = training or Training()
    train = train if head is None else replace(train, head=head)
    asked = Asked(
        backbones=tuple(backbones),
        data=tuple(each.name if isinstance(each, Dataset) else str(each) for each in given),
        strategies=tuple(dict.fromkeys(strategies or (PROBE if train.budget is None else AUTO,))),
        shots=tuple(shots),
        seeds=seeds,
        floors=floors,
        reference=reference,
        weights=weights,
        offline=offline,
        read=replace(read or ReadOptions(), seed=train.seed),
        training=replace(train, strategy=None),
    )
    watch = watch or (lambda event: None)
    _check(asked)
    who = entries(asked.backbones, asked.strategies, weights=weights, offline=offline, floors=floors)
    if reference is not None and reference not in {each.title for each in who}:
        titles = ", ".join(each.title for each in who if each.floor_of is None)
        raise UsageError(f"no contender is titled '{reference}'", help=f"the titles are {titles}")
    folder = _folder(out or Output(dir=FOLDER), asked, who)
    work = Work(asked, who, _sources(asked, given), folder, watch)
    work.carry_out(executor, jobs, stop)
    comparison = assembled(work, started)
    comparison.write(folder)
    point_last(folder.parent, folder)
    write_comparison(comparison)
    return comparison


def _check(asked: Asked) -> None:
    """Refuse what would fail after hours."""
    if asked.seeds < 1:
        raise UsageError(f"--seeds {asked.seeds} is not above 0", help="give a positive number such as 3")
    if len(set(asked.data)) < len(asked.data):
        raise UsageError("a data set is named twice", help="leave one of them out")
    if asked.training.budget is not None:
        for strategy in asked.strategies:
            check_budget(asked.training.budget, strategy)
    for strategy in set(asked.strategies) - {AUTO}:
        strategy_named(strategy, unfreeze=1, backbone_lr=1.0, options=asked.training.strategy_options)


def _sources(asked: Asked, given: Sequence[str | Path | Dataset]) -> tuple[Source, ...]:
    """The data sets, each by the end of its name where that tells it from the others."""
    ends = [Path(name).name or name for name in asked.data]
    titles = [name if ends.count(end) > 1 else end for name, end in zip(asked.data, ends, strict=True)]
    rows = [each if isinstance(each, Dataset) else None for each in given]
    return tuple(
        Source(name, asked.read, own, title) for name, own, title in zip(asked.data, rows, titles, strict=True)
    )


def _folder(out: Output, asked: Asked, who: Sequence[Entry]) -> Path:
    """Where this comparison is kept: the same for the same question."""
    question = fingerprint([[[each.title, each.backbone, each.strategy] for each in who], vars(asked)])
    name = out.name or f"{slug(Path(asked.data[0]).stem or asked.data[0])}-{question[:6]}"
    folder = Path(out.dir if out.dir != Output().dir else FOLDER) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"a comparison cannot be kept in {folder}: {error.strerror}", help="choose a folder with --out"
        ) from error
    return folder


class Work:
    """The cells of a comparison: what is known of them, what has to be done, and what failed."""

    def __init__(
        self, asked: Asked, who: tuple[Entry, ...], sources: tuple[Source, ...], folder: Path, watch: Watch
    ) -> None:
        self.asked, self.who, self.sources, self.folder, self.watch = asked, who, sources, folder, watch
        self.data = {each.title: self._read(each) for each in sources}
        self.device = str(choose_device(asked.training.device))
        self.outcomes: dict[tuple[str, str], dict[tuple[Shots, int], Outcome]] = defaultdict(dict)
        self.facts: dict[tuple[str, str], Facts] = {}
        self.failures: dict[str, str] = {}
        self.computed = self.cached = 0
        self._check_served()

    def carry_out(self, executor: str, jobs: int | None, stop: Callable[[], bool]) -> None:
        """Do what is not known yet; everything that ends is kept at once.

        Raises:
            ZooError: nothing could be measured.
        """
        groups = list(self._groups())
        total = sum(max(len(group.orders), 1) for group in groups)
        if self.cached:
            self.watch(Event(note=f"{self.cached} of {self.cached + sum(len(g.orders) for g in groups)} are known"))
        gpus = _gpus(self.device)
        ended = 0
        for group, done in carried_out(
            groups, self.data, executor=executor, jobs=jobs, gpus=gpus, watch=self._inner, stop=stop
        ):
            ended += max(len(group.orders), 1)
            self._take(group, done)
            self.watch(Event(doing="comparing", done=max(len(group.orders), 1), total=total))
            self.watch(Event(note=f"{ended}/{total}  {self._said(group, done)}"))
        if not self.outcomes:
            why = "; ".join(f"{name}: {what}" for name, what in list(self.failures.items())[:4])
            raise ZooError(
                f"nothing could be measured: {why or 'no contender takes what the data have'}",
                help="`zoo info BACKBONE` says what a backbone takes",
            )

    def boards(self) -> tuple[Board, ...]:
        """One a data set, contenders in their order."""
        return tuple(Board(name, data, tuple(self._cells(name))) for name, data in self.data.items())

    def watch_note(self, text: str) -> None:
        """Say a sentence."""
        self.watch(Event(note=text))

    def _cells(self, name: str) -> Iterator[Cell]:
        for entry in self.who:
            found = self.outcomes.get((entry.title, name), {})
            draws: dict[Shots, list[int]] = defaultdict(list)
            for shots, seed in self._draws(entry, self.data[name]):
                draws[shots].append(seed)
            for shots, seeds in draws.items():
                if all((shots, seed) in found for seed in seeds):  # with a seed missing, it is not the same protocol
                    outcomes = tuple(found[shots, seed] for seed in seeds)
                    yield Cell(entry, shots, outcomes, self.facts.get((entry.title, name)))

    def _groups(self) -> Iterator[Group]:
        for source in self.sources:
            data = self.data[source.title]
            for entry in self.who:
                if not self._lacks(entry, data):
                    yield from self._of(entry, source, data)

    def _check_served(self) -> None:
        """Refuse a contender that no data set has anything for; on some of several it may be absent."""
        for entry in self.who:
            if all(self._lacks(entry, data) for data in self.data.values()):
                has = "; ".join(f"{name} has {' and '.join(data.modalities)}" for name, data in self.data.items())
                raise UsageError(
                    f"{entry.backbone} takes {' and '.join(entry.modalities)}, and {has}",
                    help="leave it out, or name the columns with --image-col and --text-col",
                )

    def _lacks(self, entry: Entry, data: Dataset) -> bool:
        """Whether it, or one of those that it joins, has nothing to read here."""
        parts = [each for each in self.who if each.title in entry.parts]
        return any(not set(each.modalities) & set(data.modalities) for each in (entry, *parts))

    def _of(self, entry: Entry, source: Source, data: Dataset) -> Iterator[Group]:
        orders = []
        for shots, seed in self._draws(entry, data):
            key = order_key(entry, data.fingerprint, self.asked.training, shots, seed)
            known = kept.read(key)
            if known is None:
                orders.append(Order(shots, seed, key))
            else:
                self.cached += 1
                self.outcomes[entry.title, source.title][shots, seed] = outcome_of(*known)
        own = facts_key(entry, data.fingerprint, self.asked.training, self.device)
        known = kept.read(own)
        if known is not None:
            self.facts[entry.title, source.title] = facts_of(*known)
        facts = own if known is None else None
        runs = str((self.folder / "runs").absolute())

        def group(of: Sequence[Order], facts: str | None) -> Group:
            return Group(entry, source, tuple(of), facts, self.asked.training, self.asked.offline, runs)

        if entry.solved and (orders or facts):
            yield group(orders, facts)
        if not entry.solved:
            yield from (group([order], facts if place == 0 else None) for place, order in enumerate(orders))
            if not orders and facts:
                yield group([], facts)

    def _draws(self, entry: Entry, data: Dataset) -> Iterator[tuple[Shots, int]]:
        train = data.splits["train"].targets
        assert train is not None
        for shots in possible_shots(self.asked.shots, train, data.task):
            once = shots == "all" and entry.solved
            for seed in self.asked.numbers[:1] if once else self.asked.numbers:
                yield shots, seed

    def _take(self, group: Group, done: Done | ZooError) -> None:
        title, name = group.entry.title, group.source.title
        if isinstance(done, ZooError):
            if group.entry.floor_of is None:  # a floor that cannot be had, as of a run with weights of its own, is none
                self.failures[group.name] = done.what
            return
        for order in group.orders:
            outcome = done.outcomes[order.key]
            kept.write(order.key, *as_arrays(outcome))
            self.outcomes[title, name][order.shots, order.seed] = outcome
            self.computed += 1
        if done.facts is not None and group.facts is not None:
            kept.write(group.facts, *as_arrays(done.facts))
            self.facts[title, name] = done.facts

    def _said(self, group: Group, done: Done | ZooError) -> str:
        if isinstance(done, ZooError):
            left_out = "left out" if group.entry.floor_of is not None else "failed"
            return f"{group.name}: {left_out}, {done.what}"
        data = self.data[group.source.title]
        metric, targets = primary(data.task), data.splits[data.held_out].targets
        assert targets is not None
        scores = [measure_one(data.task, metric, each.predictions, targets) for each in done.outcomes.values()]
        known = [value for value in scores if value is not None]
        if not known:
            return group.name
        between = f"{known[0]:.3f}" if len(known) == 1 else f"{min(known):.3f} to {max(known):.3f}"
        which = f", {group.orders[0].shots} shots, seed {group.orders[0].seed}" if len(group.orders) == 1 else ""
        return f"{group.name}{'' if group.entry.solved else which}: {metric} {between}"

    def _inner(self, event: Event) -> None:
        """Of what goes on inside a group, counts alone; every group would say the same of the data."""
        if event.doing is not None or (event.record is not None and event.record.kind == "step"):
            self.watch(event)

    def _read(self, source: Source) -> Dataset:
        if source.given is not None:
            data = without_bad_files(source.given, source.read)
        else:
            self.watch_note(f"reading {source.name}")
            data = opened_data(source.name, source.read)
        if data.task.kind in MANY_ANSWERS:
            raise UsageError(
                f"zoo compare sets one answer a row side by side, and {source.name} is a task of {data.task.kind}",
                help="compare finished runs with `zoo evaluate`",
            )
        if PROBE in self.asked.strategies:
            check_solvable([self.asked.training.head or "linear"], data.task.kind)
        return data


def _gpus(device: str) -> int:
    if device.partition(":")[0] != "cuda":
        return 0
    import torch

    return torch.cuda.device_count() if device == "cuda" else 1
