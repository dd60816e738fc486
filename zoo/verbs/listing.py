"""What exists, filtered and sorted, without importing what it describes."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.catalog.cached import is_cached
from zoo.catalog.catalog import Catalog, rows_of
from zoo.catalog.discovery import default_catalog
from zoo.catalog.names import weights_name
from zoo.catalog.spec import BackboneSpec, Modality, WeightsSpec
from zoo.verbs.choosing import choose


@dataclass(frozen=True)
class Row:
    """One backbone with one set of weights."""

    name: str
    spec: BackboneSpec
    weights: WeightsSpec | None

    @property
    def source(self) -> str:
        """Whose it is."""
        return self.spec.source

    @property
    def family(self) -> str:
        """Such as resnet."""
        return self.spec.family

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What it takes."""
        return self.spec.modalities

    @property
    def params(self) -> int | None:
        """How many parameters it has."""
        return self.spec.params

    @property
    def dim(self) -> int | None:
        """Of its features."""
        return self.spec.dim

    @property
    def licence(self) -> str | None:
        """Of its weights."""
        return self.weights.licence if self.weights else None

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
    found = choose(
        rows_in(catalog or default_catalog()),
        pattern,
        modality=modality,
        family=family,
        source=source,
        min_params=min_params,
        max_params=max_params,
        licence=licence,
        sort=sort,
    )
    return [row for row in found if row.weights and is_cached(row.weights)] if cached else found


def rows_in(catalog: Catalog) -> list[Row]:
    """Every architecture with each of its weights."""
    return [
        Row(weights_name(spec, weights, spec.modalities), spec, weights)
        for each in catalog.backbones.values()
        for spec, weights in rows_of(each)
    ]
