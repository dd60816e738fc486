"""The cells of a comparison, contender by draw: what is known of them, what is left, and what came of that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from zoo.comparison.board import Board, Cell
from zoo.comparison.result import Shots
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
    job_name,
    order_key,
    outcome_of,
)
from zoo.data.types import MANY_ANSWERS, Dataset
from zoo.errors import UnknownNameError, UsageError, ZooError
from zoo.records import outcomes as kept
from zoo.transfer.metrics import measure_one, primary
from zoo.transfer.solvers import check_solvable
from zoo.transfer.sweep import possible_shots
from zoo.verbs.asked import Asked
from zoo.verbs.check import opened_data, without_bad_files
from zoo.verbs.contending import carry_out
from zoo.verbs.executors import Pieces, Stop, carried_out, gpus_of
from zoo.verbs.run import Event, Watch

Ended = tuple[Group, Done | ZooError]


class Work:
    """The cells of a comparison: what is known of them, what has to be done, and what failed."""

    def __init__(
        self,
        asked: Asked,
        who: tuple[Entry, ...],
        sources: tuple[Source, ...],
        folder: Path,
        watch: Watch,
        device: str,
    ) -> None:
        self.asked, self.who, self.sources, self.folder, self.watch = asked, who, sources, folder, watch
        self.device = device
        self.data = {each.title: self._read(each) for each in sources}
        self.outcomes: dict[tuple[str, str], dict[tuple[Shots, int], Outcome]] = defaultdict(dict)
        self.facts: dict[tuple[str, str], Facts] = {}
        self.failures: dict[str, str] = {}
        self.computed = self.cached = 0
        self._check_served()
        self.left = tuple(self._groups())
        """What is not known yet."""

    def carry_out(self, executor: str, jobs: int | None, stop: Stop) -> None:
        """Do what is not known yet; everything that ends is kept at once.

        Raises:
            ZooError: nothing could be measured.
        """
        if self.cached:
            self.watch_note(f"{self.cached} of {self.cached + sum(len(g.orders) for g in self.left)} are known")
        self._do(self.left, executor, jobs, stop)
        if not self.outcomes:
            why = "; ".join(f"{name}: {what}" for name, what in list(self.failures.items())[:4])
            raise ZooError(
                f"nothing could be measured: {why or 'no contender takes what the data have'}",
                help="`zoo info BACKBONE` says what a backbone takes",
            )

    def carry_out_one(self, name: str, stop: Stop) -> bool:
        """Do one job of those that `jobs` names, in this process, and keep what came of it; False: it was known.

        Raises:
            UnknownNameError: no job has that name.
            ZooError: what keeps the contender from these data.
        """
        if name not in (names := self.jobs()):
            raise UnknownNameError("job", name, names, help="the same command with --dry-run shows those that are left")
        groups = [group for group in self.left if group.job == name and group.orders]
        for _, done in self._do(groups, "local", 1, stop):
            if isinstance(done, ZooError):
                raise done
        return bool(groups)

    def jobs(self) -> tuple[str, ...]:
        """The names of all jobs, whether known or left."""
        found = []
        for source, entry in self._pairs():
            for shots, seed in self._draws(entry, self.data[source.title]):
                found.append(job_name(entry, source, shots, seed))
        return tuple(dict.fromkeys(found))

    def known(self) -> dict[str, int]:
        """How many outcomes are kept of each contender on each data set, by name."""
        found = {f"{entry.title} on {source.title}": (entry.title, source.title) for source, entry in self._pairs()}
        return {name: len(self.outcomes.get(pair, {})) for name, pair in found.items()}

    def _do(self, groups: Sequence[Group], executor: str, jobs: int | None, stop: Stop) -> list[Ended]:
        pieces: Pieces[Group, Done] = Pieces(
            groups,
            do=_alone,
            here=lambda group: carry_out(group, self._inner, stop, self.data[group.source.title]),
            name=lambda group: group.name,
            whole="comparison",
        )
        total, ended = sum(max(len(group.orders), 1) for group in groups), 0
        found = []
        for group, done in carried_out(pieces, executor=executor, jobs=jobs, gpus=gpus_of(self.device), stop=stop):
            ended += max(len(group.orders), 1)
            self._take(group, done)
            self.watch(Event(doing="comparing", done=max(len(group.orders), 1), total=total))
            self.watch_note(f"{ended}/{total}  {self._said(group, done)}")
            found.append((group, done))
        return found

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
        for source, entry in self._pairs():
            yield from self._of(entry, source, self.data[source.title])

    def _pairs(self) -> Iterator[tuple[Source, Entry]]:
        for source in self.sources:
            for entry in self.who:
                if not self._lacks(entry, self.data[source.title]):
                    yield source, entry

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


def _alone(group: Group) -> Done:
    """In a process of its own, which reads the data by itself."""
    return carry_out(group, lambda event: None, lambda: False)
