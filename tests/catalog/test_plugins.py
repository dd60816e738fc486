"""Whatever an installed plugin does costs one warning that names its distribution, never the program."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from fake_plugins import GOOD, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """What `zoo list --json` printed: all of it is one JSON document, and the program succeeded."""
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def warnings_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("warning: ")]


def only_warning(done: subprocess.CompletedProcess[str]) -> str:
    """The one warning there is; everything that zoo brings is still listed."""
    assert {"starter", "torchvision", "timm", "transformers"} <= {row["source"] for row in rows(done)}
    lines = warnings_of(done)
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_good_plugin_is_listed_and_nothing_is_said(site: Site) -> None:
    site.install("good-pets")
    done = site.zoo("list", "--json")
    assert "fake/tiny" in {row["name"] for row in rows(done)}
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param("raise RuntimeError('no licence key')", "RuntimeError: no licence key", id="raises"),
        pytest.param(
            "import a_missing_library", "ModuleNotFoundError: No module named 'a_missing_library'", id="lacks"
        ),
        pytest.param("def f(:", "SyntaxError: invalid syntax", id="no-python"),
        pytest.param("import sys; sys.exit(3)", "SystemExit: 3", id="exits"),
        pytest.param("raise KeyboardInterrupt", "it raised KeyboardInterrupt", id="interrupts"),
        pytest.param("raise BaseException('odd')", "BaseException: odd", id="base-exception"),
        pytest.param("raise MemoryError", "it raised MemoryError", id="no-memory"),
    ],
)
def test_a_plugin_that_fails_at_import_is_left_out(site: Site, code: str, said: str) -> None:
    site.install("bad-pets", code)
    line = only_warning(site.zoo("list", "--json"))
    assert line.startswith("warning: plugin 'bad_pets' of bad-pets 1.0 is left out: ")
    assert said in line


def test_a_plugin_that_hangs_at_import_is_left_out_after_the_limit(site: Site) -> None:
    site.install("slow-pets", "import time\nfor _ in range(600): time.sleep(0.1)\nprint('late')")
    started = time.monotonic()
    done = site.zoo("list", "--json", ZOO_PLUGIN_TIMEOUT="1")
    assert "slow-pets 1.0 is left out: it did not load within 1 s" in only_warning(done)
    assert time.monotonic() - started < 15
    assert "late" not in done.stdout + done.stderr


def test_a_plugin_that_lists_without_end_is_left_out_after_the_limit(site: Site) -> None:
    site.install("endless-pets", GOOD.replace("return [", "while True: yield from ["))
    done = site.zoo("list", "--json", ZOO_PLUGIN_TIMEOUT="1")
    assert "endless-pets 1.0 is left out: it did not load within 1 s" in only_warning(done)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        pytest.param("junk_pets:NUMBER", "names 42, a value of type int, and not a module or object", id="number"),
        pytest.param("junk_pets:NOTHING", "names None, a value of type NoneType", id="none"),
        pytest.param("junk_pets:TEXT", "names 'pets', a value of type str", id="text"),
        pytest.param(
            "junk_pets:missing", "AttributeError: module 'junk_pets' has no attribute 'missing'", id="missing"
        ),
        pytest.param("junk_pets", "plugin 'junk_pets' (module) implements no hook", id="no-hooks"),
        pytest.param("no_such_module", "ModuleNotFoundError: No module named 'no_such_module'", id="no-module"),
    ],
)
def test_an_entry_point_that_names_junk_is_left_out(site: Site, entry: str, said: str) -> None:
    site.install("junk-pets", "NUMBER = 42\nNOTHING = None\nTEXT = 'pets'", entry=entry)
    line = only_warning(site.zoo("list", "--json"))
    assert "junk-pets 1.0 is left out: " in line
    assert said in line


def test_metadata_that_cannot_be_read_costs_a_warning(site: Site) -> None:
    site.install("good-pets")
    site.install("torn-pets")
    site.declare("torn-pets", "[zoo]\nthis line has no equals sign\n")
    done = site.zoo("list", "--json")
    assert "torn-pets 1.0 is left out: its entry_points.txt cannot be read" in only_warning(done)
    assert "fake/tiny" in {row["name"] for row in rows(done)}


def test_a_distribution_without_a_name_costs_a_warning_if_it_fails(site: Site) -> None:
    site.install("blank-pets", "raise RuntimeError('oh')")
    (site.folder / "blank_pets-1.0.dist-info" / "METADATA").unlink()
    assert "unknown distribution ? is left out: RuntimeError: oh" in only_warning(site.zoo("list", "--json"))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param(
            "from zoo import hookimpl\n@hookimpl\ndef zoo_backbone():\n    return []",
            "it has hooks that zoo does not know: zoo_backbone (did you mean zoo_backbones",
            id="misspelt",
        ),
        pytest.param(
            "def zoo_backbone():\n    return []",
            "it has hooks that zoo does not know: zoo_backbone (did you mean zoo_backbones",
            id="misspelt-and-unmarked",
        ),
        pytest.param(
            "from zoo import hookimpl\n@hookimpl\ndef zoo_train_fast():\n    return []",
            "it has hooks that zoo does not know: zoo_train_fast",
            id="unknown",
        ),
        pytest.param(
            "from zoo import hookimpl\n@hookimpl\ndef zoo_resolve(nmae):\n    return None",
            "{'nmae'} are declared in the hookimpl but can not be found in the hookspec",
            id="wrong-argument",
        ),
    ],
)
def test_a_hook_of_a_wrong_name_or_argument_is_said(site: Site, code: str, said: str) -> None:
    site.install("odd-pets", code)
    line = only_warning(site.zoo("list", "--json"))
    assert "odd-pets 1.0 is left out: " in line
    assert said in line


SPEC = 'BackboneSpec("fake", "tiny", "fake_factory:build", ("image",), "tiny"'


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        pytest.param("None", "returned nothing from zoo_backbones", id="none"),
        pytest.param("42", "returned a int from zoo_backbones", id="number"),
        pytest.param("'resnet'", "returned a str from zoo_backbones, not a BackboneSpec", id="text"),
        pytest.param("[{'name': 'resnet'}]", "returned a dict from zoo_backbones, not a BackboneSpec", id="dict"),
        pytest.param(f"[{SPEC}), None]", "returned a NoneType from zoo_backbones", id="half"),
        pytest.param(f"[{SPEC}, weights=None)]", "whose `weights` is None, not a tuple of WeightsSpec", id="weights"),
        pytest.param(f"[{SPEC}, weights=('a',))]", "that are no WeightsSpec", id="weights-of-text"),
        pytest.param(f"[{SPEC}, dim='512')]", "whose `dim` is '512', not a whole number or None", id="dim"),
        pytest.param(f"[{SPEC}, preprocess=[])]", "whose `preprocess` is []", id="preprocess"),
        pytest.param(f"[{SPEC.replace('tiny', 'a+b', 1)})]", "whose `architecture` is 'a+b'", id="plus"),
        pytest.param(f"[{SPEC.replace('fake', 'a/b', 1)})]", "whose `source` is 'a/b'", id="slash"),
        pytest.param(f"[{SPEC.replace('fake_factory:', '')})]", "whose `factory` is 'build'", id="factory"),
        pytest.param(
            "[" + SPEC.replace('("image",)', '"image"') + ")]", "whose `modalities` is 'image'", id="modality"
        ),
        pytest.param(
            f"[{SPEC}, weights=(WeightsSpec('a', 'hub:x/y', metrics={{'top-1': '0.8'}}),))]",
            "with weights 'a' whose `metrics` is {'top-1': '0.8'}",
            id="metrics",
        ),
        pytest.param(f"[{SPEC}), {SPEC})]", "offers backbone 'fake/tiny' twice", id="twice"),
    ],
)
def test_a_hook_that_returns_junk_is_said(site: Site, returned: str, said: str) -> None:
    site.install(
        "junk-pets",
        f"from zoo import BackboneSpec, WeightsSpec, hookimpl\n@hookimpl\ndef zoo_backbones():\n    return {returned}",
    )
    done = site.zoo("list", "--json")
    line = only_warning(done)
    assert "junk-pets 1.0 is left out: " in line
    assert said in line
    assert "fake" not in {row["source"] for row in rows(done)}


def test_a_hook_that_raises_half_way_offers_nothing(site: Site) -> None:
    half = GOOD.replace("return [", "yield ").replace('"tiny")]', '"tiny")\n        raise OSError("no list")')
    site.install("half-pets", half)
    done = site.zoo("list", "--json")
    assert "half-pets 1.0 is left out: OSError: no list" in only_warning(done)
    assert "fake" not in {row["source"] for row in rows(done)}


def test_what_a_plugin_prints_stays_out_of_the_answer(site: Site) -> None:
    loud = (
        "import os, subprocess, sys\n"
        "print('hello')\n"
        "os.write(1, b'from below\\n')\n"
        "subprocess.run([sys.executable, '-c', 'print(\"from a child\")'])\n"
    )
    site.install("loud-pets", loud + GOOD.replace("\n    ", "\n"))
    done = site.zoo("list", "--json")
    assert "fake/tiny" in {row["name"] for row in rows(done)}
    for text in ("hello", "from below", "from a child"):
        assert text in done.stderr


def test_a_plugin_name_that_two_distributions_take_goes_to_one_and_both_are_named(site: Site) -> None:
    site.install("first-pets", name="pets")
    site.install("second-pets", GOOD.replace('"fake"', '"other"'), name="pets")
    done = site.zoo("list", "--json")
    line = only_warning(done)
    assert "plugin 'pets' of second-pets 1.0 is left out: the plugin name 'pets' is taken by first-pets 1.0" in line
    assert {"fake", "other"} & {row["source"] for row in rows(done)} == {"fake"}


def test_a_backbone_that_two_distributions_offer_goes_to_one_and_both_are_named(site: Site) -> None:
    site.install("first-pets")
    site.install("second-pets")
    line = only_warning(site.zoo("list", "--json"))
    assert "plugin 'second_pets' of second-pets 1.0 is left out" in line
    assert "both offer backbone 'fake/tiny'" in line
    assert "first-pets 1.0" in line


def test_no_plugin_takes_the_place_of_one_of_zoo(site: Site) -> None:
    site.install("aaa-pets", GOOD.replace('"fake"', '"torchvision"'), name="timm")
    done = site.zoo("list", "--json")
    assert "plugin 'timm' of aaa-pets 1.0 is left out: the plugin name 'timm' is taken by zoo" in only_warning(done)


def test_no_plugin_takes_the_place_of_a_backbone_of_zoo(site: Site) -> None:
    site.install("aaa-pets", GOOD.replace('"fake", "tiny"', '"torchvision", "resnet18"'))
    line = only_warning(site.zoo("list", "--json"))
    assert "aaa-pets 1.0 is left out" in line
    assert "both offer backbone 'torchvision/resnet18'" in line
    assert "'torchvision' is of zoo" in line
    card = json.loads(site.zoo("info", "torchvision/resnet18", "--json").stdout)
    assert card["plugin"] == "torchvision"


@pytest.mark.parametrize(("version", "mend"), [("2", "upgrade zoo"), ("0", "upgrade the plugin"), ("'1'", "upgrade")])
def test_a_plugin_of_another_api_version_is_refused(site: Site, version: str, mend: str) -> None:
    site.install("other-pets", GOOD.replace("zoo_api = 1", f"zoo_api = {version}"))
    line = only_warning(site.zoo("list", "--json"))
    assert "other-pets 1.0 is left out: it was built for plugin API" in line
    assert mend in line


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param("import os; os.environ['CUDA_VISIBLE_DEVICES'] = '7'", "CUDA_VISIBLE_DEVICES", id="environment"),
        pytest.param("import os; os.chdir('/')", "the working folder", id="folder"),
        pytest.param("import logging; logging.disable()", "the root logger", id="logging"),
        pytest.param("import warnings; warnings.simplefilter('ignore')", "the warning filters", id="warnings"),
        pytest.param("import random; random.seed(0)", "the random state", id="random"),
    ],
)
def test_a_plugin_that_changes_the_process_is_named(site: Site, code: str, said: str) -> None:
    site.install("meddling-pets", code + "\n" + GOOD.replace("\n    ", "\n"))
    runner = "import logging, random, runpy; runpy.run_module('zoo', run_name='__main__', alter_sys=True)"
    done = site.python("-c", runner, "list", "--json", CUDA_VISIBLE_DEVICES="0")
    line = only_warning(done)
    assert "plugin 'meddling_pets' of meddling-pets 1.0 changes " in line
    assert said in line


def test_a_failure_is_shown_by_zoo_plugins_and_by_doctor(site: Site) -> None:
    site.install("bad-pets", "import sys; sys.exit(3)")
    done = site.zoo("plugins", "--json")
    assert done.returncode == 0
    reports = {report["name"]: report for report in json.loads(done.stdout)}
    assert reports["bad_pets"]["status"] == "failed"
    assert reports["bad_pets"]["distribution"] == "bad-pets"
    assert reports["bad_pets"]["error"] == "SystemExit: 3"
    assert reports["timm"]["status"] == "loaded"
    assert "bad-pets 1.0" in site.zoo("plugins").stdout


def test_every_command_that_looks_a_name_up_warns(site: Site) -> None:
    site.install("bad-pets", "raise RuntimeError('oh')")
    for words in (["info", "torchvision/resnet18"], ["plan", "torchvision/resnet18"], ["info", "bad_pets/tiny"]):
        done = site.zoo(*words)
        assert "plugin 'bad_pets' of bad-pets 1.0 is left out: RuntimeError: oh" in done.stderr, words
        assert "Traceback" not in done.stderr


RESOLVER = """
    from zoo import hookimpl

    @hookimpl
    def zoo_resolve(name):
        print("asked for", name)
        {body}
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param("raise ValueError('cannot say')", "ValueError: cannot say", id="raises"),
        pytest.param("raise SystemExit(2)", "SystemExit: 2", id="exits"),
        pytest.param("return 42", "it returned a int, not a BackboneSpec or None", id="number"),
    ],
)
def test_a_plugin_that_fails_to_resolve_a_name_leaves_it_to_the_others(site: Site, body: str, said: str) -> None:
    site.install("asked-pets", RESOLVER.format(body=body), name="aaa")
    done = site.zoo("info", "transformers/someone/some-model", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["source"] == "transformers"
    done = site.zoo("info", "a-name-nobody-knows", "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"plugin 'aaa' could not be asked for 'a-name-nobody-knows': {said}" in done.stderr
    assert "error[usage]: No backbone is named 'a-name-nobody-knows'" in done.stderr


@pytest.mark.parametrize("body", ["raise ValueError('cannot say')", "raise SystemExit(2)"])
def test_commands_that_a_plugin_fails_to_add_are_left_out(site: Site, body: str) -> None:
    site.install(
        "command-pets",
        RESOLVER.replace("zoo_resolve(name)", "zoo_commands(app)").format(body=body).replace(", name", ""),
    )
    done = site.zoo("groom")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "the commands of plugin 'command_pets' are left out" in done.stderr
    assert "No such command 'groom'" in done.stderr
    assert site.zoo("list", "heads").returncode == 0


def test_the_factory_of_a_plugin_that_is_gone_is_one_clear_error(site: Site) -> None:
    site.install("good-pets")
    done = site.zoo("extract", "fake/tiny", "builtin:glyphs", "-o", "features.npy")
    assert done.returncode == 1
    assert "error[plugin]: the factory 'fake_factory:build' of fake/tiny cannot be imported" in done.stderr
    assert "Traceback" not in done.stderr


def test_zoo_plugins_names_those_that_are_loaded(site: Site) -> None:
    site.install("good-pets")
    listed = {row["source"] for row in rows(site.zoo("list", "--json", ZOO_PLUGINS="starter, good_pets"))}
    assert listed == {"starter", "fake"}


def test_an_empty_zoo_plugins_loads_none_and_runs_no_foreign_line(site: Site) -> None:
    site.install("bad-pets", "raise RuntimeError('imported')")
    done = site.zoo("list", "--json", ZOO_PLUGINS="")
    assert rows(done) == []
    assert done.stderr == ""


def test_no_plugins_loads_none_but_the_program_goes_on(site: Site) -> None:
    site.install("bad-pets", "raise RuntimeError('imported')")
    done = site.zoo("--no-plugins", "list", "--json")
    assert rows(done) == []
    assert done.stderr == ""
    assert {row["name"] for row in rows(site.zoo("--no-plugins", "list", "heads", "--json"))} >= {"linear", "mlp"}


def test_zoo_disable_switches_one_off(site: Site) -> None:
    site.install("bad-pets", "raise RuntimeError('imported')")
    done = site.zoo("list", "--json", ZOO_DISABLE="bad_pets,timm")
    assert warnings_of(done) == []
    assert "timm" not in {row["source"] for row in rows(done)}
    reports = {r["name"]: r["status"] for r in json.loads(site.zoo("plugins", "--json", ZOO_DISABLE="timm").stdout)}
    assert reports["timm"] == "disabled"
    assert reports["torchvision"] == "loaded"


@pytest.mark.parametrize("setting", ["ZOO_PLUGINS", "ZOO_DISABLE"])
def test_a_misspelt_plugin_in_a_setting_is_said(site: Site, setting: str) -> None:
    done = site.zoo("list", "--json", **{setting: "starter,torchvison"})
    assert rows(done)
    assert warnings_of(done) == [
        f"warning: {setting} names the plugin 'torchvison', which is not installed; did you mean torchvision?"
    ]


def test_a_time_limit_that_is_no_number_is_one_clear_error(site: Site) -> None:
    done = site.zoo("list", "--json", ZOO_PLUGIN_TIMEOUT="soon")
    assert done.returncode == 2
    assert "error[usage]: ZOO_PLUGIN_TIMEOUT=soon is no number of seconds" in done.stderr
