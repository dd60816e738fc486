"""Source against target: what a fine-tuned model is set beside, and what the difference says of the transfer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zoo.catalog.structure import innermost
from zoo.data.types import MANY_ANSWERS, Task
from zoo.errors import UnknownNameError, UsageError
from zoo.models.backbone import Backbone
from zoo.models.fusion import Fused, Paired
from zoo.transfer.paired import Difference

OURS = "fine-tuned"
TITLES: Mapping[str, str] = {"source": "source head", "probe": "frozen probe", "scratch": "from scratch"}
"""What a run can be set beside, and how it is called in the table: what the source knew already, a linear head on its
frozen features, and the same network trained from random weights for as long."""


def check_names(names: Sequence[str]) -> None:
    """Refuse what a run cannot be set beside.

    Raises:
        UnknownNameError: it is none of `TITLES`.
    """
    for name in names:
        if name not in TITLES:
            raise UnknownNameError("contender", name, TITLES, help=f"use {', '.join(TITLES)}")


def check_against(names: Sequence[str], task: Task, backbone: Backbone) -> None:
    """Refuse before training what could not be compared after it.

    Raises:
        UsageError: a task with many answers a row, or a backbone that only Python code can make again.
    """
    if not names:
        return
    if task.kind in MANY_ANSWERS:
        raise UsageError(
            f"--against compares one answer a row, and this is a {task.kind} task",
            help="train a second run with --weights random, and set the two beside each other",
        )
    if set(names) & {"probe", "scratch"} and _is_wrapped(backbone):
        raise UsageError(
            f"{backbone.name} was wrapped from a module in Python, so it cannot be made anew for --against",
            help="offer it as local:file.py:function",
        )


def verdicts(differences: Mapping[str, Difference]) -> tuple[str, ...]:
    """What the differences of the fine-tuned model to others say, one sentence each.

    Args:
        differences: by contender, the fine-tuned model's metric less the other's.
    """
    found = []
    scratch, probe = differences.get("scratch"), differences.get("probe")
    if scratch is not None:
        if scratch.high < 0:
            found.append(f"negative transfer: from scratch is better by {_reversed(scratch)}")
        elif scratch.low > 0:
            found.append(f"transfer is worth {_said(scratch)} over training from scratch for as long")
        else:
            found.append(f"these rows show no difference to training from scratch: {_said(scratch)}")
    if probe is not None and probe.high < 0:
        found.append(f"fine-tuning lost what was there: the frozen probe is better by {_reversed(probe)}")
    return tuple(found)


def _said(found: Difference) -> str:
    return f"{found.value:+.3f} {found.metric} [{found.low:+.3f}, {found.high:+.3f}]"


def _reversed(found: Difference) -> str:
    return f"{-found.value:.3f} {found.metric} [{-found.high:.3f}, {-found.low:.3f}]"


def _is_wrapped(backbone: Backbone) -> bool:
    if isinstance(backbone, Paired):
        return _is_wrapped(backbone.single)
    if isinstance(backbone, Fused):
        return any(_is_wrapped(part) for part in backbone.parts if isinstance(part, Backbone))
    return innermost(backbone.spec).factory == "zoo.models.wrap:wrap"
