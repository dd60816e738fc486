"""Which backbones are ranked: those that are named, or those of the catalogue that suit the data and the filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.catalog.discovery import default_catalog
from zoo.catalog.names import Selection
from zoo.catalog.spec import Modality
from zoo.data.types import Dataset, Examples
from zoo.errors import UsageError
from zoo.models.backbone import Backbone
from zoo.models.fusion import Paired, fuse
from zoo.models.load import build, check_rows, check_serves, serving
from zoo.transfer.trained import set_pooling
from zoo.verbs.listing import list_backbones

MOST = 50
"""Backbones that a pattern or a filter may bring to be downloaded before one is asked to narrow it."""


@dataclass(frozen=True)
class Filters:
    """What of the catalogue is looked at; named backbones always are, unless they take longer than `max_ms`."""

    modality: str | None = None
    """image, text, audio, or image+text for those that take both."""
    family: str | None = None
    source: str | None = None
    licence: str | None = None
    """Part of its identifier."""
    min_params: int | None = None
    max_params: int | None = None
    max_ms: float | None = None
    """Milliseconds a row, at most, on this machine; of named backbones too, for who knows how long they take."""
    cached: bool = True
    """Only weights that are on this machine."""


@dataclass(frozen=True)
class Candidate:
    """A backbone as it was named."""

    name: str
    selections: tuple[Selection, ...]
    """One for each part of `a+b`."""

    @property
    def modalities(self) -> frozenset[Modality]:
        """Those it may take."""
        return frozenset(each for part in self.selections for each in part.towers)

    @property
    def title(self) -> str:
        """What it is called while it is worked on."""
        return "+".join(Path(part.spec.architecture).name for part in self.selections)

    @property
    def params(self) -> int | None:
        """As the catalogue has them; None where a part's are not known."""
        known = [part.spec.params for part in self.selections]
        return sum(each for each in known if each is not None) if None not in known else None

    @property
    def published(self) -> tuple[str, float] | None:
        """The first metric that upstream published of the weights of a single backbone."""
        weights = self.selections[0].weights if len(self.selections) == 1 else None
        return next(iter(weights.metrics.items()), None) if weights else None

    @property
    def licence(self) -> str | None:
        """Of the weights of every part."""
        found = {part.weights.licence for part in self.selections if part.weights and part.weights.licence}
        return " and ".join(sorted(found)) or None

    @property
    def run(self) -> Path | None:
        """The folder of the finished run that this is the backbone of."""
        spec = self.selections[0].spec
        return Path(str(spec.options["path"])) if len(self.selections) == 1 and spec.source == "run" else None


def named(names: Sequence[str], filters: Filters, *, offline: bool = False) -> tuple[Candidate, ...]:
    """The candidates of names and globs, each once.

    Args:
        names: such as "resnet18", "a+b", a run's folder, or "torchvision/resnet*", which the filters narrow.
        filters: for globs.
        offline: never touch the network.

    Raises:
        UnknownNameError: no backbone has that name.
        UsageError: a glob that nothing fits.
    """
    found: dict[str, Candidate] = {}
    globs = [name for name in names if any(letter in name for letter in "*?") and not Path(name).exists()]
    if names and not globs:
        _check_unused(filters)
    for name in names:
        if name in globs:
            for each in _affordable(_listed(name, filters), filters):
                found.setdefault(each.name, each)
            continue
        selections = default_catalog().select(name, offline=offline)
        whole = "+".join(each.name for each in selections)
        found.setdefault(whole, Candidate(whole, selections))
    return tuple(found.values())


def suiting(data: Dataset, filters: Filters) -> tuple[Candidate, ...]:
    """Those of the catalogue that take what the data have.

    Raises:
        UsageError: there are none.
    """
    there = set(data.modalities)
    found = [each for each in _listed(None, filters) if each.modalities & there]
    if not found:
        raise UsageError(
            f"no backbone that fits takes {' or '.join(data.modalities)}{_where(filters)}", help=_wider(filters)
        )
    return tuple(_affordable(found, filters))


def opened(candidate: Candidate, rows: Examples, *, pooling: str | None, offline: bool, seed: int) -> Backbone:
    """The backbone for these rows, and loaded.

    Raises:
        UsageError: the data lack what it takes.
        WeightsError: weights that are missing or damaged.
    """
    _check_modalities(candidate, rows)
    parts = [build(serving(each, tuple(rows.inputs)), offline=offline, seed=seed) for each in candidate.selections]
    backbone = parts[0] if len(parts) == 1 else fuse(*parts)
    check_serves(backbone, tuple(rows.inputs))
    texts = rows.inputs.get("text")
    if texts and isinstance(texts[0], tuple) and "text" in backbone.modalities:
        backbone = Paired(backbone)
    check_rows(backbone, [rows])
    if pooling is not None:
        set_pooling(backbone, pooling)
    return backbone


def _check_modalities(candidate: Candidate, rows: Examples) -> None:
    """Refuse what the data cannot feed before it is built, which may take seconds."""
    there = tuple(rows.inputs)
    for part in candidate.selections:
        if not set(part.towers) & set(there):
            raise UsageError(
                f"{part.spec.name} takes {' and '.join(part.towers)}, and the data have {' and '.join(there)}",
                help=f"name the {part.towers[0]} column with --{part.towers[0]}-col",
            )


def _listed(pattern: str | None, filters: Filters) -> list[Candidate]:
    rows = list_backbones(
        pattern,
        modality=filters.modality,
        family=filters.family,
        source=filters.source,
        min_params=filters.min_params,
        max_params=filters.max_params,
        licence=filters.licence,
        cached=filters.cached,
    )
    rows = [row for row in rows if row.weights is not None]
    if pattern is not None and not rows:
        raise UsageError(f"no backbone fits '{pattern}'{_where(filters)}", help=_wider(filters))
    return [Candidate(row.name, (Selection(row.name, row.spec, row.weights, row.spec.modalities),)) for row in rows]


def _affordable(found: Sequence[Candidate], filters: Filters) -> Sequence[Candidate]:
    if not filters.cached and len(found) > MOST:
        raise UsageError(
            f"{len(found):,} backbones fit, and their weights may all have to be fetched",
            help="narrow them with a glob, --source, --family or --max-params, or name those that you mean",
        )
    return found


def _check_unused(filters: Filters) -> None:
    given = {
        "--modality": filters.modality,
        "--family": filters.family,
        "--source": filters.source,
        "--licence": filters.licence,
        "--min-params": filters.min_params,
        "--max-params": filters.max_params,
    }
    for option, value in given.items():
        if value is not None:
            raise UsageError(
                f"{option} {value} narrows globs and the catalogue, and every backbone is named",
                help="leave one of them out, or give a glob such as 'torchvision/*'",
            )


def _where(filters: Filters) -> str:
    return " and has its weights on this machine" if filters.cached else ""


def _wider(filters: Filters) -> str:
    more = "--all also takes those whose weights would be fetched, or " if filters.cached else ""
    return f"{more}name backbones: zoo rank DATA torchvision/resnet18; `zoo list` shows all"
