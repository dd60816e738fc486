"""Rows of the list of backbones by what they are, whether they come from the catalogue or from its index."""

from __future__ import annotations

from zoo.catalog.order import order_of

TYPE_CHECKING = False  # importing `typing` would take as long as the choice
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Protocol, TypeVar

    class Listed(Protocol):
        """What a row is chosen by."""

        @property
        def name(self) -> str: ...
        @property
        def source(self) -> str: ...
        @property
        def family(self) -> str: ...
        @property
        def modalities(self) -> Sequence[str]: ...
        @property
        def params(self) -> int | None: ...
        @property
        def dim(self) -> int | None: ...
        @property
        def licence(self) -> str | None: ...
        @property
        def metric(self) -> float | None: ...

    R = TypeVar("R", bound=Listed)

SORTS = ("name", "params", "dim", "metric")
MODALITIES = ("image", "text", "audio")


def choose(
    rows: Sequence[R],
    pattern: str | None = None,
    *,
    modality: str | None = None,
    family: str | None = None,
    source: str | None = None,
    min_params: int | None = None,
    max_params: int | None = None,
    licence: str | None = None,
    sort: str = "name",
) -> list[R]:
    """The rows that fit, in a stable order; what each argument means stands at `list_backbones`.

    Raises:
        UnknownNameError: a modality, source or family that nothing has.
        UsageError: an order that is not known.
    """
    if sort not in SORTS:
        from zoo.errors import UsageError

        raise UsageError(f"--sort {sort} is not known", help=f"use {', '.join(SORTS)}")
    wanted = set(modality.split("+")) if modality else set()
    sources = order_of(row.source for row in rows)
    for each in wanted:
        _check_known("modality", each, MODALITIES)
    _check_known("source", source, sources)
    if family is not None:
        _check_known("family", family, sorted({row.family for row in rows}))
    tests: list[Callable[[R], bool]] = []
    if source:
        tests.append(lambda row: row.source.casefold() == source.casefold())
    if family:
        tests.append(lambda row: row.family.casefold() == family.casefold())
    if wanted:
        tests.append(lambda row: wanted <= set(row.modalities))
    if min_params is not None or max_params is not None:
        tests.append(lambda row: _within(row.params, min_params, max_params))
    if licence:
        tests.append(lambda row: licence.casefold() in (row.licence or "").casefold())
    if pattern is not None:
        tests.append(_fits(pattern.casefold()))
    found = [row for row in rows if all(test(row) for test in tests)] if tests else list(rows)
    place = {name: number for number, name in enumerate(sources)}
    keys: dict[str, Callable[[R], float]] = {
        "name": lambda row: place[row.source],
        "params": lambda row: row.params or float("inf"),
        "dim": lambda row: row.dim or float("inf"),
        "metric": lambda row: -(row.metric if row.metric is not None else float("-inf")),
    }
    return sorted(found, key=keys[sort])


def sources(rows: Iterable[Listed]) -> dict[str, int]:
    """Rows of each source."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.source] = counts.get(row.source, 0) + 1
    return counts


def _check_known(noun: str, name: str | None, known: Sequence[str]) -> None:
    if name is not None and name.casefold() not in {each.casefold() for each in known}:
        from zoo.errors import UnknownNameError

        shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
        raise UnknownNameError(noun, name, known, help=f"there are {shown}")


def _within(params: int | None, low: int | None, high: int | None) -> bool:
    return params is not None and (low is None or params >= low) and (high is None or params <= high)


def _fits(pattern: str) -> Callable[[Listed], bool]:
    if any(letter in pattern for letter in "*?["):
        from fnmatch import fnmatchcase

        return lambda row: fnmatchcase(row.name.casefold(), pattern)
    return lambda row: pattern in row.name.casefold()
