"""Stages that a user keeps frozen, whatever the strategy would train. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from zoo.errors import UnknownNameError, UsageError
from zoo.transfer.strategies import Phase, StageRow, Strategy


def frozen_stages(names: Sequence[str], stages: Sequence[StageRow]) -> frozenset[str]:
    """The stages that are meant.

    Args:
        names: of stages or branches, or patterns of them such as "1.layer.*"; "0" is all of the first of `a+b`.
        stages: of the backbone.

    Raises:
        UnknownNameError: a name that means none.
        UsageError: all are meant.
    """
    found: set[str] = set()
    for name in names:
        meant = {stage.name for stage in stages if _means(name, stage)}
        if not meant:
            branches = dict.fromkeys(stage.branch for stage in stages if stage.branch)
            known = [*branches, *(stage.name for stage in stages)]
            raise UnknownNameError("stage", name, known, help=f"--freeze takes {', '.join(known)}")
        found |= meant
    if found and len(found) == len({stage.name for stage in stages}):
        raise UsageError(
            f"--freeze {','.join(names)} leaves no stage to train",
            help="use --strategy linear-probe or head to train the head alone",
        )
    return frozenset(found)


def phases_of(strategy: Strategy, stages: Sequence[StageRow], frozen: frozenset[str]) -> tuple[Phase, ...]:
    """The strategy's table without the frozen stages; a phase that would train them alone is left out.

    Zhai et al. 2022, LiT, https://arxiv.org/abs/2111.07991, lock the image tower so.
    """
    phases = strategy.phases(stages)
    kept = [replace(each, lr={k: rate for k, rate in each.lr.items() if k not in frozen}) for each in phases]
    left = [each for each, whole in zip(kept, phases, strict=True) if each.lr or not whole.lr]
    spent = sum(each.share for each in left if each.solver == "gradient")
    planned = sum(each.share for each in phases if each.solver == "gradient")
    if len(left) == len(phases) or not spent:
        return tuple(left)
    return tuple(
        replace(each, share=each.share * planned / spent) if each.solver == "gradient" else each for each in left
    )


def _means(name: str, stage: StageRow) -> bool:
    whole = any(fnmatchcase(each, name) for each in (stage.name, stage.branch) if each)
    return whole or stage.name.startswith(f"{name}.")
