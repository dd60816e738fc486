"""The ledger: the same run twice is one row, many writers at once lose nothing, and no fault of it costs a run."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import DataError
from zoo.records import ledger
from zoo.records.entries import PastRanking, PastRun


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of the test's own."""
    monkeypatch.delenv("ZOO_LEDGER", raising=False)
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    monkeypatch.setattr(ledger, "_said", set())
    return tmp_path / "ledger.sqlite"


def run(backbone: str = "a", value: float | None = 0.5, **more: Any) -> PastRun:
    given: dict[str, Any] = {"data": "toys", "fingerprint": "f", "rows": 100, "classes": 3, "strategy": "full", **more}
    return PastRun(backbone, ("image",), "multiclass", metric="accuracy", value=value, **given)


RANKING = PastRanking("toys", "f", "multiclass", ("image",), 100, 3, ("knn",), ("a", "b"))

RUNS = st.builds(
    PastRun,
    backbone=st.text(),
    modalities=st.lists(st.sampled_from(["image", "text", "audio"]), max_size=3).map(tuple),
    task=st.sampled_from(["binary", "regression"]),
    data=st.text(),
    fingerprint=st.text("0123456789abcdef", min_size=4),
    rows=st.integers(0, 10**9),
    classes=st.integers(0, 1000),
    strategy=st.text(),
    metric=st.just("accuracy"),
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    greater=st.booleans(),
    head=st.none() | st.text(min_size=1),
    shots=st.none() | st.integers(1, 100),
    seed=st.integers(0, 2**31),
    leak=st.booleans(),
    params=st.none() | st.integers(0, 10**10),
    seconds=st.none() | st.floats(0, 1e6),
)


@settings(max_examples=25)
@given(runs=st.lists(RUNS, max_size=6), more=st.lists(RUNS, max_size=3))
def test_what_was_written_is_read_and_twice_is_once(
    tmp_path_factory: pytest.TempPathFactory, runs: list[PastRun], more: list[PastRun]
) -> None:
    file = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    assert ledger.add(runs, file=file) == len({each.id for each in runs})
    assert ledger.add([*runs, *more], file=file) == len({each.id for each in (*runs, *more)} - {e.id for e in runs})
    found = {each.id: each for each in ledger.read(PastRun, file=file)}
    assert {each.id for each in (*runs, *more)} == set(found)
    for each in runs:
        assert found[each.id] in (*runs, *more)
    assert ledger.forget([each.id for each in runs], file=file) == len({each.id for each in runs})


@given(one=RUNS)
def test_an_entry_is_what_its_plain_values_say_also_as_texts(one: PastRun) -> None:
    plain = one.to_json()
    assert PastRun.of({**plain, "of a later version": 1}) == one
    texts = {name: str(value) for name, value in plain.items() if value is not None and name != "modalities"}
    if one.modalities:
        assert PastRun.of({**texts, "modalities": "+".join(one.modalities)}) == one


def test_time_machine_and_place_do_not_make_another_run_and_the_result_does() -> None:
    first = run(seconds=1.0, device="cpu", time="2026-01-01T00:00:00+00:00", run="/here")
    assert run(seconds=2.0, device="cuda", run="/there", params=7).id == first.id
    different = [run(value=0.6), run("b"), run(seed=1), run(rows=50), run(strategy="lora"), run(leak=True)]
    assert len({first.id, *(each.id for each in different)}) == 7


def test_the_newest_comes_first_and_rankings_stand_beside_runs() -> None:
    times = ["2026-01-02T00:00:00+00:00", "2026-03-01T00:00:00+00:00", "2025-12-01T00:00:00+00:00"]
    for number, time in enumerate(times):
        ledger.record_run(run(str(number), time=time))
    ledger.record_ranking(RANKING)
    assert [each.backbone for each in ledger.past_runs()] == ["1", "0", "2"]
    assert ledger.past_rankings() == [RANKING]
    assert ledger.forget([RANKING.id, "unknown"]) == 1


def test_a_number_that_json_has_not_is_no_number() -> None:
    ledger.record_run(run(value=float("nan")))
    assert [each.value for each in ledger.past_runs()] == [None]


WRITER = """
import sys, warnings
from zoo.records import ledger
from zoo.records.entries import PastRun

warnings.simplefilter("error")
me = int(sys.argv[1])
for number in range(10):
    for who in (str(me), "all"):
        ledger.record_run(PastRun(who, ("image",), "binary", "toys", "f", number, 2, "full", "accuracy", 0.5))
assert len(ledger.past_runs()) >= 20
"""


def test_writers_in_four_processes_lose_nothing_and_double_nothing() -> None:
    children = [subprocess.Popen([sys.executable, "-c", WRITER, str(me)], env=dict(os.environ)) for me in range(4)]
    assert [child.wait(timeout=120) for child in children] == [0] * 4
    assert len(ledger.past_runs()) == 4 * 10 + 10


def scribbled(file: Path) -> None:
    file.write_bytes(b"this is no database, whatever its name says" * 40)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def of_another_program(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")
    database.close()


def of_a_later_zoo(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    "harm", [scribbled, cut, of_another_program, of_a_later_zoo, a_folder], ids=lambda harm: harm.__name__
)
def test_a_ledger_that_cannot_be_used_costs_one_warning(own: Path, harm: Callable[[Path], None]) -> None:
    ledger.add(run(str(number), data="toys" * 50) for number in range(50))
    harm(own)
    before = own.read_bytes() if own.is_file() else None
    with pytest.warns(UserWarning, match=r"the ledger .* cannot be used: .*; move it away"):
        ledger.record_run(run("new"))
    ledger.record_run(run("newer"))
    assert ledger.past_runs() == []
    assert before is None or own.read_bytes() == before
    with pytest.raises(DataError, match="cannot be used"):
        ledger.read(PastRun)


def test_a_ledger_that_cannot_be_made_costs_one_warning(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own.parent / "file").write_text("")
    monkeypatch.setenv("ZOO_LEDGER", str(own.parent / "file" / "ledger.sqlite"))
    with pytest.warns(UserWarning, match=r"the ledger .* cannot be used: .*File exists"):
        ledger.record_run(run())


def test_a_ledger_that_another_holds_for_long_costs_one_warning(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "WAIT_SECONDS", 0.05)
    ledger.record_run(run())
    holder = sqlite3.connect(own, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.warns(UserWarning, match=r"cannot be used: database is locked"):
        ledger.record_run(run("b"))
    holder.close()
    ledger.record_run(run("c"))
    assert {each.backbone for each in ledger.past_runs()} == {"a", "c"}


def test_a_ledger_that_another_process_is_just_making_is_empty(own: Path) -> None:
    own.touch()
    assert ledger.past_runs() == []
    ledger.record_run(run())
    assert len(ledger.past_runs()) == 1


@pytest.mark.parametrize("word", ["off", "OFF", "0", "no"])
def test_the_environment_switches_it_off(own: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("ZOO_LEDGER", word)
    ledger.record_run(run())
    assert not own.exists()
    assert ledger.why_off() == "ZOO_LEDGER is off"


def test_a_switch_holds_until_it_is_turned_again(own: Path) -> None:
    ledger.switch(on=False)
    ledger.record_run(run())
    assert not own.exists()
    ledger.switch(on=True)
    ledger.record_run(run())
    assert len(ledger.past_runs()) == 1


def test_the_environment_may_name_a_file_and_it_is_never_in_the_cache(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_LEDGER", str(tmp_path / "of the team.sqlite"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ledger.record_run(run())
    assert (tmp_path / "of the team.sqlite").is_file()
    monkeypatch.delenv("ZOO_LEDGER")
    monkeypatch.delenv("ZOO_HOME")
    assert "cache" not in str(ledger.ledger_file())
