"""What past runs say of backbones, and what past rankings would have cost."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.records.entries import PastRanking, PastRun
from zoo.records.prior import DataFacts, Past, prior, regret, set_name

NEW = DataFacts("new", "n", "multiclass", ("image",), 100, 10)


def run(backbone: str, data: str, value: float, **more: Any) -> PastRun:
    given = {"task": "multiclass", "rows": 100, "classes": 10, "strategy": "full", "metric": "accuracy", **more}
    given = {"fingerprint": f"of {data}", "modalities": ("image",), **given}
    return PastRun(backbone=backbone, data=data, value=value, **given)


def on(data: str, values: dict[str, float], **more: Any) -> list[PastRun]:
    return [run(name, data, value, **more) for name, value in values.items()]


def test_the_score_is_the_share_of_others_that_were_beaten_drawn_to_the_middle() -> None:
    runs = on("photos", {"a": 0.9, "b": 0.8, "c": 0.7}) + on("birds", {"a": 0.5, "b": 0.6})
    found = prior(["a", "b", "c", "unknown"], NEW, runs)
    assert {name: (each.sets, each.runs) for name, each in found.items()} == {"a": (2, 2), "b": (2, 2), "c": (1, 1)}
    expected = {"a": (1.0 + 0.0 + 0.5) / 3, "b": (0.5 + 1.0 + 0.5) / 3, "c": (0.0 + 0.5) / 2}
    assert {name: each.score for name, each in found.items()} == pytest.approx(expected)


@given(st.permutations(range(12)), st.floats(0.1, 10))
def test_neither_the_order_of_runs_nor_the_scale_of_a_metric_matters(order: list[int], scale: float) -> None:
    rng = random.Random(0)
    runs = [run(name, data, rng.random()) for data in ("p", "q", "r") for name in "abcd"]
    stretched = [replace(each, value=(each.value or 0) * scale) for each in runs]
    assert prior("abcd", NEW, [stretched[i] for i in order]) == prior("abcd", NEW, runs)


def test_the_data_themselves_never_count_by_name_or_content() -> None:
    values = {"a": 0.9, "b": 0.1}
    assert prior("ab", NEW, on("elsewhere/new/", values)) == {}
    assert prior("ab", NEW, on("other", values, fingerprint="n")) == {}
    assert prior("ab", NEW, on("other", values)).keys() == {"a", "b"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"strategy": "full"}, {"strategy": "lora"}),
        ({"rows": 10}, {"rows": 20}),
        ({"head": "linear"}, {"head": "mlp"}),
        ({"split": "val"}, {"split": "test"}),
        ({"metric": "accuracy"}, {"metric": "macro_f1"}),
    ],
)
def test_runs_that_differ_in_more_than_the_backbone_are_not_compared(one: Any, other: Any) -> None:
    assert prior("ab", NEW, [run("a", "d", 0.9, **one), run("b", "d", 0.1, **other)]) == {}


def test_seeds_are_averaged_and_one_data_set_is_one_whatever_was_kept_of_it() -> None:
    seeds = [run("a", "d", 0.9, seed=s, fingerprint=f"seed {s}") for s in range(4)] + [run("b", "d", 0.95)]
    found = prior("ab", NEW, seeds + on("d", {"a": 0.5, "b": 0.4}, rows=50))
    # It lost to b on 100 rows and won on 50.
    assert found["a"] == Past(score=0.5, sets=1, runs=5)


def test_lower_is_better_where_the_metric_is_an_error_and_ties_are_halves() -> None:
    assert prior("ab", NEW, on("d", {"a": 0.1, "b": 0.2}, greater=False))["a"].score > 0.5
    assert prior("ab", NEW, on("d", {"a": 0.1, "b": 0.1}))["a"].score == 0.5


def test_runs_that_leak_or_have_no_value_and_other_kinds_of_task_teach_nothing() -> None:
    values = {"a": 0.9, "b": 0.1}
    assert prior("ab", NEW, on("d", values, leak=True)) == {}
    assert prior("ab", NEW, on("d", values, task="regression")) == {}
    assert prior("ab", NEW, [run("a", "d", float("nan")), run("b", "d", 0.1)]) == {}
    assert prior("ab", NEW, on("d", values, task="binary")).keys() == {"a", "b"}


def test_only_the_nearest_data_sets_speak() -> None:
    near, far = {"a": 0.9, "b": 0.1}, {"a": 0.1, "b": 0.9}
    for what in ({"rows": 100_000}, {"classes": 1000}, {"modalities": ("text",)}):
        runs = on("near", near) + on("far", far, **what)
        assert prior("ab", NEW, runs, nearest=1)["a"].score == pytest.approx(0.75)
        assert prior("ab", NEW, runs, nearest=2)["a"].score == pytest.approx(0.5)


def test_many_data_sets_outweigh_the_doubt() -> None:
    scores = []
    for count in (1, 3, 9):
        runs = [each for number in range(count) for each in on(f"d{number}", {"a": 0.9, "b": 0.1})]
        scores.append(prior("ab", NEW, runs)["a"].score)
    assert scores == [pytest.approx((n + 0.5) / (n + 1)) for n in (1, 3, 9)]


def ranking(order: str, data: str = "d", **more: Any) -> PastRanking:
    return PastRanking(data, f"of {data}", "multiclass", ("image",), 100, 10, ("knn",), tuple(order), **more)


def test_regret_is_what_the_first_lacks_of_the_best() -> None:
    runs = on("d", {"a": 0.5, "b": 0.7, "c": 0.6, "d": 0.9})
    (found,) = regret([ranking("abcd")], runs)
    assert found.candidates == 4
    assert found.at_1 == pytest.approx(0.4)
    assert found.at_3 == pytest.approx(0.2)
    assert regret([ranking("dabc")], runs)[0].at_1 == 0
    (few,) = regret([ranking("axbyc")], runs[:3])
    assert few.at_1 == pytest.approx(0.2)
    assert few.at_3 is None


def test_a_ranking_that_nobody_followed_tells_nothing() -> None:
    assert regret([ranking("abcd")], on("d", {"a": 0.5})) == []
    assert regret([ranking("abcd")], on("elsewhere", {"a": 0.5, "b": 0.6})) == []
    assert regret([ranking("abcd")], [run("a", "d", 0.5), run("b", "d", 0.6, strategy="lora")]) == []


@given(st.permutations(range(6)), st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_regret_is_never_negative_and_falls_with_more_tries(order: list[int], values: list[float]) -> None:
    names = "abcdef"
    runs = on("d", dict(zip(names, values, strict=True)))
    (found,) = regret([ranking("".join(names[i] for i in order))], runs)
    assert found.at_3 is not None
    assert 0 <= found.at_3 <= found.at_1 <= max(values) - min(values)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("/home/me/photos/", "photos"),
        ("../photos/train.parquet", "photos"),
        ("photos.csv", "photos"),
        ("sklearn:digits", "sklearn:digits"),
        ("C:\\data\\photos\\data.csv", "photos"),
        ("train.csv", "train"),
        ("", ""),
    ],
)
def test_data_have_one_name_wherever_they_lie(typed: str, name: str) -> None:
    assert set_name(typed) == name
