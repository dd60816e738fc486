"""The stages of a timm model: its own parameter groups, in run order."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from torch import nn

from zoo import Stage, stages_by_group

_REPEATED = re.compile(r"(blocks|stages|layers|features|stage|transformers|levels|network)$")
"""Containers whose children run one after another."""


def stages_of(model: nn.Module) -> tuple[Stage, ...]:
    """Stem to top, every parameter in one."""
    names = [name for name, _ in model.named_parameters()]
    matched = _matched(model)
    if matched is None or set(matched) != set(names) or len(set(matched.values())) < 2:
        found = stages_by_group(model, _by_children(model, names))
    else:
        found = stages_by_group(model, _corrected(matched))
    # timm's `head` may hold layers of the network itself; in zoo the word means what is put on top of a backbone.
    return tuple(replace(stage, name="top") if stage.name == "head" else stage for stage in found)


def _matched(model: nn.Module) -> dict[str, int] | None:
    """The group of each parameter by timm's own matcher, where the model has one that works."""
    from timm.models import group_parameters

    if not hasattr(model, "group_matcher"):
        return None
    try:
        matcher: Any = model.group_matcher
        found: dict[str, int] = group_parameters(model, matcher(coarse=True), reverse=True)
    except Exception:  # noqa: BLE001  (a matcher that fails is as good as none)
        return None
    return found


def _corrected(groups: dict[str, int]) -> dict[str, int]:
    """What the matchers put too late or too early: positions that all blocks share run first, CaiT's blocks for the
    class token run after all others, and EfficientViM has a normalisation for each of its stages."""
    found = {name: 0 if name.startswith(("shared_rel_pos.", "rope.")) else group for name, group in groups.items()}
    top = max(groups.values())
    if late := {name: top + 1 + int(name.split(".")[1]) for name in groups if name.startswith("blocks_token_only.")}:
        found |= late | {name: max(late.values()) for name in groups if name.startswith("norm.")}
    for name in groups:
        if norm := re.match(r"norm\.(\d+)\.", name):
            stage = [group for each, group in groups.items() if each.startswith(f"stages.{norm[1]}.")]
            found[name] = max(stage, default=groups[name])
    return found


def _by_children(model: nn.Module, names: list[str]) -> dict[str, tuple[float, ...]]:
    """A group for each child, and for each part of a child that is a sequence of blocks."""
    children = [name for name, child in model.named_children() if any(True for _ in child.parameters())]
    found: dict[str, tuple[float, ...]] = {}
    for name in names:
        head, *rest = name.split(".")
        if head not in children:
            # Bare parameters, such as a class token, join the first child.
            found[name] = (0.0, -1.0)
        elif _REPEATED.search(head) and rest[0].isdigit():
            found[name] = (float(children.index(head)), float(rest[0]))
        else:
            found[name] = (float(children.index(head)), -1.0)
    return found
