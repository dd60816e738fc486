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
from zoo.verbs.auto import choose
from zoo.verbs.config import Output, RunConfig, read_config
from zoo.verbs.finetune import dry_run, resume
from zoo.verbs.opening import open_job
from zoo.verbs.run import Event, Interrupted, Run

ROWS = 200
DIGITS = RunConfig(
    backbone="starter/glyph-cnn",
    data="sklearn:digits",
    baseline="none",
    read=ReadOptions(limit=ROWS),
    train=Training(strategy="auto", device="cpu", epochs=1),
)


def run(tmp_path: Path, **options: Any) -> Run:
    out = Output(dir=str(tmp_path / "runs"), name="run")
    data = {"read": DIGITS.read, "baseline": "none", "out": out, "device": "cpu", "epochs": 1}
    return zoo.finetune("starter/glyph-cnn", "sklearn:digits", **{**data, **options})


def test_auto_writes_down_what_it_saw_and_chose_and_asks_no_more(tmp_path: Path) -> None:
    done = run(tmp_path, strategy="auto")
    record = json.loads((done.path / "auto.json").read_text())
    assert record["chosen"]["strategy"] == done.strategy == read_config(done.path / "config.yaml").train.strategy
    assert record["seen"]["probe"]["score"] > record["seen"]["probe"]["floor"] + 0.5
    assert [stage["name"] for stage in record["seen"]["stages"]] == ["block1", "block2", "block3", "block4"]
    assert record["why"] in done.plan.notes
    assert record["why"] in (done.path / "model" / "README.md").read_text()
    assert done.to_json()["auto"] == record


def test_a_look_leaves_the_backbone_and_random_numbers_as_they_were() -> None:
    opened = open_job(DIGITS, None, None, lambda event: None)
    before = {name: tensor.clone() for name, tensor in opened.backbone.state_dict().items()}
    strides = {name: tensor.stride() for name, tensor in before.items()}
    modes = [module.training for module in opened.backbone.modules()]
    learning = [parameter.requires_grad for parameter in opened.backbone.parameters()]
    assert any("running_mean" in name for name in before)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    settled, record = choose(opened, 0.0)
    assert torch.equal(torch.rand(4), expected)
    assert record is not None
    assert settled.training.strategy not in (None, "auto")
    for name, tensor in opened.backbone.state_dict().items():
        assert torch.equal(tensor, before[name]), name
        assert tensor.stride() == strides[name], name
    assert [module.training for module in opened.backbone.modules()] == modes
    assert [parameter.requires_grad for parameter in opened.backbone.parameters()] == learning
    assert all(parameter.grad is None for parameter in opened.backbone.parameters())


def test_steps_are_timed_as_they_are_trained() -> None:
    opened = open_job(DIGITS, None, None, lambda event: None)
    seen = []

    def note(module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        last = inputs[0].is_contiguous(memory_format=torch.channels_last)
        seen.append((module.training, torch.is_grad_enabled(), last, module.weight.requires_grad))

    convolutions = [each for each in opened.backbone.modules() if isinstance(each, torch.nn.Conv2d)]
    convolutions[1].register_forward_pre_hook(note)
    choose(opened, 0.0)
    frozen = [last for training, _, last, _ in seen if not training]
    learning = [each for each in seen if each[0]]
    assert frozen[0]
    assert learning
    assert set(learning) == {(True, True, True, True)}


def test_a_stopped_search_goes_on_with_the_trials_that_had_ended_and_trains_the_winner(tmp_path: Path) -> None:
    ended: list[str] = []

    def watch(event: Event) -> None:
        if event.note and event.note.startswith("trial "):
            ended.append(event.note)

    with pytest.raises(Interrupted, match="stopped in a trial"):
        run(tmp_path, budget="2m", watch=watch, stop=lambda: bool(ended))
    folder = tmp_path / "runs" / "run"
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    before, ended[:] = list(ended), []
    done = resume(folder, watch=watch)
    record = json.loads((done.path / "auto.json").read_text())
    trials = record["trials"]
    assert sorted(each["recipe_index"] for each in trials) == list(range(len(trials)))
    assert len(before) + len(ended) == len(trials) >= 2
    assert {each["ended"] for each in trials} <= {"done", "pruned", "out of time"}
    # No row that the result is reported on has a say.
    assert record["trial_rows"] + record["judging_rows"] <= ROWS
    assert done.plan.rows["train"] == ROWS
    assert (done.metrics["accuracy"] or 0) > 0.9
    assert done.strategy == record["chosen"]["strategy"]
    assert read_config(done.path / "config.yaml").train.budget is None
    assert not (done.path / "trial").exists()


def test_early_stopping_keeps_a_solved_head_that_nothing_is_better_than(tmp_path: Path) -> None:
    notes: list[str] = []

    def watch(event: Event) -> None:
        notes.append(event.note or "")

    harmful = Training(backbone_lr=1.0, early_stop=1)
    kept = run(tmp_path, strategy="lp-ft", lr=3.0, training=harmful, watch=watch)
    assert any("no epoch was better than the solved head" in note for note in notes)
    probe = run(tmp_path, strategy="linear-probe", out=Output(dir=str(tmp_path / "runs"), name="probe"))
    assert kept.metrics["accuracy"] == probe.metrics["accuracy"]


def test_a_dry_run_says_what_a_search_would_try() -> None:
    plan = dry_run(replace(DIGITS, train=Training(budget="1h", epochs=1, device="cpu")))
    assert any("a run would try" in note and "layer-decay" in note for note in plan.notes)


def test_a_task_with_many_answers_has_no_search(tmp_path: Path) -> None:
    path = tmp_path / "words.jsonl"
    rows = [{"tokens": ["a", "b", str(i)], "tags": ["O", "X", "O"]} for i in range(20)]
    path.write_text("\n".join(map(json.dumps, rows)))
    config = RunConfig(backbone="starter/gru", data=str(path), train=Training(budget="5s"))
    with pytest.raises(UsageError, match="one answer a row"):
        dry_run(config)


def test_auto_takes_numbers_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "numbers.jsonl"
    words = "amber basil cedar delta ember fjord grove haven".split()
    rows = [{"text": " ".join(rng.choice(words, 4)) + f" {i}", "target": float(i % 7) + 0.5} for i in range(60)]
    path.write_text("\n".join(map(json.dumps, rows)))
    read = ReadOptions(task="regression", label=("target",), text=("text",))
    config = RunConfig(backbone="starter/bag-of-words", data=str(path), read=read, train=Training(strategy="auto"))
    assert any("r2" in note for note in dry_run(config).notes)
