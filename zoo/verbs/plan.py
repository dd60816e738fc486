"""What a strategy would do to a backbone, with no weights loaded and no torch imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zoo.catalog.catalog import Catalog
from zoo.catalog.discovery import default_catalog
from zoo.errors import UsageError
from zoo.transfer.freezing import frozen_stages, phases_of
from zoo.transfer.strategies import Plan, StageRow, strategy_named
from zoo.transfer.surgical import Looking


def plan(
    name: str,
    *,
    strategy: str = "full",
    unfreeze: int = 1,
    freeze: Sequence[str] = (),
    backbone_lr: float = 0.1,
    strategy_options: Mapping[str, float] | None = None,
    catalog: Catalog | None = None,
) -> Plan:
    """The table of a strategy on a backbone: phases, stages, and the rate of each relative to the head.

    Raises:
        UnknownNameError: no such backbone, strategy or stage.
        UsageError: the stages are known only after loading.
    """
    catalog = catalog or default_catalog()
    selections = catalog.select(name)
    rows: list[StageRow] = []
    notes: list[str] = []
    for index, selection in enumerate(selections):
        stages = selection.spec.stages
        if stages is None:
            raise UsageError(
                f"the stages of {selection.name} are known only once it is loaded",
                help=f"`zoo finetune {name} DATA --dry-run` loads it and prints the plan",
            )
        notes += selection.notes
        fused = len(selections) > 1
        prefix = f"{index}." if fused else ""
        rows += [StageRow(f"{prefix}{stage}", str(index) if fused else "") for stage in stages]
    chosen = strategy_named(strategy, unfreeze=unfreeze, backbone_lr=backbone_lr, options=strategy_options)
    if isinstance(chosen, Looking):
        notes.append(f"{chosen.name} also trains stages that it chooses by their gradients once a run has begun")
    return Plan(chosen.name, tuple(rows), phases_of(chosen, rows, frozen_stages(freeze, rows)), tuple(notes))
