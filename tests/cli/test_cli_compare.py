"""`zoo compare` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Zoo

PIXELS = ("starter/pixels", "sklearn:digits", "--limit", "100", "--val", "0.1", "--shots", "2", "--seeds", "2")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_table_has_contenders_floors_and_the_trivial_answer(zoo: Zoo) -> None:
    done = zoo("compare", "dots=starter/glyph-cnn", *PIXELS)
    assert done.code == 0
    lines = [line for line in done.out.splitlines() if line]
    assert lines[0].startswith(("dots is best on sklearn:digits", "pixels is best on sklearn:digits"))
    table = [line.split("  ")[0] for line in lines if line.startswith(("dots", "pixels", "always"))][1:]
    assert sorted(table[:2]) == ["dots", "pixels"]
    assert table[2:4] == ["dots (random)", "always the same answer"]
    assert sorted(table[4:6]) == ["dots", "pixels"]  # further metrics, and what each costs
    assert lines[-6].split() == ["macro_f1", "log_loss", "ece", "params", "FLOPs", "ms/row", "training", "memory"]
    assert "reference" in done.out
    again = zoo("compare", "dots=starter/glyph-cnn", *PIXELS, "--json", "--report", "page.md")
    assert "dots is best" in Path("page.md").read_text() or "pixels is best" in Path("page.md").read_text()
    found = json.loads(again.out)
    assert found["protocol"]["computed"] == 0
    assert Path(found["folder"], "comparison.json").is_file()
    assert Path("comparisons/last").resolve() == Path(found["folder"]).resolve()


def test_several_sets_are_named_by_an_option(zoo: Zoo) -> None:
    for name, rows in (("one", range(20)), ("two", range(20, 44))):
        text = "\n".join(f"{'good' if row % 2 else 'bad'} {row},{'up' if row % 2 else 'down'}" for row in rows)
        Path(f"{name}.csv").write_text(f"text,label\n{text}\n")
    sets = ("--data", "one.csv", "--data", "two.csv")
    done = zoo("compare", "starter/bag-of-words", "starter/gru", *sets, "--no-floors", "--seeds", "1")
    assert done.code == 0
    assert "one.csv  " in done.out
    assert "mean rank" in done.out
    assert "Over 2 data sets" in done.out


def test_a_failure_is_named_and_ends_with_1(zoo: Zoo) -> None:
    done = zoo("compare", *PIXELS, "--strategy", "linear-probe,norm-tuning", "--epochs", "1", "--no-floors")
    assert done.code == 1
    assert "failed    pixels, norm-tuning on sklearn:digits: " in done.err
    assert "pixels, linear-probe" in done.out


def test_a_page_of_another_kind_is_refused_before_any_work(zoo: Zoo) -> None:
    done = zoo("compare", *PIXELS, "--report", "page.pdf")
    assert done.code == 2
    assert "--report page.pdf is no page" in done.err


def test_words_without_data_are_refused(zoo: Zoo) -> None:
    done = zoo("compare", "starter/pixels")
    assert done.code == 2
    assert "error[usage]: a comparison needs backbones and data" in done.err
