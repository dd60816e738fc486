"""A plugin that hangs costs its whole time once, not at every command; a slow one gets another chance."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from textwrap import dedent

import pytest
from fake_plugins import GOOD, Site

from zoo.catalog import slow
from zoo.catalog.discovery import SHORT_LIMIT, TIME_LIMIT
from zoo.catalog.slow import Memory

HANGS = "import time\nfor _ in range(600): time.sleep(0.1)\n"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def spent(site: Site, *words: str) -> tuple[float, str, bool]:
    """Seconds, standard error, and whether the fake backbone is listed."""
    started = time.monotonic()
    done = site.zoo(*words, ZOO_HOME=str(site.folder / "home"))
    assert done.returncode == 0, done.stderr
    return time.monotonic() - started, done.stderr, '"fake/tiny"' in done.stdout


def test_a_plugin_that_hangs_costs_its_whole_time_once_and_is_looked_at_anew_when_it_is_edited(site: Site) -> None:
    site.install("slow-pets", HANGS)
    first, said, _ = spent(site, "list", "--json")
    assert first >= TIME_LIMIT
    assert f"slow-pets 1.0 is left out: it did not load within {TIME_LIMIT:g} s\n" in said
    again, said, _ = spent(site, "list", "--json")
    assert again < TIME_LIMIT
    assert f"it did not load within {SHORT_LIMIT:g} s, and hung before; `zoo plugins` gives it 5 s again" in said
    (site.folder / "slow_pets.py").write_text(dedent(GOOD).replace("zoo_api", "import time; time.sleep(0.7); zoo_api"))
    _, said, listed = spent(site, "list", "--json")
    assert listed
    assert not said


def test_a_plugin_that_was_slow_once_is_back_after_zoo_plugins(site: Site) -> None:
    site.install("slow-pets", "import time\ntime.sleep(0.9)\n" + dedent(GOOD))
    home = site.folder / "home"
    code = "from zoo.catalog.slow import Memory; Memory('slow-pets 1.0', 'slow_pets').remember()"
    site.python("-c", code, ZOO_HOME=str(home))
    assert "hung before" in spent(site, "list", "--json")[1]
    assert spent(site, "plugins")[1].startswith("A plugin is code")
    assert json.loads((home / "slow-plugins.json").read_text()) == {}
    assert spent(site, "list", "--json")[2]


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memory:
    """Of a plugin whose package is in a folder of its own."""
    (tmp_path / "slow_pets_here").mkdir()
    (tmp_path / "slow_pets_here" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    return Memory(f"slow-pets {tmp_path.name}", "slow_pets_here:plugin")


def test_what_hung_is_known_until_it_comes_back(memory: Memory) -> None:
    assert not memory.hung_before()
    memory.remember()
    assert memory.hung_before()
    assert not Memory("slow-pets 2.0", memory.value).hung_before()
    memory.forget()
    assert not memory.hung_before()


def test_a_change_of_any_file_of_the_package_gives_it_a_new_chance(memory: Memory, tmp_path: Path) -> None:
    memory.remember()
    other = tmp_path / "slow_pets_here" / "list.py"
    other.write_text("")
    os.utime(other, (time.time() + 10, time.time() + 10))
    assert not memory.hung_before()


@pytest.mark.parametrize("text", ["", "[]", '{"slow": 3}', "\x00"])
def test_a_memory_that_cannot_be_read_is_an_empty_one(memory: Memory, text: str) -> None:
    memory.remember()
    slow._file().write_text(text)
    assert not memory.hung_before()
    memory.remember()
    assert memory.hung_before()
