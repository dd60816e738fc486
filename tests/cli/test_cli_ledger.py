"""`zoo ledger`: what was run is written down, shown, carried elsewhere and forgotten; `zoo rank` learns from it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from program import Done, Zoo

from zoo.records import ledger
from zoo.records.entries import PastRun

pytestmark = pytest.mark.xdist_group("ledger")  # one process makes what many tests here read
BACKBONES = ("starter/glyph-cnn", "starter/pixels", "starter/glyph-cnn@random")
NAMES = ("starter/glyph-cnn.letters", *BACKBONES[1:])
ROWS = ("sklearn:digits", "--limit", "60")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of three backbones, made while nothing was written down."""
    import zoo

    folder = tmp_path_factory.mktemp("work") / "runs"
    data = zoo.read_dataset("sklearn:digits", zoo.ReadOptions(limit=60, val=0.1))
    for backbone in BACKBONES:
        zoo.finetune(backbone, data, strategy="linear-probe", out=zoo.Output(dir=str(folder)), baseline="none")
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of the test's own."""
    monkeypatch.delenv("ZOO_LEDGER")
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    monkeypatch.setattr(ledger, "_said", set())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(done: Done) -> Any:
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_a_finished_run_is_written_down_and_importing_it_changes_nothing(zoo: Zoo, home: Path) -> None:
    assert zoo("finetune", BACKBONES[1], *ROWS, "--strategy", "linear-probe", "--baseline", "none").code == 0
    (row,) = answer(zoo("ledger", "--json"))
    assert row["backbone"] == "starter/pixels"
    assert (row["data"], row["rows"], row["classes"], row["task"]) == ("sklearn:digits", 60, 10, "multiclass")
    assert (row["strategy"], row["head"], row["seed"], row["split"]) == ("linear-probe", "linear", 0, "val")
    result = answer(zoo("runs", "show", "last", "--json"))["result"]
    assert row["value"] == result["metrics"]["accuracy"]
    assert row["params"] == result["params"]
    assert answer(zoo("ledger", "import", "runs", "--json")) == {"new": 0, "known": 1, "left_out": {}}
    assert "starter/pixels  " + row["id"] in zoo("ledger").out


@pytest.mark.filterwarnings("always")  # as in a process of its own
def test_a_ledger_that_is_broken_costs_a_line(zoo: Zoo, home: Path) -> None:
    (home / "ledger.sqlite").write_text("no database" * 100)
    done = zoo("rank", *ROWS[:1], *BACKBONES[:2], "--limit", "60", "--scorers", "knn")
    assert done.code == 0
    assert len(re.findall("warning: the ledger .* cannot be used: file is not a database", done.err)) == 1
    done = zoo("ledger")
    assert done.code == 3
    assert "help: move it away and a new one is begun" in done.err


def test_runs_are_imported_filtered_exported_and_forgotten(zoo: Zoo, home: Path, runs: Path) -> None:
    (home / "broken").mkdir()
    (home / "broken" / "run.json").write_text('{"status": "failed"}')
    assert answer(zoo("ledger", "import", str(runs), "--json"))["new"] == 3
    left_out = answer(zoo("ledger", "import", str(home / "broken"), "--json"))["left_out"]
    assert left_out == {str(home / "broken"): f"{home / 'broken'} has no result: it is failed"}
    best = answer(zoo("ledger", "--best", "--data", "*digits", "--json"))
    assert [each["value"] for each in best] == sorted((each["value"] for each in best), reverse=True)
    assert len(best) == 3
    assert len(answer(zoo("ledger", "--backbone", "*@random", "--json"))) == 1
    everything = answer(zoo("ledger", "--json"))
    for name in ("all.jsonl", "all.csv"):
        assert zoo("ledger", "export", name).out == f"wrote {name}  3 of 3 entries\n"
        assert zoo("ledger", "forget", "--everything").out == "forgot 3 entries\n"
        assert zoo("ledger", "import", name).out == "3 new, 0 known already\n"
        assert sorted(answer(zoo("ledger", "--json")), key=str) == sorted(everything, key=str)
    assert zoo("ledger", "forget", best[0]["id"]).out == "forgot 1 entries\n"
    assert zoo("ledger", "forget", "--data", "*digits").out == "forgot 2 entries\n"
    assert zoo("ledger").err.startswith("no such runs in ")


def test_a_ranking_shows_past_runs_and_is_held_against_later_ones(zoo: Zoo, home: Path, runs: Path) -> None:
    words = ("rank", *ROWS[:1], *BACKBONES, "--limit", "60", "--scorers", "knn")
    first = answer(zoo(*words, "--json"))
    assert [each["past_runs"] for each in first["ranked"]] == [None] * 3
    assert first["past_regret"] == []
    zoo("ledger", "import", str(runs))
    for number, name in enumerate(NAMES):
        elsewhere = PastRun(name, ("image",), "multiclass", "letters", "f", 60, 26, "full", "accuracy", 1 - number / 10)
        ledger.record_run(elsewhere)
    second = answer(zoo(*words, "--json"))
    past = {each["backbone"]: each["past_runs"] for each in second["ranked"]}
    # On the other data alone: all, half and none of the rest beaten, drawn half of the way to the middle.
    scores = dict(zip(NAMES, (0.75, 0.5, 0.25), strict=True))
    assert past == {name: {"score": score, "sets": 1, "runs": 1} for name, score in scores.items()}
    (found,) = second["past_regret"]
    values = {each["backbone"]: each["value"] for each in answer(zoo("ledger", "--data", "*digits", "--json"))}
    order = [each["backbone"] for each in first["ranked"]]
    assert found["at_1"] == pytest.approx(max(values.values()) - values[order[0]])
    assert any(each.startswith("past regret, from 1 earlier ranking") for each in second["findings"])
    assert "past runs" in zoo(*words).out


def test_switched_off_nothing_is_written_and_that_is_said(
    zoo: Zoo, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no longer written down" in zoo("ledger", "off").out
    ledger.record_run(PastRun("a", ("image",), "binary", "d", "f", 1, 2, "full", "accuracy", 0.5))
    assert not (home / "ledger.sqlite").exists()
    assert "`zoo ledger off` switched it off" in zoo("ledger").err
    assert str(home / "ledger.sqlite") in zoo("ledger", "on").out
    monkeypatch.setenv("ZOO_LEDGER", "off")
    assert "the ledger stays off: ZOO_LEDGER is off" in zoo("ledger", "on").err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("ledger", "import", "nowhere"), 2, "there is nothing to import at nowhere"),
        (("ledger", "import", "."), 2, "there is no run below ."),
        (("ledger", "import", "bad.jsonl"), 3, "bad.jsonl, line 2: it lacks"),
        (("ledger", "import", "worse.jsonl"), 3, "worse.jsonl, line 1: no JSON"),
        (("ledger", "import", "bad.csv"), 3, "bad.csv, line 2: rows is 'many', not a int"),
        (("ledger", "export", "all.txt"), 2, "'all.txt' has no known ending"),
        (("ledger", "export", "bad.csv"), 2, "bad.csv exists"),
        (("ledger", "forget"), 2, "what to forget is not said"),
        (("ledger", "forget", "0123"), 2, "the ledger has no 0123"),
        (("ledger", "forget", "0123", "--data", "x"), 2, "ids and filters"),
        (("ledger", "--limit", "0"), 2, "--limit 0 is not above 0"),
        (("ledger", "--best", "export", "x.csv"), 2, "options stand behind 'export'"),
    ],
)
def test_what_cannot_be_meant_is_said(zoo: Zoo, home: Path, words: tuple[str, ...], code: int, said: str) -> None:
    line = '{"kind": "ranking", "data": "d", "fingerprint": "f", "task": "binary", "modalities": ["text"], "rows": 1, '
    line += '"classes": 2, "by": ["knn"], "order": ["a", "b"]}\n'
    (home / "bad.jsonl").write_text(line + '{"backbone": "a"}\n')
    (home / "worse.jsonl").write_text("{")
    (home / "bad.csv").write_text("backbone,rows\na,many\n")
    done = zoo(*words)
    assert done.code == code
    assert said in done.err
    assert ledger.past_rankings() == []
