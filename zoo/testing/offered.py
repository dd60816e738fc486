"""What the catalogue offers under a name: the heads, strategies, scorers and data sets that are checked."""

from __future__ import annotations

from typing import Any, Literal

from zoo.catalog.catalog import Catalog
from zoo.catalog.discovery import default_catalog
from zoo.errors import UnknownNameError

Kind = Literal["head", "strategy", "scorer", "dataset"]
_GROUPS = {"head": "heads", "strategy": "strategies", "scorer": "scorers", "dataset": "datasets"}


def offered(kind: Kind, name: str, catalog: Catalog | None) -> Any:
    """The specification of that name.

    Args:
        kind: of thing.
        name: as a user types it.
        catalog: where it is looked up; the installed plugins if None.

    Raises:
        UnknownNameError: nothing of that kind has that name.
    """
    known = getattr(catalog or default_catalog(), _GROUPS[kind])
    if name not in known:
        raise UnknownNameError(kind, name, known, help=f"there are {', '.join(known)}")
    return known[name]
