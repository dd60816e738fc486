"""Average precision of boxes against cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pycocotools")

from zoo.data.boxes import Boxes
from zoo.data.types import Task
from zoo.transfer.detection import BoxScores
from zoo.transfer.precision import Evaluated

NAMES = ("box", "disc")


def boxes(*rows: tuple[float, float, float, float, int], scores: list[float] | None = None, crowd: int = 0) -> Boxes:
    """Objects as left, upper, right, lower and class; the first `crowd` of them are crowds."""
    numbers = np.array(rows, dtype=np.float32).reshape(-1, 5)
    return Boxes(
        numbers[:, :4],
        numbers[:, 4].astype(np.int64),
        NAMES,
        (100, 100),
        scores=None if scores is None else np.array(scores, dtype=np.float32),
        crowd=np.arange(len(numbers)) < crowd,
    )


TRUE = [boxes((0, 0, 10, 10, 0), (20, 20, 40, 40, 1)), boxes((5, 5, 25, 25, 0))]
RIGHT = [boxes((0, 0, 10, 10, 0), (20, 20, 40, 40, 1), scores=[0.9, 0.8]), boxes((5, 5, 25, 25, 0), scores=[0.7])]
NOTHING = boxes(scores=[])


def test_what_is_found_exactly_has_precision_one() -> None:
    assert Evaluated(RIGHT, TRUE).metrics() == pytest.approx({"map": 1, "map_50": 1, "map_75": 1, "recall": 1})


def test_a_box_counts_at_the_overlaps_that_it_reaches() -> None:
    # 10 x 10 in 10 x 16: IoU 0.625, which is enough at 0.5, 0.55 and 0.6 of the ten thresholds.
    found = Evaluated([boxes((0, 0, 10, 16, 0), scores=[0.9])], [boxes((0, 0, 10, 10, 0))]).metrics()
    assert found == pytest.approx({"map": 0.3, "map_50": 1, "map_75": 0, "recall": 0.3})


def test_precision_is_the_area_under_its_curve_at_101_levels_of_recall() -> None:
    # One of two boxes of a class is found, after a wrong one: precision 1/2 at 51 of 101 levels, 0 at the others.
    said = [boxes((60, 60, 80, 80, 0), (0, 0, 10, 10, 0), scores=[0.9, 0.8]), NOTHING]
    true = [boxes((0, 0, 10, 10, 0)), boxes((5, 5, 25, 25, 0))]
    assert Evaluated(said, true).metrics()["map_50"] == pytest.approx(0.5 * 51 / 101)


def test_classes_count_alike_and_those_without_a_box_not_at_all() -> None:
    half = [boxes((0, 0, 10, 10, 0), scores=[0.9]), boxes((5, 5, 25, 25, 0), scores=[0.7])]
    assert Evaluated(half, TRUE).metrics()["map"] == pytest.approx(0.5)
    assert {name: each["map"] for name, each in Evaluated(half, TRUE).by_class().items()} == {"box": 1, "disc": 0}
    assert Evaluated(half[1:], TRUE[1:]).metrics()["map"] == pytest.approx(1)
    assert Evaluated([NOTHING], [boxes()]).metrics()["map"] is None
    assert Evaluated([NOTHING], TRUE[1:]).metrics()["map"] == 0


def test_what_is_found_in_a_crowd_is_neither_right_nor_wrong() -> None:
    true = [boxes((50, 50, 90, 90, 0), (0, 0, 10, 10, 0), crowd=1)]
    said = [boxes((55, 55, 75, 75, 0), (0, 0, 10, 10, 0), scores=[0.9, 0.8])]
    evaluated = Evaluated(said, true)
    assert evaluated.metrics()["map"] == pytest.approx(1)
    assert evaluated.counts(0.5)["box"] == (1, 1, 1)


def test_precision_of_a_class_is_of_objects_with_a_score_of_one_half(capsys: pytest.CaptureFixture[str]) -> None:
    said = [boxes((0, 0, 10, 10, 0), (60, 60, 80, 80, 0), scores=[0.9, 0.6]), boxes((5, 5, 25, 25, 0), scores=[0.4])]
    scores = BoxScores(Task("detection", NAMES), said, TRUE)
    box, disc = scores.per_class()
    assert (box.name, box.precision, box.recall, box.support) == ("box", 0.5, 0.5, 2)
    assert (disc.precision, disc.recall, disc.f1, disc.support) == (0, 0, 0, 1)
    assert scores.confusion() is None
    assert capsys.readouterr().out == ""  # pycocotools prints, and results go to standard output


def test_an_interval_holds_the_precision_and_is_the_same_every_time() -> None:
    true = [each for _ in range(10) for each in TRUE]
    said = [each for place, one in enumerate(RIGHT * 10) for each in [one if place % 3 else NOTHING]]
    evaluated = Evaluated(said, true)
    low, high = evaluated.intervals()["map"]
    value = evaluated.metrics()["map"]
    assert value is not None
    assert 0 < low < value < high < 1
    assert Evaluated(said, true).intervals() == evaluated.intervals()
    assert Evaluated(RIGHT, TRUE).intervals() == {}
