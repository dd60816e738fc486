"""What exists, filtered and sorted, without importing what it describes."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from zoo.catalog.cached import is_cached
from zoo.catalog.catalog import Catalog, rows_of
from zoo.catalog.discovery import default_catalog
from zoo.catalog.names import order_of, weights_name
from zoo.catalog.spec import BackboneSpec, Modality, WeightsSpec
from zoo.errors import UnknownNameError, UsageError

SORTS = ("name", "params", "dim", "metric")


@dataclass(frozen=True)
class Row:
    """One backbone with one set of weights."""

    name: str
    spec: BackboneSpec
    weights: WeightsSpec | None

    @property
    def metric(self) -> float | None:
        """The first metric that upstream published."""
        return next(iter(self.weights.metrics.values()), None) if self.weights else None


def list_backbones(
    pattern: str | None = None,
    *,
    modality: str | None = None,
    family: str | None = None,
    source: str | None = None,
    min_params: int | None = None,
    max_params: int | None = None,
    licence: str | None = None,
    cached: bool = False,
    sort: str = "name",
    catalog: Catalog | None = None,
) -> list[Row]:
    """Every architecture with each of its weights, in a stable order.

    Args:
        pattern: part of a name, or a glob such as "*vit*b_16*".
        modality: image, text, ...; both with "image+text".
        family: such as "resnet".
        source: such as "timm".
        min_params: parameters at least; backbones of unknown size are left out.
        max_params: parameters at most; backbones of unknown size are left out.
        licence: part of the licence's identifier, without regard to case.
        cached: only weights that are on this machine.
        sort: name, params, dim or metric (greatest first).
        catalog: the installed plugins' if None.

    Raises:
        UnknownNameError: a modality, source or family that nothing has.
        UsageError: an order that is not known.
    """
    if sort not in SORTS:
        raise UsageError(f"--sort {sort} is not known", help=f"use {', '.join(SORTS)}")
    catalog = catalog or default_catalog()
    wanted = set(modality.split("+")) if modality else set()
    specs = catalog.backbones.values()
    for each in wanted:
        _check_known("modality", each, get_args(Modality))
    _check_known("source", source, order_of(spec.source for spec in specs))
    _check_known("family", family, sorted({spec.family for spec in specs}))
    order = {name: i for i, name in enumerate(order_of(s.source for s in catalog.backbones.values()))}
    found = []
    for spec in catalog.backbones.values():
        if source and spec.source.casefold() != source.casefold():
            continue
        if family and spec.family.casefold() != family.casefold():
            continue
        if not wanted <= set(spec.modalities) or not _within(spec.params, min_params, max_params):
            continue
        for _, weights in rows_of(spec):
            row = Row(weights_name(spec, weights, spec.modalities), spec, weights)
            if licence and licence.casefold() not in ((weights.licence if weights else None) or "").casefold():
                continue
            if not _fits(row.name, pattern) or (cached and not (weights and is_cached(weights))):
                continue
            found.append(row)
    keys: dict[str, Callable[[Row], tuple[float, ...]]] = {
        "name": lambda row: (order[row.spec.source],),
        "params": lambda row: (row.spec.params or float("inf"),),
        "dim": lambda row: (row.spec.dim or float("inf"),),
        "metric": lambda row: (-(row.metric if row.metric is not None else float("-inf")),),
    }
    return sorted(found, key=keys[sort])


def _check_known(noun: str, name: str | None, known: Sequence[str]) -> None:
    if name is not None and name.casefold() not in {each.casefold() for each in known}:
        shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
        raise UnknownNameError(noun, name, known, help=f"there are {shown}")


def _within(params: int | None, low: int | None, high: int | None) -> bool:
    if low is None and high is None:
        return True
    return params is not None and (low is None or params >= low) and (high is None or params <= high)


def _fits(name: str, pattern: str | None) -> bool:
    if pattern is None:
        return True
    name, pattern = name.casefold(), pattern.casefold()
    return fnmatch.fnmatchcase(name, pattern) if any(c in pattern for c in "*?[") else pattern in name


def sources(rows: Iterable[Row]) -> dict[str, int]:
    """Rows of each source."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.spec.source] = counts.get(row.spec.source, 0) + 1
    return counts
