"""How the list of backbones is printed, from the catalogue or from its index."""

from __future__ import annotations

from zoo.cli.plain import human_count, note, print_table, print_text
from zoo.verbs.choosing import sources

TYPE_CHECKING = False  # as in `plain`
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from zoo.verbs.choosing import Listed
    from zoo.verbs.listing import Row

NOUNS = ("backbones", "heads", "strategies", "scorers", "datasets", "exporters")


def show(found: Sequence[Listed], cells: Sequence[Sequence[str]], limit: int | None) -> None:
    """A table of the first rows that were found, and how many there are."""
    if not found:
        return note("no backbone fits; `zoo list` without filters shows all of them")
    print_table(["backbone", "modality", "params", "dim", "licence", "published"], cells)
    by_source = ", ".join(f"{number:,} {name}" for name, number in sources(found).items())
    many = f"{len(found):,} rows: {by_source}"
    return note(f"{len(cells):,} of {many}" if limit else many)


def show_nouns(noun: str, cells: Sequence[Sequence[str]]) -> None:
    """A table of heads, strategies or the like."""
    if not cells:
        return note(f"no plugin offers {noun}")
    return print_table(["name", "what"], cells)


def show_json(texts: Sequence[str]) -> None:
    """Elements that are JSON already, as one document with one of them a line."""
    print_text("[\n" + ",\n".join(texts) + "\n]" if texts else "[]")


def cells_of(row: Row) -> list[str]:
    """One row of the table."""
    metrics = row.weights.metrics if row.weights else {}
    published = next((f"{name} {value:.3g}" for name, value in metrics.items()), "")
    return [
        row.name,
        "+".join(row.modalities),
        human_count(row.params),
        str(row.dim or "?"),
        row.licence or "-",
        published,
    ]


def json_of(row: Row) -> dict[str, Any]:
    """The stable keys of one row of `--json`."""
    spec, weights = row.spec, row.weights
    return {
        "name": row.name,
        "source": spec.source,
        "architecture": spec.architecture,
        "tag": weights.tag if weights else None,
        "modalities": list(spec.modalities),
        "family": spec.family,
        "params": spec.params,
        "dim": spec.dim,
        "image_size": spec.image_size,
        "context_length": spec.context_length,
        "licence": weights.licence if weights else None,
        "trained_on": weights.trained_on if weights else None,
        "metrics": dict(weights.metrics) if weights else {},
    }


def noun_json(spec: Any) -> dict[str, Any]:
    """The stable keys of heads, strategies and the like; data sets have more."""
    more = {name: getattr(spec, name) for name in ("modalities", "task", "rows", "licence") if hasattr(spec, name)}
    return {"name": spec.name, "summary": spec.summary, **more}


def count(text: str | None) -> int | None:
    """50M, 1.5G, 300k or a plain number.

    Raises:
        UsageError: none of these.
    """
    if text is None:
        return None
    units = {"k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}
    body, scale = (text[:-1], units[text[-1].lower()]) if text[-1:].lower() in units else (text, 1)
    try:
        return int(float(body) * scale)
    except ValueError as error:
        from zoo.errors import UsageError

        raise UsageError(f"'{text}' is no number of parameters", help="write 50M, 1.5G or 300k") from error
