"""What the tests of reports share: one page of all parts, and one whose every name tries to break it."""

from __future__ import annotations

import pytest
from made_reports import hostile, made

from zoo.comparison.result import Comparison
from zoo.reporting.blocks import Report
from zoo.reporting.build import build
from zoo.reporting.page import page


@pytest.fixture(scope="session")
def comparison() -> Comparison:
    return made()


@pytest.fixture(scope="session")
def breaking() -> Comparison:
    return hostile()


@pytest.fixture(scope="session")
def built(comparison: Comparison) -> Report:
    return build(comparison)


@pytest.fixture(scope="session")
def built_to_break(breaking: Comparison) -> Report:
    return build(breaking)


@pytest.fixture(scope="session")
def html(built: Report) -> str:
    return page(built)


@pytest.fixture(scope="session")
def hostile_html(built_to_break: Report) -> str:
    return page(built_to_break)
