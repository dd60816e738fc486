"""`--dry-run` and `--only`: the jobs of a comparison or a ranking, one by one, make what the plain command makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Zoo
from tests.cli.program import documented
from zoo.records import home

SMALL = ("sklearn:digits", "--limit", "60", "--val", "0.1")
COMPARE = (
    "compare", "dots=starter/glyph-cnn", "starter/pixels+starter/glyph-cnn", *SMALL, "--shots", "2", "--seeds", "1",
    "--reference", "pixels",
)  # fmt: skip
TRAINED = ("compare", "starter/pixels", *SMALL, "--shots", "2", "--seeds", "2", "--strategy", "full", "--epochs", "1")
RANK = ("rank", "sklearn:digits", "starter/pixels", "starter/glyph-cnn", "--limit", "60", "--scorers", "knn,logme")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    at(tmp_path / "home", monkeypatch)
    yield
    home.cache_home.cache_clear()


def at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on what is kept lies there."""
    monkeypatch.setenv("ZOO_HOME", str(folder))
    home.cache_home.cache_clear()


def told(found: dict[str, Any]) -> dict[str, Any]:
    """What a comparison says, without seconds and memory."""
    rows = [{name: value for name, value in row.items() if name != "cost"} for row in found["standings"]]
    return {**{name: found[name] for name in ("differences", "fusions", "spoiled", "overlaps", "errors")}, "rows": rows}


def test_jobs_one_by_one_and_then_the_whole_are_the_plain_command(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = zoo(*COMPARE, "--dry-run", "--json").json()
    assert [job["name"] for job in left["jobs"]] == [
        f"{title} on sklearn:digits"
        for title in ("dots", "pixels+dots", "pixels", "dots (random)", "pixels+dots (random)")
    ]
    assert (left["known"], left["left"], left["home"]) == (0, 5, str(tmp_path / "home"))
    assert set(left) == documented("`zoo compare BACKBONE... DATA --dry-run --json`")
    assert {(job["results"], job["gpus"]) for job in left["jobs"]} == {(1, 0)}
    assert not Path("comparisons").exists()
    for job in reversed(left["jobs"]):
        assert job["argv"][0] == "zoo"
        assert zoo(*job["argv"][1:]).code == 0
    again = zoo(*COMPARE, "--dry-run", "--json").json()
    assert (again["known"], again["left"], again["jobs"], again["costs"]) == (5, 0, [], [])
    assert not list(Path().glob("comparisons/*/comparison.json"))
    whole = zoo(*left["final"]["argv"][1:], "--json").json()
    assert (whole["protocol"]["computed"], whole["protocol"]["cached"]) == (0, 5)
    at(tmp_path / "elsewhere", monkeypatch)
    plain = zoo(*COMPARE, "--json", "--out", "plain").json()
    assert (plain["protocol"]["computed"], plain["protocol"]["cached"]) == (5, 0)
    assert told(whole) == told(plain)


def test_each_training_is_a_job_of_its_own_whose_run_lies_with_the_comparison(zoo: Zoo) -> None:
    left = zoo(*TRAINED, "--dry-run", "--json").json()
    names = [f"pixels on sklearn:digits, 2 shots, seed {seed}" for seed in (0, 1)]
    assert [(job["name"], job["rows"]) for job in left["jobs"]] == [(name, 20 + 179) for name in names]
    assert zoo(*left["jobs"][1]["argv"][1:], "--json").json() == {"job": names[1], "status": "done"}
    assert zoo(*TRAINED, "--only", names[1], "--json").json() == {"job": names[1], "status": "known"}
    (run,) = Path("comparisons").glob("*/runs/pixels*")
    assert (run / "run.json").is_file()
    shown = zoo(*TRAINED, "--dry-run")
    assert [line.split() for line in shown.out.splitlines() if line.startswith("pixels on sklearn:digits  ")] == [
        ["pixels", "on", "sklearn:digits", "1", "1"]
    ]
    assert f"a job     {left['jobs'][0]['shell']}" in shown.out
    assert f"then      {left['final']['shell']}" in shown.out
    unknown = zoo(*TRAINED, "--only", "pixels on sklearn:digits, 2 shots, seed 2")
    assert unknown.code == 2
    assert f"Did you mean {names[1]}, {names[0]}?" in unknown.err


def test_candidates_are_jobs_too(zoo: Zoo) -> None:
    left = zoo(*RANK, "--dry-run", "--json").json()
    assert [job["name"] for job in left["jobs"]] == ["starter/pixels", "starter/glyph-cnn.letters"]
    for job in left["jobs"]:
        assert zoo(*job["argv"][1:]).out == f"{job['name']}: done and kept\n"
    shown = zoo(*RANK, "--dry-run")
    assert "nothing is left to do: all results of the ranking are known" in shown.out
    found = zoo(*left["final"]["argv"][1:], "--json").json()
    assert [each["ms_per_row"] for each in found["ranked"]] == [None, None]  # of features that were kept
    unknown = zoo(*RANK, "--only", "starter/pixel")
    assert unknown.code == 2
    assert "No job is named 'starter/pixel'. Did you mean starter/pixels?" in unknown.err


def test_a_ranking_in_several_processes_is_that_of_one(zoo: Zoo) -> None:
    alone, two = (zoo(*RANK, "starter/bag-of-words", *more, "--json").json() for more in ((), ("--jobs", "2")))
    for found in (alone, two):
        assert list(found["failures"]) == ["starter/bag-of-words"]
    assert [each["scores"] for each in alone["ranked"]] == [each["scores"] for each in two["ranked"]]
    assert (alone["failures"], alone["findings"]) == (two["failures"], two["findings"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*RANK, "--jobs", "0"), "--jobs 0 is not above 0"),
        ((*RANK, "--executor", "rai"), "No executor is named 'rai'. Did you mean ray?"),
        ((*RANK, "--layers", "--dry-run"), "--layers looks at one backbone after the other"),
        ((*RANK, "--dry-run", "--only", "a"), "--dry-run shows jobs, and --only carries one out"),
        ((*COMPARE, "--only", "a", "--report", "a.md"), "a.md is written of the whole"),
        ((*COMPARE, "--only", "dotz on sklearn:digits"), "Did you mean dots on sklearn:digits"),
        ((*COMPARE, "--dry-run", "--device", "gpu"), "'gpu' is no device"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: tuple[str, ...], said: str, zoo: Zoo) -> None:
    done = zoo(*words)
    assert done.code == 2
    assert said in done.err


def test_a_card_may_be_asked_for_where_there_is_none(zoo: Zoo) -> None:
    left = zoo(*COMPARE, "--device", "cuda", "--dry-run", "--json").json()
    assert {job["gpus"] for job in left["jobs"]} == {1}
    assert " --device cuda " in left["jobs"][0]["shell"]
