"""A report from a comparison: its sections in the order in which they are read."""

from __future__ import annotations

from zoo.comparison.result import Comparison
from zoo.reporting import cases, modalities, plots, provenance, results, words
from zoo.reporting.blocks import Report
from zoo.reporting.names import Names

_PARTS = (
    provenance.overall,
    results.results,
    plots.costs,
    plots.curves,
    modalities.modalities,
    modalities.shared_space,
    modalities.likeness,
    cases.confusions,
    cases.maps,
    cases.gallery,
    provenance.failures,
    provenance.protocol,
)


def build(found: Comparison) -> Report:
    """Everything that the comparison has a part of; what it has not is absent."""
    names = Names(found)
    sections = tuple(section for part in _PARTS if (section := part(found, names)) is not None)
    return Report(found.name, _about(found), found.findings, sections)


def _about(found: Comparison) -> tuple[str, ...]:
    """What was compared, in a few words each."""
    floors = sum(each.floor_of is not None for each in found.contenders)
    first = words.plural(len(found.contenders) - floors, "contender")
    return (
        first + (f" and {words.plural(floors, 'floor')}" if floors else ""),
        words.plural(len(found.data), "data set"),
        words.plural(len(found.protocol.seeds), "seed"),
        found.protocol.started[:10],
        f"zoo {found.protocol.zoo}",
    )
