"""What the caches of this machine hold, without torch or the network: which weights, and at which commit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from zoo.catalog.origins import is_here, repo_folder
from zoo.catalog.spec import WeightsSpec


def is_cached(weights: WeightsSpec) -> bool:
    """Whether these weights can be loaded without the network."""
    return is_here(weights.origin)


def pinned(weights: WeightsSpec) -> WeightsSpec:
    """These weights with the commit that their branch or tag means in the cache: a branch moves, a run does not."""
    kind, _, rest = weights.origin.partition(":")
    if kind != "hub":
        return weights
    reference = Path(repo_folder(rest.partition(":")[0])) / "refs" / (weights.revision or "main")
    try:
        commit = reference.read_text(encoding="ascii").strip()
    except (OSError, ValueError):  # a commit already, or not in the cache
        return weights
    return dataclasses.replace(weights, revision=commit) if commit else weights
