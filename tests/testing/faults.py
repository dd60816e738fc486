"""What the checks found at fault."""

from __future__ import annotations

from zoo.testing import Conformance


def failed(found: Conformance) -> list[str]:
    """The checks that were not passed."""
    return [result.check for result in found.failed]
