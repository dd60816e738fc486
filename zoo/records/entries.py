"""What the ledger holds: runs that ended and rankings, as values that come from a file and go into one."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

_PASSING = ("time", "seconds", "run", "zoo", "device", "params")
"""What may differ between two accounts of the same run."""


def now() -> str:
    """The time as the ledger has it: in UTC, so that texts sort as times do."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class _Known:
    """A row, known by what was done and what came of it: the same run twice is one row, wherever it comes from."""

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """An entry out of plain values; keys of later versions are passed over.

        Raises:
            ValueError: a value is missing or of another kind.
        """
        kinds = typing.get_type_hints(cls)
        given = {each.name: plain.get(each.name) for each in fields(cls) if each.name in plain or each.name == "value"}
        try:
            return cls(**{name: _as(kinds[name], value, name) for name, value in given.items()})
        except TypeError as error:
            raise ValueError(f"it lacks {str(error).rpartition(':')[2].strip()}") from error

    @property
    def id(self) -> str:
        """16 hex digits over everything but time, machine and place."""
        content = {name: value for name, value in self.to_json().items() if name not in ("id", *_PASSING)}
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """The stable keys."""
        raise NotImplementedError


@dataclass(frozen=True)
class PastRun(_Known):
    """A finished run, as the ledger keeps it."""

    backbone: str
    """With its weights."""
    modalities: tuple[str, ...]
    """That the backbone was given."""
    task: str
    data: str
    """As it was typed."""
    fingerprint: str
    """Of rows, labels and splits."""
    rows: int
    """Trained on."""
    classes: int
    """Outputs: classes, labels or numbers."""
    strategy: str
    metric: str
    value: float | None
    """Of the main metric on held-out rows."""
    greater: bool = True
    """Whether a greater value of the metric is the better one."""
    split: str = "test"
    """That it was measured on."""
    head: str | None = None
    shots: int | None = None
    """Training rows of each class; None: all."""
    seed: int = 0
    leak: bool = False
    """Whether held-out rows were trained on, as `--allow-leak` lets them be: such a run teaches nothing."""
    params: int | None = None
    seconds: float | None = None
    device: str | None = None
    zoo: str = ""
    """Version."""
    time: str = field(default_factory=now)
    run: str | None = None
    """Its folder, where one was kept."""

    def to_json(self) -> dict[str, Any]:
        """The stable keys of a line of `zoo ledger export`."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**plain, "modalities": list(self.modalities)}


@dataclass(frozen=True)
class PastRanking(_Known):
    """What a ranking put in which place, before anything was fine-tuned."""

    data: str
    fingerprint: str
    task: str
    modalities: tuple[str, ...]
    rows: int
    classes: int
    by: tuple[str, ...]
    """Scores that made the order."""
    order: tuple[str, ...]
    """Backbones, the best first."""
    zoo: str = ""
    time: str = field(default_factory=now)

    def to_json(self) -> dict[str, Any]:
        """The stable keys of a line of `zoo ledger export`."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**plain, "modalities": list(self.modalities), "by": list(self.by), "order": list(self.order)}


Entry = PastRun | PastRanking


def _as(kind: Any, value: Any, name: str) -> Any:
    """A plain value as the type of a field; texts are read, as CSV has nothing else."""
    if typing.get_origin(kind) is types.UnionType:
        if value is None or value == "":
            return None
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is tuple:
        return tuple(value.split("+")) if isinstance(value, str) else tuple(map(str, value))
    if kind is bool and str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    if kind is not bool and value is not None and not isinstance(value, list | dict | bool):
        with contextlib.suppress(ValueError, OverflowError):
            found = kind(value)
            if kind is not float or found == found:
                return found
    raise ValueError(f"{name} is {value!r}, not a {kind.__name__}")
