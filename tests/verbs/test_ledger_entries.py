"""What a comparison leaves in the ledger, and that the same from a fine-tuning is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

import zoo
from zoo.verbs.ledger import Imported, import_from, write_comparison


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of the test's own."""
    monkeypatch.delenv("ZOO_LEDGER")
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_solved_heads_of_a_comparison_are_runs_and_twice_is_once() -> None:
    read = zoo.ReadOptions(limit=60, val=0.1)
    names = ["starter/glyph-cnn", "starter/pixels"]
    found = zoo.compare(names, "sklearn:digits", shots=(2, "all"), seeds=2, floors=False, read=read)
    runs = zoo.past_runs()
    assert len(runs) == 6  # two draws of 2 rows, and all rows once
    assert {each.value for each in runs} == {value for standing in found.standings for value in standing.values}
    assert {each.backbone for each in runs} == {each.backbone for each in found.contenders}
    assert {(each.shots, each.rows) for each in runs} == {(2, 20), (None, 60)}
    write_comparison(found)
    assert import_from("comparisons") == Imported(new=0, known=6, left_out={})
    out = zoo.Output(dir="runs")
    zoo.finetune("starter/pixels", "sklearn:digits", strategy="linear-probe", read=read, out=out, baseline="none")
    assert len(zoo.past_runs()) == 6
