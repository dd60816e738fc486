"""The tests run from the checkout, whether the example is installed or not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
if importlib.util.find_spec("zoo_mixer") is None:
    sys.path.insert(0, str(ROOT))


@pytest.fixture
def root() -> Path:
    """The folder of the plugin."""
    return ROOT
