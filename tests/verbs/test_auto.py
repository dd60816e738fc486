"""`--strategy auto` and `--budget` on a small backbone and real digits, from the command to the run's folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from zoo.data.types import ReadOptions
from zoo.errors import UsageError
from zoo.transfer.options import Training
from zoo.verbs.config import Output, RunConfig, read_config
from zoo.verbs.finetune import dry_run, resume
from zoo.verbs.opening import open_job
from zoo.verbs.run import Event, Interrupted, Run

DIGITS = RunConfig(
    backbone="starter/glyph-cnn",
    data="sklearn:digits",
    baseline="none",
    read=ReadOptions(limit=300),
    train=Training(strategy="auto", device="cpu", epochs=2),
)


def run(tmp_path: Path, name: str = "run", **options: Any) -> Run:
    read = ReadOptions(limit=options.pop("limit", 300))
    out = Output(dir=str(tmp_path / "runs"), name=name, overwrite=True)
    return zoo.finetune(
        "starter/glyph-cnn", "sklearn:digits", device="cpu", read=read, out=out, baseline="none", **options
    )


def test_auto_writes_down_what_it_saw_and_chose(tmp_path: Path) -> None:
    done = run(tmp_path, strategy="auto")
    record = json.loads((done.path / "auto.json").read_text())
    assert record["chosen"]["strategy"] == done.strategy
    assert record["seen"]["probe"]["score"] > record["seen"]["probe"]["floor"] + 0.5
    assert {stage["name"] for stage in record["seen"]["stages"]} == {"block1", "block2", "block3", "block4"}
    assert record["why"] in done.plan.notes
    assert record["why"].split(":")[0] in (done.path / "model" / "README.md").read_text()
    assert done.to_json()["auto"] == record


def test_the_configuration_of_a_run_holds_the_choice_and_not_the_question(tmp_path: Path) -> None:
    done = run(tmp_path, strategy="auto", limit=100)
    config = read_config(done.path / "config.yaml")
    assert config.train.strategy == done.strategy == "linear-probe"  # ten rows a class
    assert config.train.budget is None


def test_a_look_leaves_the_backbone_and_random_numbers_as_they_were(tmp_path: Path) -> None:
    from zoo.verbs.auto import choose

    opened = open_job(DIGITS, None, None, lambda event: None)
    before = {name: tensor.clone() for name, tensor in opened.backbone.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    settled, record = choose(opened, 0.0)
    assert torch.equal(torch.rand(4), expected)
    assert record is not None
    assert settled.training.strategy not in (None, "auto")
    for name, tensor in opened.backbone.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in opened.backbone.parameters())


def test_a_dry_run_says_what_auto_would_do() -> None:
    plan = dry_run(DIGITS)
    assert any(note.startswith("auto takes ") for note in plan.notes)
    searching = dry_run(replace(DIGITS, train=Training(budget="1h", epochs=1, device="cpu")))
    assert any("a run would try" in note and "layer-decay" in note for note in searching.notes)


def test_a_budget_tries_recipes_on_training_rows_alone_and_trains_the_winner_on_all(tmp_path: Path) -> None:
    lines: list[str] = []

    def watch(event: Event) -> None:
        if event.note:
            lines.append(event.note)

    done = run(tmp_path, budget="30s", epochs=1, watch=watch)
    record = json.loads((done.path / "auto.json").read_text())
    assert len(record["trials"]) >= 2
    assert record["trial_rows"] + record["judging_rows"] <= 300
    assert {each["ended"] for each in record["trials"]} <= {"done", "pruned", "out of time"}
    assert sum(line.startswith("trial ") for line in lines) == len(record["trials"])
    assert done.metrics["accuracy"] is not None
    assert done.metrics["accuracy"] > 0.9
    assert not (done.path / "trial").exists()
    assert read_config(done.path / "config.yaml").train.budget is None


def test_a_search_that_was_stopped_goes_on_with_the_trials_that_had_ended(tmp_path: Path) -> None:
    ended: list[str] = []

    def watch(event: Event) -> None:
        if event.note and event.note.startswith("trial "):
            ended.append(event.note)

    with pytest.raises(Interrupted, match="stopped in a trial"):
        run(tmp_path, budget="60s", epochs=1, watch=watch, stop=lambda: bool(ended))
    folder = tmp_path / "runs" / "run"
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    before, ended[:] = list(ended), []
    done = resume(folder, watch=watch)
    record = json.loads((done.path / "auto.json").read_text())
    assert not set(before) & set(ended)
    indices = [each["recipe_index"] for each in record["trials"]]
    assert sorted(indices) == sorted(set(indices))
    assert len(indices) == len(before) + len(ended)


def test_a_task_with_many_answers_has_no_search(tmp_path: Path) -> None:
    path = tmp_path / "words.jsonl"
    rows = [{"tokens": ["a", "b", str(i)], "tags": ["O", "X", "O"]} for i in range(20)]
    path.write_text("\n".join(map(json.dumps, rows)))
    config = RunConfig(backbone="recurrent/gru", data=str(path), train=Training(budget="5s"))
    with pytest.raises(UsageError, match="one answer a row"):
        dry_run(config)


def test_auto_takes_numbers_and_labels_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "numbers.jsonl"
    words = "amber basil cedar delta ember fjord grove haven".split()
    rows = [{"text": " ".join(rng.choice(words, 4)) + f" {i}", "target": float(i % 7) + 0.5} for i in range(60)]
    path.write_text("\n".join(map(json.dumps, rows)))
    read = ReadOptions(task="regression", label=("target",), text=("text",))
    config = RunConfig(backbone="starter/bag-of-words", data=str(path), read=read, train=Training(strategy="auto"))
    assert any("r2" in note for note in dry_run(config).notes)
