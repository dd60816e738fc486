"""A new user's first hour: the commands one after another, with their answers as text."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from program import Zoo
from safetensors import safe_open

from zoo.cli.progress import RunView
from zoo.transfer.loop import Record
from zoo.verbs.run import Event

GLYPH, DIGITS = "starter/glyph-cnn", "sklearn:digits"


def test_the_plan_comes_first_and_the_result_says_what_to_do_next(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.transfer.baseline.DRAWS", 1)  # few-shot sets
    done = zoo("finetune", GLYPH, DIGITS, "--limit", 200, "--epochs", 1)
    assert done.code == 0, done.err
    labels = [line[:10].strip() for line in done.err.splitlines()]
    assert labels[:4] == ["reading sk", "data", "backbone", "plan"]
    assert done.err.index("plan      ") < done.err.index("probe solved")
    assert re.search(r"^backbone  starter/glyph-cnn\.letters  56\.7 k parameters, \d", done.err, re.MULTILINE)
    shown = re.search(r"^next      zoo (evaluate) (runs/\S+)\n          zoo predict \2 INPUT$", done.out, re.MULTILINE)
    assert shown
    assert zoo(shown[1], shown[2]).code == 0
    assert re.search(r"^transfer  probe, 5 rows a class: accuracy 0\.\d+ pretrained, 0\.\d+ random", done.out, re.M)


@pytest.mark.parametrize(("epochs", "shown"), [(3, [1, 2, 3]), (20, [*range(1, 21)]), (97, [1, *range(5, 96, 5), 97])])
def test_many_quick_epochs_have_a_line_now_and_then(
    epochs: int, shown: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    view = RunView(quiet=False)
    for epoch in range(epochs):
        view(Event(record=Record("epoch", "head", epoch, (epoch + 1) * 7, epochs * 7, loss=0.5)))
    assert [int(line.split()[1]) for line in capsys.readouterr().err.splitlines()] == shown


def test_slow_epochs_have_a_line_each(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.cli.progress.PATIENCE", -1.0)
    view = RunView(quiet=False)
    for epoch in range(50):
        view(Event(record=Record("epoch", "head", epoch, epoch + 1, 50, loss=0.5)))
    assert len(capsys.readouterr().err.splitlines()) == 50


def test_evaluate_shows_metrics_classes_and_confusion(zoo: Zoo, runs: Path) -> None:
    out = zoo("evaluate", runs / "texts").out
    assert re.search(r"^  accuracy +\d\.\d{4}  \[\d\.\d{3}, \d\.\d{3}\]$", out, re.MULTILINE)
    assert re.search(r"^dull +\d\.\d{3} ", out, re.MULTILINE)
    assert "true class down, predicted class across" in out


def test_evaluate_takes_other_data(zoo: Zoo, runs: Path, reviews: Path, tmp_path: Path) -> None:
    with reviews.open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    (tmp_path / "train.csv").write_text("\n".join(",".join(row) for row in rows[:41]) + "\n")
    (tmp_path / "test.csv").write_text("\n".join(",".join(row) for row in [rows[0], *rows[41:]]) + "\n")
    found = zoo("evaluate", "texts", tmp_path, "--out", runs, "--json").json()
    assert (found["split"], found["rows"], found["classes"]) == ("test", 20, ["dull", "good"])


def test_predict_reads_lines_from_standard_input(zoo: Zoo, runs: Path) -> None:
    done = zoo("predict", runs / "texts", "-", stdin="a good film\n\na dull film\n")
    assert done.code == 3
    lines = done.lines()
    assert [line.get("label") for line in lines] == ["good", None, "dull"]
    assert lines[1] == {"input": "", "error": "empty text"}


def test_predict_reads_no_line_before_it_needs_it(zoo: Zoo, runs: Path) -> None:
    assert zoo("predict", runs / "texts", "-", stdin="").out == ""


def test_predict_takes_files_folders_tables_and_texts(zoo: Zoo, runs: Path, photos: Path, reviews: Path) -> None:
    one = zoo("predict", "pictures", photos / "red" / "3.png", "--out", runs).lines()
    assert [line["label"] for line in one] == ["red"]
    folder = zoo("predict", "pictures", photos, "--out", runs).lines()
    assert len(folder) == 24
    assert {Path(line["input"]).parent.name == line["label"] for line in folder} == {True}
    table = zoo("predict", "texts", reviews, "--out", runs, "--top", 1).lines()
    assert len(table) == 60
    assert {len(line["probabilities"]) for line in table} == {1}
    prices = zoo("predict", "numbers", "a house of 5 rooms", "--out", runs).lines()
    assert set(prices[0]["values"]) == {"price"}


def test_what_predict_prints_can_be_read_while_it_works(zoo: Zoo, runs: Path) -> None:
    """Standard output holds whole lines of JSON and nothing else."""
    done = zoo("predict", runs / "texts", "größer", "日本 good", 'say "hi"')
    assert [json.loads(line)["input"] for line in done.out.splitlines()] == ["größer", "日本 good", 'say "hi"']


@pytest.mark.parametrize("ending", ["safetensors", "parquet", "npy"])
def test_extracted_features_lie_beside_their_rows(zoo: Zoo, tmp_path: Path, photos: Path, ending: str) -> None:
    done = zoo("extract", GLYPH, photos, "-o", f"f.{ending}", "--json")
    assert done.json()["shape"] == [24, 320]
    path = tmp_path / f"f.{ending}"
    if ending == "safetensors":
        with safe_open(path, "numpy") as file:
            features, targets = file.get_tensor("features"), file.get_tensor("targets")
            classes = json.loads(file.metadata()["classes"])
            names = json.loads(file.metadata()["names"])
    elif ending == "npy":
        features, beside = np.load(path), json.loads(path.with_suffix(".json").read_text())
        targets, classes, names = beside["targets"], beside["classes"], beside["names"]
    else:
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        assert table.column_names == ["id", "name", "split", "features", "target"]
        features = np.array(table["features"].to_pylist())
        targets, names, classes = table["target"].to_pylist(), table["name"].to_pylist(), ["blue", "red"]
    assert features.shape == (24, 320)
    assert [classes[target] for target in targets] == [Path(name).parent.name for name in names]


def test_the_same_features_are_computed_once(zoo: Zoo) -> None:
    words = ("extract", GLYPH, DIGITS, "--split", "val", "--level", "block3", "--json", "--overwrite", "-o", "f.npy")
    zoo(*words)
    assert zoo(*words).json()["cached"]
    assert not zoo(*words, "--no-cache").json()["cached"]


def test_a_finished_run_is_the_backbone_of_the_next(zoo: Zoo, runs: Path, photos: Path) -> None:
    done = zoo("finetune", runs / "pictures", photos, "--strategy", "linear-probe", "--baseline", "none", "--json")
    assert done.code == 0, done.err
    assert done.json()["metrics"]["accuracy"] == 1.0
    assert "features" in zoo("info", runs / "pictures").out


def test_runs_are_listed_shown_and_removed(zoo: Zoo, photos: Path, tmp_path: Path) -> None:
    assert "no runs in runs" in zoo("runs").err
    assert zoo("runs", "--json").json() == []
    for name in ("first", "second"):
        words = ("--strategy", "linear-probe", "--baseline", "none", "--name", name)
        assert zoo("finetune", GLYPH, photos, *words).code == 0
    table = zoo("runs").out.splitlines()
    assert table[0].split() == ["run", "status", "split", "result", "started"]
    assert len(table) == 3
    shown = zoo("runs", "show", "first").out
    assert re.search(r"^command   zoo finetune starter/glyph-cnn ", shown, re.MULTILINE)
    assert re.search(r"^  accuracy +1\.0000$", shown, re.MULTILINE)
    assert (tmp_path / "runs" / "last").resolve().name == "second"
    assert zoo("runs", "rm", "second", "--json").json()["removed"].endswith("second")
    assert (tmp_path / "runs" / "last").resolve().name == "first"
    assert zoo("runs", "rm", "last").code == 0
    assert zoo("runs", "--json").json() == []


def test_a_run_elsewhere_is_not_removed(zoo: Zoo, runs: Path) -> None:
    done = zoo("runs", "rm", runs / "texts")
    assert done.code == 2
    assert (runs / "texts" / "run.json").is_file()


def test_a_finished_run_can_be_resumed_without_harm(zoo: Zoo, photos: Path) -> None:
    words = ("--strategy", "full", "--epochs", 1, "--baseline", "none", "--name", "r", "--json")
    first = zoo("finetune", GLYPH, photos, *words).json()
    again = zoo("finetune", "--resume", "r", "--json").json()
    assert again["metrics"] == first["metrics"]


def test_a_bare_name_says_which_source_it_was_taken_from(zoo: Zoo) -> None:
    assert zoo("info", "resnet18").err == "note: 'resnet18' is taken from torchvision; timm has one too\n"


def test_filters_of_the_listing_narrow_it(zoo: Zoo) -> None:
    rows = zoo("list", "resnet", "--source", "torchvision", "--max-params", "12M", "--json").json()
    assert {row["architecture"] for row in rows} == {"resnet18"}
    both = zoo("list", "--modality", "image+text", "--json").json()
    assert {row["source"] for row in both} == {"open_clip", "transformers", "unified_io"}
    sizes = [row["params"] for row in zoo("list", "*vit*", "--sort", "params", "--limit", 20, "--json").json()]
    assert sizes == sorted(sizes)
    nothing = zoo("list", "nosuchthing")
    assert (nothing.code, nothing.out) == (0, "")
    assert "no backbone fits" in nothing.err


def test_check_says_what_it_read_and_ends_with_3_where_training_cannot_start(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("text,label\none,pos\ntwo,Pos\nthree,neg\nfour,neg\n")
    done = zoo("check", "bad.csv")
    assert done.code == 3
    assert "error     labels differ only in case or spaces: 'pos', 'Pos'" in done.out
    assert "help: " in done.out
    report = zoo("check", "bad.csv", "--json")
    assert report.code == 3
    assert not report.json()["ok"]


def test_doctor_names_the_cache_and_every_plugin(zoo: Zoo) -> None:
    done = zoo("doctor")
    assert done.code == 0
    for plugin in ("starter", "torchvision", "timm", "open_clip", "transformers"):
        assert f"plugin {plugin} of zoo" in done.out
