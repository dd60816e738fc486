"""Which versions of the plugin contract load, and what is said of those that soon will not."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from zoo import API_VERSION, BackboneSpec, PluginError, hookimpl
from zoo.catalog.discovery import Discovery, discover
from zoo.catalog.versions import OLDEST_API, agreed, deprecation


@dataclass(frozen=True)
class Entry:
    """An entry point whose module is made here."""

    zoo_api: object
    name: str = "pets"
    value: str = "zoo_pets"
    dist: Any = None

    def load(self) -> Any:
        @hookimpl
        def zoo_backbones() -> list[BackboneSpec]:
            return [BackboneSpec("pets", "tiny", "zoo_pets.adapter:build", ("image",), "tiny")]

        return SimpleNamespace(zoo_backbones=zoo_backbones, zoo_api=self.zoo_api)


def loaded(zoo_api: object, *, oldest: int, newest: int) -> Discovery:
    return discover([Entry(zoo_api)], environ={}, api=(oldest, newest))


@pytest.mark.parametrize(
    ("declared", "oldest", "newest", "common"),
    [(1, 1, 1, 1), (1, 1, 2, 1), ((1, 2), 1, 2, 2), ((1, 2), 1, 1, 1), ((2, 3), 1, 2, 2), ((1, 2), 2, 3, 2)],
)
def test_the_newest_version_that_both_know_is_taken(declared: object, oldest: int, newest: int, common: int) -> None:
    assert agreed(declared, oldest=oldest, newest=newest) == common
    report = loaded(declared, oldest=oldest, newest=newest).reports[0]
    assert (report.status, report.api_version) == ("loaded", common)


@pytest.mark.parametrize(
    ("declared", "oldest", "newest", "said"),
    [
        (3, 1, 2, "it was built for plugin API 3, this zoo has 1 to 2; upgrade zoo"),
        (1, 2, 2, "it was built for plugin API 1, this zoo has 2; upgrade the plugin"),
        ((1, 2), 3, 4, "it was built for plugin API 1 and 2, this zoo has 3 to 4; upgrade the plugin"),
        ((), 1, 1, r"plugin API \(\), no whole number"),
        (True, 1, 1, "plugin API True, no whole number"),
        ((1, "2"), 1, 2, "no whole number or tuple of them"),
    ],
)
def test_without_a_common_version_it_is_said_who_must_upgrade(
    declared: object, oldest: int, newest: int, said: str
) -> None:
    with pytest.raises(PluginError, match=said):
        agreed(declared, oldest=oldest, newest=newest)
    assert loaded(declared, oldest=oldest, newest=newest).reports[0].status == "failed"


def test_a_version_on_its_last_release_loads_with_a_warning() -> None:
    found = loaded(1, oldest=1, newest=2)
    assert "pets/tiny" in found.catalog.backbones
    assert found.warnings == (
        "plugin 'pets' of unknown distribution ? knows plugin API 1 and not 2; "
        "the next minor release of zoo will leave it out: upgrade it",
    )
    assert loaded((1, 2), oldest=1, newest=2).warnings == ()


def test_a_plugin_that_declares_no_version_loads_and_reports_none() -> None:
    report = loaded(None, oldest=1, newest=2).reports[0]
    assert (report.status, report.api_version, report.deprecated) == ("loaded", None, None)


def test_today_every_version_that_loads_loads_without_a_warning() -> None:
    assert OLDEST_API <= API_VERSION
    assert deprecation(agreed(API_VERSION)) is None
