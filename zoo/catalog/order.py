"""In which order sources come, wherever they are listed or asked."""

from __future__ import annotations

TYPE_CHECKING = False  # the index imports this, and `typing` would take it longer than its answer
if TYPE_CHECKING:
    from collections.abc import Iterable

SOURCE_ORDER = ("starter", "torchvision", "timm", "open_clip", "transformers")
"""Where a name without a source is looked up, in this order; other sources follow by name."""


def order_of(sources: Iterable[str]) -> list[str]:
    """Sources in the order in which a bare name is looked up."""
    found = set(sources)
    return [s for s in SOURCE_ORDER if s in found] + sorted(found - set(SOURCE_ORDER))
