"""Strategies: which stages are trained when, and at which rate. Tables of numbers, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from zoo.errors import UnknownNameError, UsageError
from zoo.transfer.budget import AUTO

if TYPE_CHECKING:
    from zoo.models.backbone import Stage

HEAD = "head"
ADAPTERS = "adapters"
"""What a strategy inserts, as a row of its table."""


@dataclass(frozen=True)
class StageRow:
    """What a strategy needs to know of a stage."""

    name: str
    branch: str = ""
    """Stages of one branch run one after another; branches run side by side."""


def rows_of(stages: Iterable[Stage]) -> tuple[StageRow, ...]:
    """What strategies need to know of the stages of a backbone."""
    return tuple(StageRow(stage.name, stage.branch) for stage in stages)


@dataclass(frozen=True)
class Phase:
    """A stretch of training with fixed rates."""

    name: str
    lr: Mapping[str, float]
    """Stage name, "head" or "adapters", to the multiplier of the base learning rate; absent = frozen."""
    share: float = 1.0
    """Of all epochs."""
    solver: Literal["gradient", "closed-form"] = "gradient"
    """"closed-form" solves the head on frozen features instead of stepping."""
    keep_statistics: bool = False
    """Whether batch norm goes on normalising by the running statistics of pretrained weights, and leaves them alone:
    a head that was solved fits the features that they make, not those that the rows of a batch make among them."""

    def trained(self, stages: Sequence[StageRow]) -> tuple[str, ...]:
        """The stages that learn in this phase, without the head."""
        return tuple(stage.name for stage in stages if self.lr.get(stage.name, 0.0) > 0)


class Strategy(Protocol):
    """How to carry a backbone to new data."""

    name: ClassVar[str]

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        """The table: one row a phase, one column a stage."""


class Inserted(Protocol):
    """Parameters that a strategy put into a backbone."""

    @property
    def layers(self) -> Sequence[str]:
        """Names of the layers that have them."""

    @property
    def parameters(self) -> Sequence[Any]:
        """`torch.nn.Parameter`s; trained at the rate of "adapters"."""

    def fold(self) -> None:
        """Take them out again, what they learned added to the backbone's own parameters."""


@runtime_checkable
class Adapting(Protocol):
    """A strategy that inserts parameters of its own."""

    def adapt(self, backbone: Any, inputs: Any) -> Inserted:
        """Change a loaded `Backbone` in place.

        Args:
            backbone: in eval mode.
            inputs: a batch of one row, as its `forward` takes it.
        """


@dataclass(frozen=True)
class LinearProbe:
    """Freeze the backbone and solve a linear head on its pooled features, instead of training one."""

    name: ClassVar[str] = "linear-probe"

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("probe", {HEAD: 1.0}, solver="closed-form"),)


@dataclass(frozen=True)
class HeadOnly:
    """Freeze the backbone and train the head by gradient descent."""

    name: ClassVar[str] = "head"

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("head", {HEAD: 1.0}),)


@dataclass(frozen=True)
class Partial:
    """Train the head and the last `unfreeze` stages of every branch; all below stays frozen."""

    name: ClassVar[str] = "partial"
    unfreeze: int = 1
    backbone_lr: float = 0.1
    """Rate of the backbone relative to the head."""

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        if self.unfreeze < 1:
            raise UsageError(
                f"--unfreeze {self.unfreeze} trains no stage", help="use --strategy head for the head alone"
            )
        branches: dict[str, list[str]] = {}
        for stage in stages:
            branches.setdefault(stage.branch, []).append(stage.name)
        top = [name for names in branches.values() for name in names[-self.unfreeze :]]
        return (Phase("partial", {**dict.fromkeys(top, self.backbone_lr), HEAD: 1.0}),)


@dataclass(frozen=True)
class Full:
    """Train everything; the backbone at a lower rate than the new head."""

    name: ClassVar[str] = "full"
    backbone_lr: float = 0.1
    """Rate of the backbone relative to the head."""

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("full", {**{stage.name: self.backbone_lr for stage in stages}, HEAD: 1.0}),)


@dataclass(frozen=True)
class ProbeThenFull:
    """Solve a linear head first, then train everything from there: a random head would push good features astray.

    Kumar et al. 2022, https://arxiv.org/abs/2202.10054.
    """

    name: ClassVar[str] = "lp-ft"
    backbone_lr: float = 0.1
    """Rate of the backbone relative to the head."""
    stages: int = 0
    """Stages of every branch that are trained, from the top; 0 trains everything."""

    def __post_init__(self) -> None:
        if self.stages < 0:
            raise UsageError(f"stages {self.stages} is below 0", help="0 trains everything, 2 the upper two stages")

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        after = Partial(self.stages, self.backbone_lr) if self.stages else Full(self.backbone_lr)
        trained = (replace(phase, keep_statistics=True) for phase in after.phases(stages))
        return (*LinearProbe().phases(stages), *trained)


@dataclass(frozen=True)
class Lora:
    """Freeze the backbone, and train the head with low-rank adapters beside its layers; they are folded in at the end.

    Hu et al. 2021, https://arxiv.org/abs/2106.09685.
    """

    name: ClassVar[str] = "lora"
    rank: int = 8

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase(self.name, {ADAPTERS: 1.0, HEAD: 1.0}),)

    def adapt(self, backbone: Any, inputs: Any) -> Inserted:
        from zoo.transfer.lora import insert

        return insert(backbone, inputs, rank=self.rank)


@dataclass(frozen=True)
class Dora(Lora):
    """LoRA with the length of every output's weights trained apart from their direction.

    Liu et al. 2024, https://arxiv.org/abs/2402.09353; torch's own attention has plain LoRA.
    """

    name: ClassVar[str] = "dora"

    def adapt(self, backbone: Any, inputs: Any) -> Inserted:
        from zoo.transfer.lora import insert

        return insert(backbone, inputs, rank=self.rank, lengths=True)


@dataclass(frozen=True)
class Choice:
    """A strategy chosen for the user, with the reason in one sentence."""

    name: str
    reason: str


def strategy_named(
    name: str, *, unfreeze: int = 1, backbone_lr: float = 0.1, options: Mapping[str, float] | None = None
) -> Strategy:
    """The strategy of this name, from the catalogue.

    Args:
        name: such as "layer-decay".
        unfreeze: for its field of that name, if it has one.
        backbone_lr: likewise.
        options: of its other fields; each must be there.

    Raises:
        UnknownNameError: no strategy has that name, or the strategy no field of an option's.
        UsageError: a value of the wrong kind.
    """
    from zoo.catalog.discovery import default_catalog
    from zoo.catalog.factories import import_factory

    known = default_catalog().strategies
    if name == AUTO:
        raise UsageError(
            "auto chooses a strategy by the data, and here are none",
            help="`zoo finetune BACKBONE DATA --strategy auto --dry-run` shows its choice",
        )
    if name not in known:
        raise UnknownNameError("strategy", name, known, help=f"the strategies are {', '.join(known)}")
    factory: Any = import_factory(known[name].factory, f"strategy {name}")
    own = {each.name: each for each in fields(factory)}
    given: dict[str, Any] = {"unfreeze": unfreeze, "backbone_lr": backbone_lr}
    given = {key: value for key, value in given.items() if key in own}
    numbers = [key for key, each in own.items() if isinstance(each.default, int | float)]
    free = [key for key in numbers if key not in ("unfreeze", "backbone_lr")]
    for key, value in (options or {}).items():
        if key not in free:
            said = f"strategy {name} has {', '.join(free)}" if free else f"strategy {name} has none"
            raise UnknownNameError("strategy option", key, free, help=said)
        if isinstance(own[key].default, int) and value != int(value):
            raise UsageError(f"--strategy-options {key}={value:g} is no whole number", help="give one such as 8")
        given[key] = int(value) if isinstance(own[key].default, int) else value
    return factory(**given)  # type: ignore[no-any-return]


def choose(*, rows: int, classes: int, params: int | None, pretrained: bool, gpu: bool, linear: bool = True) -> Choice:
    """A strategy for data of this size: few rows a class or an expensive step call for the probe."""
    per_class = rows / max(classes, 1)
    if not linear:
        return Choice("full" if gpu or not pretrained else "head", "this head cannot be solved, so it is trained")
    if params == 0:
        return Choice("linear-probe", "the backbone has no parameters, so only a head can learn")
    if not pretrained:
        return Choice("full", "the weights are random, so there is nothing to keep frozen")
    if per_class <= 16:
        return Choice("linear-probe", f"{per_class:.0f} training rows a class are too few to move a backbone safely")
    # On a CPU a step costs about 6 flops a parameter and position; beyond this, epochs take more than minutes.
    if not gpu and (params or 0) * rows > 2e9:
        return Choice(
            "linear-probe", "training the whole backbone on a CPU would take long; try --strategy full on a GPU"
        )
    return Choice("lp-ft", f"{per_class:.0f} training rows a class are enough to train every stage")


@dataclass(frozen=True)
class Plan:
    """The table of a strategy on one backbone, before anything is loaded."""

    strategy: str
    stages: tuple[StageRow, ...]
    phases: tuple[Phase, ...]
    notes: tuple[str, ...] = field(default=())
