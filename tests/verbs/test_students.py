"""Students beside their teachers: what they learn, from whom, and what is said where they cannot."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import zoo
from zoo.catalog.discovery import default_catalog
from zoo.data.types import Dataset, ReadOptions, Task
from zoo.errors import UnknownNameError, UsageError
from zoo.verbs.config import Output, read_config
from zoo.verbs.distill import Distilled, resume_distilled
from zoo.verbs.run import Event, Interrupted
from zoo.verbs.teaching import check_task, load_teacher

TEACHER, STUDENT = "starter/glyph-cnn", "starter/glyph-cnn@random"
Distill = Callable[..., Distilled]
WORDS = "amber basil cedar delta ember fjord grove haven inlet jetty knoll larch maple north ocean pearl".split()


@pytest.fixture
def distill(tmp_path: Path) -> Distill:
    """`zoo.distill` on the CPU into a temporary folder, with a few rows."""

    def run(
        teacher: Any, student: Any, data: Any, *, limit: int | None = 60, name: str = "run", **given: Any
    ) -> Distilled:
        out = Output(dir=str(tmp_path / "runs"), name=name, overwrite=True)
        read = replace(given.pop("read", ReadOptions(val=0.05)), limit=limit)
        return zoo.distill(teacher, student, data, device="cpu", out=out, read=read, **{"epochs": 1, **given})

    return run


def state(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "model" / "model.safetensors")


def table(path: Path, label: Callable[[list[str]], dict[str, Any]], rows: int = 60) -> Path:
    """A JSONL of short texts with the labels that `label` gives for their words."""
    rng = random.Random(0)
    lines = []
    for number in range(rows):
        words = rng.sample(WORDS, 5)
        split = "train" if number < rows * 0.7 else "test"
        lines.append(json.dumps({"text": f"{' '.join(words)} {number}", **label(words), "split": split}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_student_learns_from_a_backbone_whose_probe_answers(distill: Distill) -> None:
    told: list[str] = []
    every = ("logits", "features", "distances", "angles")
    done = distill(TEACHER, STUDENT, "sklearn:digits", by=every, watch=lambda e: told.append(e.note or ""))
    assert any("no head for these data, so a linear probe" in note for note in done.run.plan.notes)
    assert any("probe was solved" in note for note in told)
    assert done.comparison is None
    assert not any("projection" in name for name in state(done.run.path))
    assert zoo.evaluate(done.run.path, device="cpu").metrics["accuracy"] == done.run.metrics["accuracy"]


def test_three_models_are_set_side_by_side_on_the_same_rows(distill: Distill) -> None:
    done = distill(TEACHER, STUDENT, "sklearn:digits", compare=True, epochs=2)
    beside = done.comparison
    assert beside is not None
    assert [side.title for side in beside.sides] == ["teacher", "student alone", "student distilled"]
    accuracy = [side.metrics["accuracy"] for side in beside.sides]
    assert accuracy[2] == done.run.metrics["accuracy"]
    one, other, apart = beside.differences[0]
    assert (one, other) == ("student distilled", "student alone")
    assert accuracy[1] is not None
    assert accuracy[2] is not None
    assert apart.value == pytest.approx(accuracy[2] - accuracy[1])
    assert apart.low <= apart.value <= apart.high
    alone = read_config(done.run.path.parent / "run-alone" / "config.yaml")
    mine = read_config(done.run.path / "config.yaml")
    assert alone.distill is None
    assert alone.train == mine.train
    assert json.loads((done.run.path / "comparison.json").read_text()) == beside.to_json()


def test_a_finished_run_teaches_with_its_own_head_in_the_students_order_of_classes(tmp_path: Path) -> None:
    def of(names: dict[str, str]) -> Dataset:
        data = zoo.read_dataset("sklearn:digits", ReadOptions(limit=60))
        return replace(data, task=replace(data.task, classes=tuple(names[each] for each in data.task.classes)))

    plain = of({str(k): f"{k}" for k in range(10)})
    out = Output(dir=str(tmp_path), name="source")
    source = zoo.finetune(TEACHER, plain, strategy="linear-probe", device="cpu", baseline="none", out=out)
    shuffled = tuple(reversed(plain.task.classes))
    other = replace(plain, task=replace(plain.task, classes=shuffled))
    held = plain.splits["val"]
    chosen = default_catalog().select(str(source.path))
    answers = []
    for data in (plain, other):
        teacher, said = load_teacher(
            str(source.path), chosen, data, training=zoo.Training(device="cpu"), offline=True, watch=lambda e: None
        )
        assert said.startswith("the finished run")
        answers.append(teacher.predictions(teacher.own_rows(held)))
    assert answers[0] == pytest.approx(answers[1][:, ::-1], abs=1e-6)
    assert answers[0] == pytest.approx(source.load().predict(held), abs=1e-5)


def test_a_teacher_of_texts_teaches_a_student_of_images_on_paired_rows(distill: Distill, tmp_path: Path) -> None:
    from PIL import Image

    rng = random.Random(0)
    rows = ["image,text,label"]
    for number in range(40):
        label = rng.choice(["dark", "light"])
        shade = rng.randrange(0, 90) + (150 if label == "light" else 0)
        Image.new("L", (8, 8), shade).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,a {label} square of {number},{label}")
    data = tmp_path / "squares.csv"
    data.write_text("\n".join(rows) + "\n", encoding="utf-8")
    done = distill("starter/bag-of-words", STUDENT, data, by=("logits", "features"), compare=True)
    assert done.comparison is not None
    assert done.comparison.sides[0].metrics["accuracy"] == 1.0
    assert done.run.load().backbone.modalities == ("image",)
    assert read_config(done.run.path / "config.yaml").read.modalities == ("image", "text")
    assert zoo.evaluate(done.run.path, device="cpu").metrics["accuracy"] == done.run.metrics["accuracy"]


@pytest.mark.parametrize(
    ("label", "metric"),
    [
        (lambda words: {"labels": "|".join(sorted({w[0] for w in words} & set("abc"))) or "a"}, "micro_f1"),
        (lambda words: {"label": sum(WORDS.index(word) for word in words) + 0.5}, "rmse"),
        (lambda words: {"label": "yes" if "amber" in words else "no"}, "accuracy"),
    ],
    ids=["multilabel", "regression", "binary"],
)
def test_labels_numbers_and_two_classes_are_taught_too(
    distill: Distill, tmp_path: Path, label: Any, metric: str
) -> None:
    data = table(tmp_path / "texts.jsonl", label)
    done = distill("starter/bag-of-words", "starter/text-transformer", data, limit=None, compare=True)
    assert done.comparison is not None
    found = [side.metrics[metric] for side in done.comparison.sides]
    assert all(value is not None and np.isfinite(value) for value in found)


def test_a_stopped_distillation_goes_on_to_the_same_weights_without_asking_its_teacher_again(
    distill: Distill, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"by": ("logits", "features"), "unlabelled": "sklearn:digits:val", "epochs": 2}
    whole = distill(TEACHER, STUDENT, "sklearn:digits", name="whole", **given)
    steps = iter(range(100))
    with pytest.raises(Interrupted, match="stopped at step"):
        distill(TEACHER, STUDENT, "sklearn:digits", stop=lambda: next(steps) > 8, **given)
    path = whole.run.path.parent / "run"
    monkeypatch.setattr(sys.modules["zoo.verbs.extract"], "_compute", lambda *_: pytest.fail("it was asked again"))
    resume_distilled(path)
    assert all(torch.equal(value, state(whole.run.path)[name]) for name, value in state(path).items())
    config = path / "config.yaml"
    config.write_text(config.read_text().partition("distill:")[0])
    with pytest.raises(UsageError, match="learned from no teacher"):
        resume_distilled(path)


def test_a_teacher_that_has_changed_since_is_not_gone_on_with(distill: Distill, tmp_path: Path) -> None:
    out = Output(dir=str(tmp_path / "runs"), name="source")
    read = ReadOptions(limit=60, val=0.05)
    given: dict[str, Any] = {"strategy": "linear-probe", "device": "cpu", "baseline": "none", "read": read}
    source = zoo.finetune(TEACHER, "sklearn:digits", out=out, **given)
    steps = iter(range(100))
    with pytest.raises(Interrupted):
        distill(source.path, STUDENT, "sklearn:digits", stop=lambda: next(steps) > 2)
    zoo.finetune(STUDENT, "sklearn:digits", out=replace(out, overwrite=True), **given)
    with pytest.raises(UsageError, match=r"weights of the teacher .* have changed"):
        zoo.resume(tmp_path / "runs" / "run")


def test_the_stage_of_a_student_meets_that_of_its_teacher(distill: Distill) -> None:
    backbone = zoo.load(STUDENT)
    names = [stage.name for stage in backbone.stages()]
    hooks = [len(m._forward_hooks) for m in backbone.modules()]
    distill(TEACHER, backbone, "sklearn:digits", by=("features",), hint=f"{names[-2]}:{names[-1]}")
    assert [len(m._forward_hooks) for m in backbone.modules()] == hooks
    with pytest.raises(UnknownNameError, match="the teacher has"):
        distill(TEACHER, STUDENT, "sklearn:digits", by=("features",), hint=f"{names[-1]}:no-such")
    with pytest.raises(UnknownNameError, match="the stages are"):
        distill(TEACHER, STUDENT, "sklearn:digits", by=("features",), hint=f"no-such:{names[-1]}")


def test_a_small_model_begins_with_the_features_of_a_large_one_and_is_compared_with_both(tmp_path: Path) -> None:
    out = Output(dir=str(tmp_path), name="both")
    given: dict[str, Any] = {"epochs": 4, "device": "cpu", "read": ReadOptions(limit=60, val=0.05), "out": out}
    events: list[Event] = []
    done = zoo.hybrid(TEACHER, STUDENT, "sklearn:digits", watch=events.append, **given)
    assert [side.title for side in done.comparison.sides] == ["large, probed", "small alone", "hybrid"]
    epochs = [read_config(path / "config.yaml").train.epochs for path in (done.alone, done.imitation, done.path)]
    assert epochs == [4, 2, 2]
    told = [event.record.metrics for event in events if event.record and event.record.kind == "epoch"]
    assert [bool(metrics) for metrics in told] == [True] * 4 + [False] * 2 + [True] * 2  # nothing to say of no head
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    again = zoo.hybrid(TEACHER, STUDENT, "sklearn:digits", **given)
    assert again.comparison == done.comparison
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")} == before
    with pytest.raises(UsageError, match=r"was made with another train\.epochs"):
        zoo.hybrid(TEACHER, STUDENT, "sklearn:digits", **{**given, "epochs": 6})


def test_words_pixels_and_mixed_rows_have_no_teacher(distill: Distill) -> None:
    with pytest.raises(UsageError, match="one for every word"):
        check_task(Task("tokens", ("O", "B-PER")))
    with pytest.raises(UsageError, match="mixes training rows"):
        distill(TEACHER, STUDENT, "sklearn:digits", training=zoo.Training(mix="mixup=0.2"))
