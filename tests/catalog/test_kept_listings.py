"""`zoo list` is answered from its index whatever plugins are installed, and never says what is so no longer."""

from __future__ import annotations

import ctypes  # noqa: F401  (what plugins may do, below)
import json
import os
import pathlib  # noqa: F401
import shutil
import sqlite3  # noqa: F401
import subprocess  # noqa: F401
from pathlib import Path

import pytest
from fake_plugins import Site

from zoo.catalog.looked_at import Watch

PLAIN_STAT = os.stat

RUN = """
import sys
from zoo.cli import main

sys.argv = ["zoo", *sys.argv[1:]]
try:
    main.run()
finally:
    loaded = {name.partition(".")[0] for name in sys.modules}
    print(sorted(name for name in loaded if name in ("typer", "torch", "pluggy") or "pets" in name), file=sys.stderr)
"""
LISTS = """
    {before}
    from zoo import BackboneSpec, hookimpl

    zoo_api = 1

    @hookimpl
    def zoo_backbones():
        {inside}
        return [BackboneSpec("pets", str(name), "pets_x:build", ("image",), "tiny") for name in {names}]
"""


def lists(names: str, *, before: str = "", inside: str = "pass") -> str:
    return LISTS.format(names=names, before=before, inside=inside)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "site").mkdir()
    return Site(tmp_path / "site")


def listed(site: Site, **environ: str) -> tuple[set[str], bool]:
    """The architectures of pets, and whether the index answered."""
    done = site.python("-c", RUN, "list", "--json", ZOO_HOME=str(site.folder.parent / "home"), **environ)
    assert done.returncode == 0, done.stderr
    names = {row["architecture"] for row in json.loads(done.stdout) if row["source"].startswith("pets")}
    return names, done.stderr.splitlines()[-1] == "[]"


def learned(site: Site, names: set[str], **environ: str) -> None:
    """These are listed, by the catalogue first and by the index then."""
    assert listed(site, **environ) == (names, False)
    assert listed(site, **environ) == (names, True)


def test_fifty_plugins_are_listed_from_the_index_as_they_are_without_it(site: Site) -> None:
    for number in range(50):
        code = lists("range(20)").replace('"pets"', f'"pets{number}"')
        site.install(f"pets-{number}", code)
    home = {"ZOO_HOME": str(site.folder.parent / "home")}
    for words in (("list", "--json"), ("list", "pets1", "--sort", "params"), ("list", "heads")):
        anew = site.python("-c", RUN, *words, ZOO_PLUGIN_TIMEOUT="20")  # a setting with which nothing is kept
        site.python("-c", RUN, *words, **home)
        kept = site.python("-c", RUN, *words, **home)
        assert kept.stdout == anew.stdout
        assert kept.stderr.splitlines()[:-1] == anew.stderr.splitlines()[:-1]
        assert kept.stderr.splitlines()[-1] == "[]"
    assert json.loads(site.zoo("info", "pets7/3", "--json", **home).stdout)["distribution"] == "pets-7 1.0"


def test_a_plugin_that_is_edited_installed_upgraded_or_removed_is_seen_at_once(site: Site) -> None:
    site.install("pets", lists("['cat']"))
    learned(site, {"cat"})
    (site.folder / "pets.py").write_text((site.folder / "pets.py").read_text().replace("cat", "dog"))
    learned(site, {"dog"})
    site.install("more-pets", lists("['cow']").replace('"pets"', '"pets2"'))
    learned(site, {"dog", "cow"})
    info = site.folder / "more_pets-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: more-pets\nVersion: 2.0\n")
    assert listed(site)[1] is False
    shutil.rmtree(info)
    learned(site, {"dog"})


@pytest.mark.parametrize("how", ["tables of its package", "a module that was not there"])
def test_what_a_plugin_reads_of_its_own_is_seen_when_it_changes(site: Site, how: str) -> None:
    beside = site.folder / "pets_names.py"
    if how == "tables of its package":
        site.install("pets", "", entry="zoo_pets")
        (site.folder / "zoo_pets" / "tables").mkdir(parents=True)
        beside = site.folder / "zoo_pets" / "tables" / "names.txt"
        names = "(importlib.resources.files('zoo_pets') / 'tables' / 'names.txt').read_text().split()"
        code = lists(names, before="import importlib.resources").replace("\n    ", "\n")
        (site.folder / "zoo_pets" / "__init__.py").write_text(code)
        beside.write_text("cat")
    else:
        tried = (
            "try:\n            from pets_names import NAMES\n        except ImportError:\n            NAMES = ['none']"
        )
        site.install("pets", lists("NAMES", inside=tried))
    learned(site, {"none"} if how == "a module that was not there" else {"cat"})
    beside.write_text("dog" if beside.suffix == ".txt" else "NAMES = ['dog']")
    learned(site, {"dog"})


def test_a_folder_of_the_user_and_the_variable_that_names_it_are_watched(site: Site) -> None:
    one, other = site.folder.parent / "one", site.folder.parent / "other"
    inside = (
        "folder = pathlib.Path(os.environ.get('PETS') or '/nowhere')\n"
        "        names = [path.name for path in folder.glob('*/*')] if folder.is_dir() else ['none']"
    )
    site.install("pets", lists("names", before="import os, pathlib", inside=inside))
    learned(site, {"none"}, PETS=str(one))
    (one / "cats").mkdir(parents=True)
    (one / "cats" / "tom").touch()
    learned(site, {"tom"}, PETS=str(one))
    (one / "cats" / "tib").touch()
    learned(site, {"tom", "tib"}, PETS=str(one))
    (other / "dogs").mkdir(parents=True)
    learned(site, set(), PETS=str(other))
    assert listed(site) == ({"none"}, False)


UNKNOWN = {
    "starts another program": "subprocess.run(['true'])",
    "depends on the folder that zoo is run in": "pathlib.Path('tables').exists()",
    "reads the whole environment": "dict(os.environ)",
    "asks a network or a database": "sqlite3.connect(':memory:').close()",
    "loads a library of C": "ctypes.CDLL(None)",
}


@pytest.mark.parametrize("reason", UNKNOWN)
def test_it_is_noted_where_it_cannot_be_known_what_a_listing_comes_of(reason: str) -> None:
    watch, found = Watch(), {}
    watch.wanted = True
    with watch.plugin("pets", found):
        eval(UNKNOWN[reason])
    assert reason in (found["pets"].reason or "")
    assert os.stat is PLAIN_STAT


def test_a_listing_that_cannot_be_known_is_not_kept_and_zoo_plugins_says_why(site: Site) -> None:
    site.install("pets", lists("['cat']", inside="import subprocess; subprocess.run(['true'])"))
    assert listed(site) == ({"cat"}, False)
    assert listed(site) == ({"cat"}, False)
    assert "'pets' starts another program while it lists, so `zoo list` asks" in site.zoo("plugins").stderr


def test_zoo_plugins_makes_the_next_listing_anew(site: Site) -> None:
    site.install("pets", lists("['cat']"))
    learned(site, {"cat"})
    site.zoo("plugins", ZOO_HOME=str(site.folder.parent / "home"))
    learned(site, {"cat"})


def test_a_plugin_that_fails_is_warned_of_each_time(site: Site) -> None:
    site.install("pets", lists("['cat']"))
    site.install("bad-pets", "raise RuntimeError('oh')")
    for _ in range(2):
        done = site.zoo("list", "pets", ZOO_HOME=str(site.folder.parent / "home"))
        assert "'bad_pets' of bad-pets 1.0 is left out: RuntimeError: oh" in done.stderr
