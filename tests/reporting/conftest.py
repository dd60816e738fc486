"""What the tests of reports share."""

from __future__ import annotations

import pytest
from made import hostile, made

from zoo.comparison.result import Comparison


@pytest.fixture(scope="session")
def comparison() -> Comparison:
    return made()


@pytest.fixture(scope="session")
def breaking() -> Comparison:
    return hostile()
