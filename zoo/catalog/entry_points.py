"""Entry points of group `zoo`: what the installed distributions declare, read without importing any of them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from zoo.catalog.hooks import GROUP
from zoo.errors import PluginError


class EntryPoint(Protocol):
    """What is used of `importlib.metadata.EntryPoint`."""

    @property
    def name(self) -> str:
        """Left of the equals sign."""

    @property
    def value(self) -> str:
        """The module that it names."""

    @property
    def dist(self) -> Any:
        """The distribution that declares it, or None."""

    def load(self) -> Any:
        """Import what it names."""


def installed() -> list[EntryPoint]:
    """Those of zoo's own distribution first: no other can take a name that zoo brings."""
    try:
        found: list[EntryPoint] = list(importlib.metadata.entry_points(group=GROUP))
    except Exception:  # noqa: BLE001  (one distribution's metadata cannot be read, and it hides all the others)
        # Of a distribution that is on the path twice the first counts, as in entry_points().
        once = {each.metadata["Name"] or id(each): each for each in reversed(list(importlib.metadata.distributions()))}
        found = [entry for distribution in once.values() for entry in _declared(distribution)]

    def order(entry: EntryPoint) -> tuple[bool, str, tuple[str, str]]:
        distribution = distribution_of(entry)
        return distribution[0] != "zoo", entry.name, distribution

    return sorted(found, key=order)


def distribution_of(entry: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that declares it."""
    dist = getattr(entry, "dist", None)
    # Its `metadata` would import the standard library's email package.
    text = (dist.read_text("METADATA") or dist.read_text("PKG-INFO") or "") if dist is not None else ""
    lines = dict(line.partition(": ")[::2] for line in text.partition("\n\n")[0].splitlines())
    return lines.get("Name") or "unknown distribution", lines.get("Version") or "?"


def _declared(distribution: importlib.metadata.Distribution) -> Iterable[EntryPoint]:
    try:
        return distribution.entry_points.select(group=GROUP)
    except Exception as error:  # noqa: BLE001
        return [_Unreadable(distribution, error)] if f"[{GROUP}]" in (_read(distribution) or "") else []


def _read(distribution: importlib.metadata.Distribution) -> str | None:
    try:
        return distribution.read_text("entry_points.txt")
    except (OSError, UnicodeError):
        return None


@dataclass(frozen=True)
class _Unreadable:
    """Stands for what a distribution with broken metadata may have offered."""

    dist: Any
    error: Exception
    value: str = ""

    @property
    def name(self) -> str:
        return str(self.dist.name)

    def load(self) -> Any:
        raise PluginError(f"its entry_points.txt cannot be read: {self.error}")
