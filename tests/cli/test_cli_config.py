"""`--config`: read strictly, by YAML 1.2's plain values, and written back in full."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from program import Zoo

from zoo.data.types import ReadOptions
from zoo.errors import UsageError
from zoo.transfer.options import Training
from zoo.verbs.config import Output, RunConfig, read_config, write_config

GLYPH, DIGITS = "starter/glyph-cnn", "sklearn:digits"


def read(tmp_path: Path, text: str) -> RunConfig:
    path = tmp_path / "job.yaml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("weights: no", RunConfig(weights="no")),
        ("weights: 010", RunConfig(weights="010")),
        ("read: {label: [no, 010, on]}", RunConfig(read=ReadOptions(label=("no", "010", "on")))),
        ("read: {text: title}", RunConfig(read=ReadOptions(text=("title",)))),
        ("read: {text: 'a, b'}", RunConfig(read=ReadOptions(text=("a", "b")))),
        ("out: {name: 2024-01-02}", RunConfig(out=Output(name="2024-01-02"))),
        ("out: {name: 12:30}", RunConfig(out=Output(name="12:30"))),
        ("train: {lr: 1e-3}", RunConfig(train=Training(lr=0.001))),
        ("train: {lr: 1.e-3}", RunConfig(train=Training(lr=0.001))),
        ("train: {lr: 1}", RunConfig(train=Training(lr=1.0))),
        ("train: {seed: 010}", RunConfig(train=Training(seed=10))),
        ("train: {milestones: [1, 2]}", RunConfig(train=Training(milestones=(1, 2)))),
        ("offline: true", RunConfig(offline=True)),
        ("offline: no", RunConfig(offline=False)),
        ("train: {epochs: null}\nread:\nout: ~", RunConfig()),
        ("", RunConfig()),
        ("zoo: 1", RunConfig()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_plain_values_mean_what_they_look_like(tmp_path: Path, text: str, expected: RunConfig) -> None:
    assert read(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "what", "mend"),
    [
        ("train: {epoch: 3}", r"train\.epoch is no option\. Did you mean epochs", "known: strategy"),
        ("trian: {}", r"trian is no option\. Did you mean train", "known: backbone"),
        ("train: {epochs: 3}\ntrain: {lr: 1}", r"'train' stands twice in the configuration, line 2", "one of the two"),
        ("train:\n  epochs: 3\n  epochs: 4", r"'epochs' stands twice in the configuration, line 3", "one of the two"),
        ("train: {epochs: three}", r"train\.epochs is 'three'", "whole number"),
        ("train: {epochs: 1.5}", r"train\.epochs is 1\.5", "whole number"),
        ("train: {epochs: true}", r"train\.epochs is True", "whole number"),
        ("train: {epochs: 1:30}", r"train\.epochs is '1:30'", "whole number"),
        ("train: {epochs: 0}", r"--epochs 0 is not above 0", "positive"),
        ("train: {lr: fast}", r"train\.lr is 'fast'", "number"),
        ("train: {optimizer: lion}", r"train\.optimizer is 'lion': input should be 'sgd', 'adam' or 'adamw'", "whole"),
        ("train: {milestones: 5}", r"train\.milestones is 5", r"\[5, 8\]"),
        ("train: [epochs]", r"train is \['epochs'\], not a mapping", "--dry-run"),
        ("out: {name: 1.10}", r"out\.name is 1\.1", "in quotes"),
        ("data: 5", r"data is 5", "in quotes"),
        ("weights: true", r"weights is True", "in quotes"),
        ("read: {text: 5}", r"read\.text is 5", "list of names"),
        ("read: {val: 2}", r"--val 2", "0\\.2"),
        ("offline: maybe", r"offline is 'maybe'", "true or false"),
        ("baseline: best", r"'best'", "random"),
        ("zoo: 2", r"schema 2; this zoo reads schema 1", "zoo: 1"),
        ("- a\n- b", r"holds a list, not a mapping", "--dry-run"),
        ("train: {epochs: 3", r"is not valid YAML", "--dry-run"),
        ("a: !!python/object/apply:os.getcwd []", r"is not valid YAML", "--dry-run"),
    ],
    ids=lambda value: value if "\\" not in value else "",
)
def test_what_cannot_be_meant_is_an_error_that_names_it(tmp_path: Path, text: str, what: str, mend: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        read(tmp_path, text)
    assert re.search(mend, str(caught.value.help))


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(),
        RunConfig(backbone="a+b", data="no", weights="1e10", offline=True, baseline="none"),
        RunConfig(data="010", out=Output(name="2024-01-02", dir="~")),
        RunConfig(data="null", out=Output(name="true")),
        RunConfig(data="größe/ ü: #", train=Training(lr=1e-5, milestones=(3, 5), gamma=1e-12, weight_decay=1e22)),
        RunConfig(read=ReadOptions(text=("a", "b"), label=("1.5",), delimiter="\t", modalities=("image", "text"))),
    ],
)
def test_what_is_written_is_read_back_the_same(tmp_path: Path, config: RunConfig) -> None:
    assert read(tmp_path, write_config(config)) == config


def test_a_dry_run_writes_nothing_and_its_output_runs_the_same_job(zoo: Zoo, tmp_path: Path) -> None:
    words = ("--limit", 30, "--strategy", "full", "--epochs", 2, "--seed", 3, "--device", "cpu", "--baseline", "none")
    dry = zoo("finetune", GLYPH, DIGITS, *words, "--dry-run")
    assert dry.code == 0, dry.err
    assert not list(tmp_path.iterdir())
    assert "note      " in dry.err
    (tmp_path / "job.yaml").write_text(dry.out, encoding="utf-8")
    direct = zoo("finetune", GLYPH, DIGITS, *words, "--json").json()
    again = zoo("finetune", "--config", "job.yaml", "--json").json()
    assert direct["metrics"] == again["metrics"]
    longer = zoo("finetune", "--config", "job.yaml", "--epochs", 1, "--dry-run", "--json").json()
    assert (longer["train"]["epochs"], longer["train"]["seed"]) == (1, 3)


def test_the_configuration_of_a_run_is_whole_and_fits_the_reader(runs: Path) -> None:
    config: Any = read_config(runs / "texts" / "config.yaml")
    assert config.train.strategy == "linear-probe"
    assert config.train.epochs is not None
    assert config.out.name == "texts"
