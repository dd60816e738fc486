"""What scripts rely on: one JSON document on standard output, with the keys that docs/cli.md lists."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from program import Zoo, documented

from zoo.data.types import ReadOptions
from zoo.errors import DataError, DivergedError, PluginError, UsageError, WeightsError, ZooError
from zoo.transfer.options import Training
from zoo.verbs.config import Output, RunConfig

GLYPH = "starter/glyph-cnn"


def keys(value: Any) -> set[str]:
    """Of an object, or of the objects of a list."""
    if isinstance(value, list):
        assert value, "an empty list shows no keys"
        assert all(set(each) == set(value[0]) for each in value)
        value = value[0]
    return set(value)


@pytest.mark.parametrize(
    ("words", "marker"),
    [
        (["list", "glyph", "--json"], "`zoo list --json`"),
        (["list", "datasets", "--json"], "`zoo list heads --json`"),
        (["info", GLYPH, "--json"], "`zoo info NAME --json`"),
        (["plan", GLYPH, "--json"], "`zoo plan NAME --json`"),
        (["check", "sklearn:digits", "--json"], "`zoo check DATA --json`"),
        (["extract", GLYPH, "sklearn:digits", "--split", "val", "-o", "f.npy", "--json"], "`zoo extract ... --json`"),
        (
            ["find-lr", GLYPH, "sklearn:digits", "--limit", "40", "--steps", "20", "--strategy", "head", "--json"],
            "`zoo find-lr BACKBONE DATA --json`",
        ),
        (["plugins", "--json"], "`zoo plugins --json`"),
        (["plugins", "new", "mine", "--json"], "`zoo plugins new NAME --json`"),
        (["plugins", "check", "timm", "--only", "api-version", "--json"], "`zoo plugins check NAME --json`"),
        (["doctor", "--json"], "`zoo doctor --json`"),
        (
            ["finetune", GLYPH, "sklearn:digits", "--limit", "50", "--dry-run", "--json"],
            "`--dry-run --json` prints the plan",
        ),
        (
            ["finetune", GLYPH, "sklearn:digits", "--limit", "50", "--strategy", "linear-probe", "--json"],
            "`zoo finetune ... --json`",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_prints_one_document_with_the_documented_keys(zoo: Zoo, words: list[str], marker: str) -> None:
    done = zoo(*words)
    assert done.code == 0, done.err
    assert keys(done.json()) == documented(marker)


def test_heads_have_the_keys_of_every_noun_and_data_sets_more(zoo: Zoo) -> None:
    assert keys(zoo("list", "heads", "--json").json()) == {"name", "summary"}


def test_a_fused_name_gives_one_card_a_part(zoo: Zoo) -> None:
    cards = zoo("info", f"{GLYPH}+starter/gru", "--json").json()
    assert [card["architecture"] for card in cards] == ["glyph-cnn", "gru"]


def test_evaluate_prints_the_documented_keys(zoo: Zoo, runs: Path) -> None:
    done = zoo("evaluate", runs / "texts", "--json")
    assert keys(done.json()) == documented("`zoo evaluate RUN --json`")
    assert keys(done.json()["per_class"]) == {"name", "precision", "recall", "f1", "support"}


def test_runs_prints_the_documented_keys(zoo: Zoo, runs: Path) -> None:
    found = zoo("runs", "--out", runs, "--json").json()
    assert {Path(run["run"]).name for run in found} == {"texts", "pictures", "numbers"}
    assert keys(found) == documented("`zoo runs --json`")
    shown = zoo("runs", "show", "texts", "--out", runs, "--json").json()
    assert set(shown) == documented("`zoo runs show RUN --json`") - {"error"}


def test_predict_prints_lines_with_the_documented_keys(zoo: Zoo, runs: Path) -> None:
    listed = documented("Each gives one JSON line")
    for run, words, expected in (
        ("texts", ["a good film", ""], [{"input", "label", "probabilities"}, {"input", "error"}]),
        ("numbers", ["a house of 3 rooms"], [{"input", "values"}]),
    ):
        lines = zoo("predict", run, *words, "--out", runs).lines()
        assert [set(line) for line in lines] == expected
        assert set().union(*expected) <= listed
    of_rows = {"input", "label", "labels", "probabilities", "values", "error"}
    # tests/verbs/test_dense_runs.py and test_detection.py have the keys of pixels, words and objects
    assert listed == of_rows | {"size", "pixels", "mask", "words", "tags", "spans", "objects", "drawn"}


def test_every_metric_is_documented(zoo: Zoo, runs: Path) -> None:
    import numpy as np

    from zoo.data.types import Task
    from zoo.transfer.metrics import measure

    page = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (20, 3)).astype(np.float32)
    found = [
        measure(Task("multiclass", ("a", "b")), np.full((20, 2), 0.5, dtype=np.float32), np.arange(20) % 2),
        measure(Task("multilabel", ("a", "b", "c")), rng.random((20, 3)).astype(np.float32), truth),
        measure(Task("regression", (), ("y",)), rng.random((20, 1)).astype(np.float32), rng.random((20, 1))),
    ]
    for metric in {name for metrics in found for name in metrics}:
        assert f"`{metric}`" in page


@pytest.mark.parametrize(
    ("marker", "kind"),
    [("| key of `read:`", ReadOptions), ("| key of `train:`", Training), ("| key of `out:`", Output)],
)
def test_every_key_of_the_configuration_is_documented(marker: str, kind: Any) -> None:
    known = {field.name for field in dataclasses.fields(kind)}
    assert documented(marker) == known


def test_the_top_of_the_configuration_is_documented() -> None:
    known = {field.name for field in dataclasses.fields(RunConfig)} - {"read", "train", "out"}
    assert documented("`--config FILE` takes") == {"zoo", *known}


def test_hybrid_prints_the_documented_keys_and_those_of_models_side_by_side(zoo: Zoo) -> None:
    done = zoo("hybrid", GLYPH, f"{GLYPH}@random", "sklearn:digits", "--limit", 40, "--epochs", 2, "--json")
    assert done.code == 0, done.err
    found = done.json()
    assert set(found) == documented("`zoo hybrid LARGE SMALL DATA --json`")
    assert set(found["comparison"]) == documented("`zoo distill ... --json`")


def test_exit_codes_are_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    for error in (ZooError, UsageError, DataError, WeightsError, DivergedError, PluginError):
        line = next(line for line in page.splitlines() if line.startswith(f"| {error.exit_code} |"))
        assert f"`{error.kind}`" in line
