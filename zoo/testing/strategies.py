"""What a strategy must do: a table that holds, and training that does what the table says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import nn

from zoo.catalog.catalog import Catalog
from zoo.catalog.factories import import_factory
from zoo.catalog.spec import StrategySpec
from zoo.models.backbone import Backbone, Stage
from zoo.testing.offered import offered
from zoo.testing.report import Broken, Conformance, Inapplicable, few, law, laws_of, require
from zoo.testing.strategy_training import Ground, goes_on_alike, moves_as_told, table_of
from zoo.transfer.optim import Scheduler, make_optimizer, set_rates
from zoo.transfer.options import Schedule, Training
from zoo.transfer.strategies import ADAPTERS, HEAD, Adapting, Phase, StageRow, Strategy

TABLES: dict[str, tuple[StageRow, ...]] = {
    "one stage": (StageRow("body"),),
    "five stages": tuple(StageRow(name) for name in ("stem", "block1", "block2", "block3", "top")),
    "two towers": tuple(StageRow(f"{b}.{i}", b) for b in ("image", "text") for i in range(3)),
    "forty stages": tuple(StageRow(f"layer.{i}") for i in range(40)),
}
"""Shapes of backbone that a strategy will meet."""

Engine = Callable[[Phase, Sequence[Stage], nn.Module, Training, int], Callable[[int], None]]
"""Makes an optimiser for a phase of so many steps; the result takes one step, counted from 0."""


def zoo_engine(
    phase: Phase, stages: Sequence[Stage], head: nn.Module, training: Training, total: int
) -> Callable[[int], None]:
    """The optimiser and schedule that `zoo finetune` uses."""
    optimizer = make_optimizer(phase, stages, head, training)
    schedule = Scheduler(training, total, max(total // 5, 1))

    def step(number: int) -> None:
        set_rates(optimizer, schedule(number))
        optimizer.step()

    return step


@dataclass(frozen=True)
class StrategySubject:
    """One strategy, and what carries its table out."""

    name: str
    factory: Callable[..., Strategy]
    engine: Engine = zoo_engine
    ground: Ground = field(default_factory=Ground)

    def made(self, **options: Any) -> Strategy:
        """With these of its options."""
        return self.factory(**options)

    def fields(self) -> dict[str, Any]:
        """Its options with their defaults."""
        made = self.made()
        if not dataclasses.is_dataclass(made):
            return {}
        return {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}

    def tables(self) -> Iterator[tuple[str, tuple[StageRow, ...], tuple[Phase, ...]]]:
        """Its phases for every shape of backbone."""
        for name, rows in TABLES.items():
            phases = table_of(self.made(), rows)
            if not isinstance(phases, tuple | list) or not all(isinstance(each, Phase) for each in phases):
                raise Broken(f"phases() of {name} gave {type(phases).__name__}, not a tuple of zoo.Phase")
            yield name, rows, tuple(phases)


@law(consequence="`zoo finetune` stops before its first step, or trains nothing")
def table(subject: StrategySubject) -> str:
    """For every shape of backbone there are phases with names of their own, each of which trains something."""
    said = []
    for name, _, phases in subject.tables():
        require(bool(phases), f"{name}: no phase")
        names = [phase.name for phase in phases]
        require(len(set(names)) == len(names), f"{name}: phases {few(names)} share a name")
        idle = [phase.name for phase in phases if not any(rate > 0 for rate in phase.lr.values())]
        require(not idle, f"{name}: phase {few(idle)} trains nothing")
        said.append(f"{len(phases)} for {name}")
    return "phases: " + ", ".join(said)


@law(consequence="a stage that was meant to be trained stays frozen, and nobody is told")
def known_names(subject: StrategySubject) -> str:
    """Every name in the table is a stage, "head" or "adapters"."""
    adapts = isinstance(subject.made(), Adapting)
    for name, rows, phases in subject.tables():
        known = {row.name for row in rows} | {HEAD} | ({ADAPTERS} if adapts else set())
        strange = sorted({key for phase in phases for key in phase.lr} - known)
        require(not strange, f"{name}: {few(strange)} is no stage")
    return f"in {len(TABLES)} tables"


@law(consequence="training diverges, or runs backwards")
def rates(subject: StrategySubject) -> str:
    """Rates are finite, none is below 0, and shares of the epochs are above 0 and add up to 1."""
    seen: set[float] = set()
    for name, _, phases in subject.tables():
        for phase in phases:
            bad = {key: rate for key, rate in phase.lr.items() if not (math.isfinite(rate) and rate >= 0)}
            require(not bad, f"{name}: phase {phase.name} has rates {bad}")
            require(phase.share > 0, f"{name}: phase {phase.name} has a share of {phase.share}")
            seen |= set(phase.lr.values())
        stepping = [phase.share for phase in phases if phase.solver == "gradient"]
        total = sum(stepping)
        require(not stepping or abs(total - 1) < 1e-6, f"{name}: shares add up to {total:g}")
    return f"multipliers from {min(seen):g} to {max(seen):g}"


@law(consequence="the new head stays random: accuracy is that of guessing, as with LoRA that forgets its head")
def trains_the_head(subject: StrategySubject) -> str:
    """The head learns in some phase."""
    for name, _, phases in subject.tables():
        require(any(phase.lr.get(HEAD, 0) > 0 for phase in phases), f"{name}: no phase trains the head")
    return "in every table"


@law(consequence="a closed-form solution is asked for where there is none")
def solver(subject: StrategySubject) -> str:
    """A phase in closed form trains the head alone, and comes first."""
    for name, _, phases in subject.tables():
        for index, phase in enumerate(phases):
            if phase.solver == "closed-form":
                trained = [key for key, rate in phase.lr.items() if rate > 0]
                require(trained == [HEAD], f"{name}: phase {phase.name} solves {few(trained)}")
                require(index == 0, f"{name}: phase {phase.name} is solved after another")
    return "where there is one"


@law(consequence="`zoo plan` shows another table than the one that is trained, and a run cannot be repeated")
def repeats(subject: StrategySubject) -> str:
    """The same stages give the same table."""
    for (name, _, one), (_, _, other) in zip(subject.tables(), subject.tables(), strict=True):
        require(one == other, f"{name}: two calls differ")
    return f"{len(TABLES)} tables"


@law(consequence="--unfreeze or --backbone-lr is accepted and does nothing")
def options(subject: StrategySubject) -> str:
    """The fields `unfreeze` and `backbone_lr`, where it has them, change the table."""
    rows = TABLES["five stages"]
    values = {"unfreeze": (1, 2), "backbone_lr": (0.5, 0.25)}
    own = [name for name in values if name in subject.fields()]
    if not own:
        raise Inapplicable("it has neither")
    for name in own:
        one, other = (table_of(subject.made(**{name: value}), rows) for value in values[name])
        require(one != other, f"{name} {values[name][0]} and {values[name][1]} give one table")
    return " and ".join(own)


@law(consequence="discriminative rates are lost under a scheduler: every layer learns at one rate, as with lr_scale")
def rates_survive_schedules(subject: StrategySubject) -> str:
    """Under every schedule each stage moves by its own multiple of the head's rate, at every step."""
    compared = 0
    for name in ("five stages", "two towers"):
        rows = TABLES[name]
        for phase in table_of(subject.made(), rows):
            if phase.solver != "gradient":
                continue
            for schedule in get_args(Schedule):
                compared += _moves_as_told(subject, rows, phase, schedule)
    if not compared:
        raise Inapplicable("no phase takes steps")
    return f"{compared} moves under {len(get_args(Schedule))} schedules"


def _moves_as_told(subject: StrategySubject, rows: Sequence[StageRow], phase: Phase, schedule: Schedule) -> int:
    """Steps with a gradient of 1 everywhere, so that each move is the rate itself."""
    modules = {row.name: nn.Linear(1, 1, bias=False) for row in rows}
    stages = [Stage(row.name, (modules[row.name],), branch=row.branch) for row in rows]
    head = nn.Linear(1, 1, bias=False)
    training = Training(optimizer="sgd", momentum=0.0, weight_decay=0.0, lr=0.1, schedule=schedule, epochs=5)
    total, compared = 10, 0
    step = subject.engine(phase, stages, head, training, total)
    everything = {**modules, HEAD: head}
    for number in range(total):
        before = {name: module.weight.detach().clone() for name, module in everything.items()}
        for module in everything.values():
            module.weight.grad = torch.ones_like(module.weight)
        step(number)
        moved = {name: float((before[name] - module.weight.detach()).abs()) for name, module in everything.items()}
        base = moved[HEAD] / phase.lr[HEAD] if phase.lr.get(HEAD, 0) > 0 else None
        for name, move in moved.items():
            told = phase.lr.get(name, 0.0)
            require(told > 0 or move == 0, f"{name} is frozen in phase {phase.name} and moves under '{schedule}'")
            if base and told > 0:
                said = f"step {number + 1} under '{schedule}': {name} moves {move / base:.3g} of the base rate"
                require(abs(move / base - told) < 0.02 * told + 1e-4, f"{said}, the table says {told:g}")
                compared += 1
    return compared


@law(consequence="frozen layers drift, or layers that the plan lists as trained never learn")
def trains_what_it_says(subject: StrategySubject) -> str:
    """In real training exactly the stages of the table change, the rest stays bit-identical, inserted tensors learn."""
    return moves_as_told(subject.made(), subject.ground)


@law(consequence="a run that was killed goes on to another result than it would have had")
def resumes_alike(subject: StrategySubject) -> str:
    """Training that is stopped in the middle of an epoch and resumed ends with the same weights, bit for bit."""
    return goes_on_alike(subject.made, subject.ground)


STRATEGY_LAWS = laws_of(
    "strategy",
    (table, known_names, rates, trains_the_head, solver, repeats, options),
    (rates_survive_schedules, trains_what_it_says, resumes_alike),
)


def check_strategy(
    strategy: str | StrategySpec | Callable[..., Strategy],
    *,
    catalog: Catalog | None = None,
    only: Collection[str] | None = None,
    engine: Engine = zoo_engine,
    on: str | Backbone | None = None,
    image_size: int | None = None,
) -> Conformance:
    """Hold one strategy against every law of the contract, with real training.

    Args:
        strategy: its name, its specification, or its class.
        catalog: where the name is looked up; the installed plugins by default.
        only: names of the checks to run; all of them if None.
        engine: what makes the optimiser of a phase; zoo's own by default, another one to check it in turn.
        on: the backbone that is trained, by name or loaded; a network of three convolutions by default.
        image_size: pixels of its pictures, as of `check_backbone`.

    Raises:
        UnknownNameError: no strategy or check has that name.
    """
    given = offered("strategy", strategy, catalog) if isinstance(strategy, str) else strategy
    subject = subject_of(given, engine)
    title = f"strategy {subject.name}"
    if on is not None:
        subject = dataclasses.replace(subject, ground=Ground.of(on, image_size))
        title += f" on {on if isinstance(on, str) else on.name}"
    return STRATEGY_LAWS.hold(title, subject, only=only)


def subject_of(strategy: StrategySpec | Callable[..., Strategy], engine: Engine = zoo_engine) -> StrategySubject:
    """A strategy under test, by its specification or class."""
    if isinstance(strategy, StrategySpec):
        factory = import_factory(strategy.factory, f"strategy {strategy.name}")
        return StrategySubject(strategy.name, factory, engine)
    name = str(getattr(strategy, "name", getattr(strategy, "__name__", "strategy")))
    return StrategySubject(name, strategy, engine)
