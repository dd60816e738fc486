"""The catalogue is a value: what plugins offer, looked up by the words of a user."""

from __future__ import annotations

import dataclasses
import json
import types
from pathlib import Path
from typing import Any

import pytest

from zoo import (
    API_VERSION,
    BackboneSpec,
    Catalog,
    DuplicateNameError,
    HeadSpec,
    ImagePreprocess,
    PluginError,
    TextPreprocess,
    UnknownNameError,
    UsageError,
    WeightsError,
    WeightsSpec,
    default_catalog,
    fingerprint,
    hookimpl,
)
from zoo.catalog.cached import is_cached
from zoo.catalog.discovery import discover
from zoo.catalog.serial import spec_from_json, spec_to_json, weights_from_json, weights_to_json
from zoo.verbs.listing import list_backbones

PREPROCESS = ImagePreprocess((8, 8), mean=(0.5,), std=(0.25,))


def spec(name: str, **values: Any) -> BackboneSpec:
    """Such as "timm/tiny"."""
    source, _, architecture = name.partition("/")
    given = {"factory": "fake:build", "modalities": ("image",), "family": "tiny", **values}
    return BackboneSpec(source=source, architecture=architecture, **given)


def weights(*tags: str) -> tuple[WeightsSpec, ...]:
    return tuple(WeightsSpec(tag, f"hub:someone/{tag}", preprocess={"image": PREPROCESS}) for tag in tags)


def offers(*specs: BackboneSpec) -> object:
    """A plugin with these backbones."""

    class Plugin:
        @hookimpl
        def zoo_backbones(self) -> list[BackboneSpec]:
            return list(specs)

    return Plugin()


CATALOG = Catalog.of(
    {
        "a": offers(
            spec("timm/tiny", weights=weights("v1", "v2")),
            spec("timm/tiny.small", weights=weights("v1")),
            spec("timm/only_timm"),
        ),
        "b": offers(spec("torchvision/tiny", weights=weights("v1")), spec("torchvision/Big-Net", weights=weights("X"))),
        "c": offers(spec("open_clip/pair", modalities=("image", "text"), weights=weights("open"))),
        "d": offers(spec("zebra/tiny"), spec("ant/tiny"), spec("ant/other")),
    }
)


# --- what plugins offer


def test_two_plugins_cannot_offer_one_name() -> None:
    with pytest.raises(DuplicateNameError, match="plugin 'a' and plugin 'b' both offer backbone 'x/tiny'"):
        Catalog.of({"a": offers(spec("x/tiny")), "b": offers(spec("x/tiny"))})


def test_names_that_differ_by_case_alone_are_one_name() -> None:
    with pytest.raises(DuplicateNameError, match="both offer backbone 'x/Tiny'"):
        Catalog.of({"a": offers(spec("x/tiny")), "b": offers(spec("x/Tiny"))})


def test_a_plugin_cannot_offer_a_name_twice() -> None:
    with pytest.raises(DuplicateNameError, match="plugin 'a' offers backbone 'x/tiny' twice"):
        Catalog.of({"a": offers(spec("x/tiny"), spec("x/tiny"))})


def test_a_module_is_a_plugin() -> None:
    module = types.ModuleType("heads")
    module.zoo_heads = hookimpl(lambda: [HeadSpec("mine", "fake:build", "my head")])  # type: ignore[attr-defined]
    assert Catalog.of({"a": module}).heads["mine"].summary == "my head"


def test_something_without_hooks_is_no_plugin() -> None:
    with pytest.raises(PluginError, match=r"plugin 'a' \(object\) implements no hook"):
        Catalog.of({"a": object()})


def test_the_catalogue_cannot_be_changed() -> None:
    with pytest.raises(TypeError, match="does not support item assignment"):
        CATALOG.backbones["timm/new"] = spec("timm/new")  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign"):
        CATALOG.backbones = {}  # type: ignore[misc]


def test_one_more_plugin_makes_a_new_catalogue() -> None:
    manager_offer = Catalog.of({"e": offers(spec("x/new"))})
    both = CATALOG.plus("e", manager_offer.managers["e"], _offer(manager_offer))
    assert "x/new" in both.backbones
    assert "x/new" not in CATALOG.backbones


def _offer(catalog: Catalog) -> Any:
    from zoo.catalog.catalog import offer_of

    (name,) = catalog.managers
    return offer_of(name, catalog.managers[name])


def test_the_owner_of_a_backbone_is_known() -> None:
    assert CATALOG.owners_of(CATALOG.backbones["torchvision/tiny"]) == "b"
    assert CATALOG.owners_of(spec("x/resolved")) is None


# --- what words mean


@pytest.mark.parametrize(
    ("text", "name", "tag"),
    [
        ("timm/tiny", "timm/tiny.v1", "v1"),
        ("timm/tiny.v2", "timm/tiny.v2", "v2"),
        ("timm/tiny@v2", "timm/tiny.v2", "v2"),
        ("TIMM/Tiny.V2", "timm/tiny.v2", "v2"),
        ("timm/tiny.small", "timm/tiny.small.v1", "v1"),
        ("timm/tiny.small.v1", "timm/tiny.small.v1", "v1"),
        ("torchvision/big-net", "torchvision/Big-Net.X", "X"),
        ("big-net.x", "torchvision/Big-Net.X", "X"),
        ("timm/tiny@random", "timm/tiny@random", None),
        ("timm/tiny@RANDOM", "timm/tiny@random", None),
        ("timm/only_timm", "timm/only_timm", None),
        ("open_clip/pair:text", "open_clip/pair.open:text", "open"),
        ("pair.open:image", "open_clip/pair.open:image", "open"),
    ],
)
def test_a_name_finds_its_backbone_and_weights(text: str, name: str, tag: str | None) -> None:
    (found,) = CATALOG.select(text)
    assert found.name == name
    assert (found.weights.tag if found.weights else None) == tag


def test_a_bare_name_is_looked_up_in_a_fixed_order_and_a_note_says_so() -> None:
    (found,) = CATALOG.select("tiny")
    assert found.name == "torchvision/tiny.v1"
    assert found.notes == ("'tiny' is taken from torchvision; timm, ant, zebra has one too",)
    assert CATALOG.select("other")[0].notes[0] == "'other' is taken from ant"


def test_a_fused_name_has_a_selection_for_each_part() -> None:
    found = CATALOG.select("timm/tiny@random+pair:text")
    assert [each.name for each in found] == ["timm/tiny@random", "open_clip/pair.open:text"]
    assert [each.towers for each in found] == [("image",), ("text",)]


def test_the_name_of_a_selection_means_the_same_again() -> None:
    for text in ("tiny", "timm/tiny.v2", "pair:text", "timm/tiny@random", "timm/only_timm"):
        (first,) = CATALOG.select(text)
        (second,) = CATALOG.select(first.name)
        assert (second.name, second.spec, second.weights, second.towers) == (
            first.name, first.spec, first.weights, first.towers,
        )  # fmt: skip


def test_random_weights_are_said_where_there_are_no_others() -> None:
    assert CATALOG.select("timm/only_timm")[0].notes == ("timm/only_timm has no pretrained weights; they are random",)


def test_a_file_serves_as_weights_with_the_defaults_preprocessing(tmp_path: Path) -> None:
    path = tmp_path / "w@1+2.safetensors"
    path.touch()
    (found,) = CATALOG.select(f"timm/tiny@{path}")
    assert found.weights is not None
    assert (found.weights.tag, found.weights.origin) == ("file", f"file:{path}")
    assert found.weights.preprocess == {"image": PREPROCESS}
    assert found.name == f"timm/tiny@{path}"
    assert CATALOG.select("timm/tiny", weights=str(path))[0].weights == found.weights


def test_a_misspelt_name_offers_what_is_near() -> None:
    with pytest.raises(UnknownNameError, match=r"No backbone is named 'timm/tinny'\. Did you mean timm/tiny"):
        CATALOG.select("timm/tinny")
    with pytest.raises(UnknownNameError, match=r"No backbone is named 'bignet'\. Did you mean Big-Net"):
        CATALOG.select("bignet")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timm/tiny.v3", "timm/tiny has no weights 'v3'"),
        ("timm/tiny@imagenet", "timm/tiny has no weights 'imagenet'"),
        ("timm/tiny@./no/such.safetensors", r"there are no weights at \./no/such\.safetensors"),
        ("timm/tiny@such.pth", r"there are no weights at such\.pth"),
    ],
)
def test_weights_that_are_not_there_are_one_clear_error(text: str, said: str) -> None:
    with pytest.raises(WeightsError, match=said) as caught:
        CATALOG.select(text)
    assert caught.value.exit_code == 4
    assert caught.value.help


def test_a_tower_that_a_backbone_lacks_is_said() -> None:
    with pytest.raises(UsageError, match="timm/tiny has no text tower"):
        CATALOG.select("timm/tiny:text")


def test_weights_beside_a_fused_name_are_ambiguous() -> None:
    with pytest.raises(UsageError, match=r"--weights v1 does not say which part of timm/tiny\+pair it is for"):
        CATALOG.select("timm/tiny+pair", weights="v1")


def test_weights_named_twice_are_refused_unless_they_are_the_same() -> None:
    with pytest.raises(UsageError, match="timm/tiny@v1 names weights, and --weights v2 names others"):
        CATALOG.select("timm/tiny@v1", weights="v2")
    assert CATALOG.select("timm/tiny@v1", weights="v1")[0].name == "timm/tiny.v1"


# --- names that only a plugin can resolve


class Resolver:
    """Resolves every name that begins with "r-"."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @hookimpl
    def zoo_backbones(self) -> list[BackboneSpec]:
        return [spec("mine/listed")]

    @hookimpl
    def zoo_resolve(self, name: str) -> BackboneSpec | None:
        self.asked.append(name)
        return spec(f"mine/{name}") if name.startswith("r-") else None


def test_a_plugin_is_asked_only_for_what_nobody_lists() -> None:
    plugin = Resolver()
    catalog = Catalog.of({"p": plugin})
    catalog.select("mine/listed")
    assert plugin.asked == []
    assert catalog.select("r-a b")[0].spec.name == "mine/r-a b"
    assert catalog.select("mine/r-x")[0].spec.name == "mine/r-x"
    assert plugin.asked == ["r-a b", "r-x"]


def test_a_name_under_the_source_of_another_plugin_is_not_asked_for() -> None:
    first, second = Resolver(), offers(spec("other/listed"))
    catalog = Catalog.of({"p": first, "q": second})
    with pytest.raises(UnknownNameError, match="No backbone is named 'other/r-x'"):
        catalog.select("other/r-x")
    assert first.asked == []


class Failing:
    """Fails to resolve, in the way it is told."""

    def __init__(self, result: object) -> None:
        self.result = result

    @hookimpl
    def zoo_resolve(self, name: str) -> object:
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (ValueError("no"), "ValueError: no"),
        (SystemExit(3), "SystemExit: 3"),
        (42, "it returned a int, not a BackboneSpec or None"),
        (spec("x/y", dim="8"), "whose `dim` is '8'"),
    ],
)
def test_a_plugin_that_fails_to_resolve_is_warned_of_and_the_next_is_asked(result: object, said: str) -> None:
    catalog = Catalog.of({"bad": Failing(result), "good": Resolver()})
    with pytest.warns(UserWarning, match=f"plugin 'bad' could not be asked for 'r-x': .*{said}"):
        assert catalog.select("r-x")[0].spec.name == "mine/r-x"


def test_what_a_plugin_means_for_the_user_reaches_the_user() -> None:
    catalog = Catalog.of({"a": Failing(WeightsError("config.json is damaged", help="fetch it again"))})
    with pytest.raises(WeightsError, match=r"config\.json is damaged"):
        catalog.select("x")


# --- what zoo brings


def test_everything_that_is_listed_can_be_selected_by_its_name() -> None:
    catalog = default_catalog()
    for row in list_backbones(catalog=catalog):
        (found,) = catalog.select(row.name)
        assert (found.name, found.spec, found.weights) == (row.name, row.spec, row.weights), row.name


def test_every_source_is_listed_with_more_than_2500_rows() -> None:
    rows = list_backbones()
    assert len(rows) > 2500
    brought = {"starter", "torchvision", "timm", "open_clip", "transformers", "recurrent"}
    assert brought <= {row.spec.source for row in rows}
    assert len({row.name.casefold() for row in rows}) == len(rows)


def test_every_plugin_of_zoo_declares_the_version_it_was_built_for() -> None:
    reports = discover(environ={}).reports
    assert {report.api_version for report in reports} == {API_VERSION}
    assert {report.status for report in reports} == {"loaded"}


def test_every_specification_survives_json() -> None:
    for each in default_catalog().backbones.values():
        written = json.loads(json.dumps(spec_to_json(each)))
        back = spec_from_json(written)
        assert fingerprint(back) == fingerprint(each), each.name
        for one in each.weights:
            assert fingerprint(weights_from_json(json.loads(json.dumps(weights_to_json(one))))) == fingerprint(one)


def test_a_specification_of_a_later_version_is_read() -> None:
    written = {**spec_to_json(spec("x/y", weights=weights("v1"))), "a_later_field": 1}
    assert spec_from_json(written) == spec("x/y", weights=weights("v1"))


def test_a_fingerprint_follows_every_value() -> None:
    values = [
        PREPROCESS,
        dataclasses.replace(PREPROCESS, fill=1),
        TextPreprocess("t", 8),
        TextPreprocess("t", 9),
        *(1, "1", [1], {"a": 1}, None, True),
    ]
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_cached_weights_are_recognised_without_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    url, hub = WeightsSpec("a", "https://host/dir/w-1.pth"), WeightsSpec("a", "hub:someone/tiny:w.safetensors")
    assert is_cached(WeightsSpec("a", "package:zoo_starter/x"))
    assert not is_cached(url)
    assert not is_cached(hub)
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "torch" / "hub" / "checkpoints" / "w-1.pth").touch()
    snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").touch()
    assert is_cached(url)
    assert not is_cached(hub)
    assert not is_cached(WeightsSpec("a", "hub:someone/tiny"))
    (snapshot / "w.safetensors").touch()
    assert is_cached(hub)
    assert is_cached(WeightsSpec("a", "hub:someone/tiny"))
