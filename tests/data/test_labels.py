"""Labels, classes and splits that would give a number nobody should trust: hazards.md 3D, a row a test or more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made import class_folder, kinds, picture, read, refused

import zoo
from zoo.data.types import ReadOptions
from zoo.errors import UsageError
from zoo.transfer.options import Training
from zoo.verbs.check import check
from zoo.verbs.config import Output, RunConfig, read_config, write_config

Rows = list[tuple[str, str]]


def table(folder: Path, name: str, rows: Rows) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), encoding="utf-8")
    return path


def numbered(counts: dict[str, int], word: str = "row") -> Rows:
    return [(f"{word} {label} {i}", label) for label, count in counts.items() for i in range(count)]


def splits(folder: Path, train: Rows, test: Rows) -> Path:
    table(folder, "train.csv", train)
    return table(folder, "test.csv", test).parent


@pytest.mark.parametrize("twin", ["Pos", "POS", "pos ", " pos", "pos\u00a0"])
def test_labels_that_differ_only_in_case_or_spaces_are_an_error(
    tmp_path: Path, zoo_command: Callable[..., Any], twin: str
) -> None:
    path = table(tmp_path, "it.csv", [*numbered({"pos": 8, "neg": 8}), ("one more", twin)])
    done = zoo_command("check", path, "--json")
    assert done.code == 3
    problem = next(each for each in json.loads(done.out)["problems"] if each["level"] == "error")
    assert problem["kind"] == "label-typo"
    assert problem["message"] == f"labels differ only in case or spaces: 'pos', {twin!r}"
    assert problem["rows"] == ["'pos' first in it.csv:2", f"{twin!r} first in it.csv:18"]
    assert refused(path, "differ only in case or spaces").help == "write them alike"


def test_two_spellings_of_one_accent_are_an_error_too(tmp_path: Path) -> None:
    rows = [*numbered({"caf\u00e9": 8, "tea": 8}), ("one more", "cafe\u0301")]
    refused(table(tmp_path, "it.csv", rows), "differ only in case or spaces")


def test_a_rare_label_one_letter_from_a_common_one_is_a_warning(tmp_path: Path) -> None:
    rows = numbered({"positive": 8, "negative": 8, "postive": 2, "neutral": 6, "201": 8, "202": 2})
    report = check(table(tmp_path, "it.csv", rows))
    said = [problem for problem in report.problems if problem.kind == "label-typo"]
    assert [(problem.level, problem.message) for problem in said] == [
        ("warning", "'postive' (2 rows) looks like a typo of 'positive' (8 rows)")
    ]
    assert report.ok


def test_a_single_class_is_an_error_before_any_model_is_loaded(tmp_path: Path, zoo_command: Callable[..., Any]) -> None:
    path = table(tmp_path, "it.csv", numbered({"pos": 12}))
    broken = tmp_path / "not weights.safetensors"
    broken.write_bytes(b"junk")  # would be exit 4 if it were read
    done = zoo_command("finetune", "starter/lstm", path, "--weights", broken)
    assert done.code == 3
    assert "error[data]: there is a single class, 'pos', in the training rows: nothing can be learned" in done.err
    assert "help: check the label column; --label-col names it" in done.err


def test_a_class_of_one_row_is_said_before_training_and_trains(tmp_path: Path) -> None:
    path = table(tmp_path, "it.csv", numbered({"pos": 20, "neg": 20, "odd": 1}))
    data = read(path)
    said = next(problem for problem in data.problems if problem.kind == "tiny-class")
    assert (said.level, said.rows) == ("warning", ("'odd'",))
    assert "a class has a single training row: it is learned from, or held out, never both" in data.notes
    assert data.splits["train"].targets is not None
    assert "odd" in {data.task.classes[int(k)] for k in data.splits["train"].targets}
    out = Output(dir=str(tmp_path / "runs"))
    run = zoo.finetune("starter/bag-of-words", path, strategy="linear-probe", device="cpu", baseline="none", out=out)
    assert run.task.classes == ("neg", "odd", "pos")


def test_there_is_one_label_map_and_it_is_that_of_the_training_rows(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "photos", {"train/ant": 4, "train/bee": 4, "train/cat": 4})
    class_folder(root, {"val/bee": 2, "val/cat": 2}, first=100)
    data = read(root)
    assert data.task.classes == ("ant", "bee", "cat")
    val = data.splits["val"]
    assert val.targets is not None
    assert {name.split("/")[1]: int(k) for name, k in zip(val.names, val.targets, strict=True)} == {"bee": 1, "cat": 2}
    said = next(problem for problem in data.problems if problem.kind == "missing-class")
    assert said.level == "warning"
    assert said.message == "val has no row of 1 of 3 classes (ant); its metrics are over the 2 that are there"


def test_the_label_map_is_saved_in_the_run(tmp_path: Path) -> None:
    path = table(tmp_path, "it.csv", numbered({"pos": 12, "neg": 12, "10": 12, "9": 12}))
    out = Output(dir=str(tmp_path / "runs"))
    run = zoo.finetune("starter/bag-of-words", path, strategy="linear-probe", device="cpu", baseline="none", out=out)
    assert json.loads((run.path / "labels.json").read_text())["classes"] == ["10", "9", "neg", "pos"]


def test_a_class_that_the_training_rows_do_not_have_is_an_error_with_its_rows(
    tmp_path: Path, zoo_command: Callable[..., Any]
) -> None:
    folder = splits(tmp_path / "it", numbered({"pos": 8, "neg": 8}), [("new a", "pos"), ("new b", "mixed")])
    done = zoo_command("check", folder, "--json")
    assert done.code == 3
    problem = next(each for each in json.loads(done.out)["problems"] if each["kind"] == "unknown-class")
    assert problem["message"] == "1 labels of test do not occur in the training rows: mixed"
    assert problem["rows"] == ["'mixed' in test.csv:3"]
    assert problem["help"] == "correct them, or add training rows for them"
    assert refused(folder, "do not occur in the training rows").details == ("'mixed' in test.csv:3",)


def test_one_class_in_the_held_out_rows_makes_auroc_null_and_never_zero_or_nan(
    tmp_path: Path, zoo_command: Callable[..., Any]
) -> None:
    folder = splits(tmp_path / "it", numbered({"pos": 12, "neg": 12}), numbered({"pos": 6}, "new"))
    words = ("--baseline", "none", "--strategy", "linear-probe", "--name", "it", "--json")
    done = zoo_command("finetune", "starter/bag-of-words", folder, *words)
    assert done.code == 0, done.err
    assert json.loads(done.out)["metrics"]["auroc"] is None
    assert "test has no row of 1 of 2 classes (neg)" in done.err
    shown = zoo_command("evaluate", tmp_path / "runs" / "it", "--device", "cpu")
    assert shown.code == 0
    assert any("auroc" in line and "n/a" in line for line in shown.out.splitlines()), shown.out


def test_many_rows_in_two_splits_are_an_error_with_the_pairs(tmp_path: Path, zoo_command: Callable[..., Any]) -> None:
    train = numbered({"pos": 8, "neg": 8})
    folder = splits(tmp_path / "it", train, [*train[:2], *numbered({"pos": 2, "neg": 2}, "new")])
    done = zoo_command("check", folder)
    assert done.code == 3
    assert "2 of 6 rows of test (33.3%) are also training rows" in done.out
    assert "test.csv:2 is also train.csv:2" in done.out
    assert "help: remove them from one split, or keep them with --allow-leak" in done.out
    refused(folder, "are also training rows")


def test_the_same_picture_under_two_names_is_a_leak(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "photos", {"train/cat": 4, "train/dog": 4})
    class_folder(root, {"test/cat": 2, "test/dog": 2}, first=100)
    picture(1).save(root / "test" / "dog" / "another name.png")
    assert refused(root, "1 of 5 rows of test").details == ("test/dog/another name.png is also train/cat/0.png",)


def test_a_few_rows_in_two_splits_leave_the_training_rows_and_are_said(tmp_path: Path) -> None:
    train = numbered({"pos": 30, "neg": 30})
    folder = splits(tmp_path / "it", train, [train[3], *numbered({"pos": 15, "neg": 15}, "new")])
    data = read(folder)
    assert {split: len(examples) for split, examples in data.splits.items()} == {"train": 59, "test": 31}
    assert not set(data.splits["train"].ids) & set(data.splits["test"].ids)
    assert "1 rows of test were also training rows; they are dropped from train" in data.notes


def test_allow_leak_keeps_the_rows_and_marks_every_metric(tmp_path: Path, zoo_command: Callable[..., Any]) -> None:
    train = numbered({"pos": 12, "neg": 12})
    folder = splits(tmp_path / "it", train, train[6:18])
    words = (
        "finetune",
        "starter/bag-of-words",
        folder,
        "--allow-leak",
        "--baseline",
        "none",
        "--strategy",
        "linear-probe",
    )
    done = zoo_command(*words)
    assert done.code == 0, done.err
    results = [line for line in done.out.splitlines() if line.startswith("result")]
    assert results
    assert all(line.endswith("LEAK") for line in results)
    report = json.loads(zoo_command(*words, "--json", "--name", "again").out)
    assert report["leak"] is True
    assert any(note.startswith("LEAK: 12 rows of test (100.0%) are also training rows") for note in report["notes"])


def test_rows_of_val_that_are_in_test_too_leave_val(tmp_path: Path) -> None:
    held = numbered({"pos": 4, "neg": 4}, "held")
    folder = splits(tmp_path / "it", numbered({"pos": 8, "neg": 8}), held)
    table(folder, "val.csv", [held[0], *numbered({"pos": 3, "neg": 3}, "val")])
    data = read(folder)
    assert (len(data.splits["val"]), len(data.splits["test"])) == (6, 8)
    assert kinds(data.problems) == {"leak": "warning"}


def test_the_same_text_with_two_labels_is_a_warning(tmp_path: Path) -> None:
    rows = [*numbered({"pos": 8, "neg": 8}), ("row pos 0", "neg")]
    said = next(problem for problem in read(table(tmp_path, "it.csv", rows)).problems if problem.kind == "conflict")
    assert (said.level, said.rows) == ("warning", ("it.csv:2 is 'pos', it.csv:18 is 'neg'",))


def test_classes_of_very_different_size_are_noted(tmp_path: Path) -> None:
    report = check(table(tmp_path, "it.csv", numbered({"common": 66, "rare": 6})))
    said = next(problem for problem in report.problems if problem.kind == "imbalance")
    assert said.message == "classes are unbalanced: 'common' has 66 training rows, 'rare' 6"
    assert said.help == "read macro_f1 beside accuracy"
    assert report.ok


def config(tmp_path: Path, text: str) -> RunConfig:
    path = tmp_path / "it.yaml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def test_a_rate_written_as_1e_4_in_yaml_is_a_number(tmp_path: Path) -> None:
    assert config(tmp_path, "train: {lr: 1e-4, weight_decay: 1E-2}").train.lr == 1e-4


@pytest.mark.parametrize("word", ["no", "on", "010", "0o10", "2024-01-02", "1_000", "12:30", "'no'", '"1e5"'])
def test_a_word_that_yaml_1_1_takes_for_something_else_stays_the_word_it_is(tmp_path: Path, word: str) -> None:
    assert config(tmp_path, f"read: {{label: [{word}]}}").read.label == (word.strip("\"'"),)


def test_a_number_where_a_name_is_wanted_is_an_error_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data is 8: input should be a valid string") as caught:
        config(tmp_path, "data: 8")
    assert caught.value.exit_code == 2
    assert caught.value.help == "put it in quotes: unquoted, YAML reads a int"


@pytest.mark.parametrize("text", ["data: a\ndata: b", "train:\n  lr: 1\n  lr: 2"])
def test_a_key_that_stands_twice_in_yaml_is_an_error_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"stands twice in the configuration, line [23]") as caught:
        config(tmp_path, text)
    assert caught.value.help == "keep one of the two"


def test_an_unknown_key_of_yaml_is_an_error_with_the_nearest_known_one(
    tmp_path: Path, zoo_command: Callable[..., Any]
) -> None:
    (tmp_path / "it.yaml").write_text("train: {epoch: 3}\n")
    done = zoo_command("finetune", "starter/glyph-cnn", "sklearn:digits", "--config", "it.yaml")
    assert done.code == 2
    assert "train.epoch is no option. Did you mean epochs?" in done.err


def test_a_configuration_comes_back_from_yaml_as_it_was_written(tmp_path: Path) -> None:
    read_options = ReadOptions(label=("010", "no", "1e5"), text=("a: b", "#c"), label_separator=": ", encoding="utf-16")
    whole = RunConfig(backbone="a+b", data="null", read=read_options, train=Training(lr=1e-4, epochs=3))
    assert config(tmp_path, write_config(whole)) == whole


def test_a_split_column_is_the_split_and_that_is_said(tmp_path: Path) -> None:
    rows = [{"text": f"row {i}", "label": "ab"[i % 2], "split": "Training" if i < 8 else "dev"} for i in range(12)]
    path = tmp_path / "it.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    data = read(path)
    assert {split: len(examples) for split, examples in data.splits.items()} == {"train": 8, "val": 4}
    assert "splits are those of column 'split'" in data.notes


def test_shares_and_counts_that_cannot_be_meant_are_usage_errors(
    tmp_path: Path, zoo_command: Callable[..., Any]
) -> None:
    path = table(tmp_path, "it.csv", numbered({"pos": 8, "neg": 8}))
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(UsageError, match=r"--val .* is outside \(0, 1\)"):
            read(path, val=share)
    for options in ({"shots": 0}, {"limit": 0}):
        with pytest.raises(UsageError, match="is not above 0"):
            read(path, **options)
    done = zoo_command("finetune", "starter/lstm", path, "--val", 2)
    assert done.code == 2
    assert "help: give the share to hold out, such as 0.2" in done.err
