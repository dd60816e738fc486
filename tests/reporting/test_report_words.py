"""Numbers and foreign text in words, the front of Pareto, and scales."""

from __future__ import annotations

from itertools import product

import pytest

from zoo.reporting import words
from zoo.reporting.blocks import Name, Whisker
from zoo.reporting.cases import quarters
from zoo.reporting.figures import Line, Spot, limits, within
from zoo.reporting.plots import front


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (words.figure(None), "–"), (words.figure(float("nan")), "–"), (words.figure(-0.0001), "0.000"),
        (words.figure(-0.5), "−0.500"), (words.figure(41234.5), "41,234"), (words.signed(0.02), "+0.020"),
        (words.signed(-0.02), "−0.020"), (words.signed(0.0), "0.000"), (words.probability(0.00001), "< 0.001"),
        (words.probability(0.034), "0.034"), (words.probability(1.0), "1.00"), (words.many(11_176_512), "11.2M"),
        (words.many(999_999), "1M"), (words.many(0.31), "0.31"), (words.many(None), "–"),
        (words.duration(0.0123), "12.3 ms"),
        (words.duration(61.2), "61.2 s"), (words.duration(7300), "2 h 02 min"), (words.memory(2_400_000_000), "2.4 GB"),
        (words.metric("macro_f1"), "macro-F1"), (words.metric("recall_at_1"), "recall at 1"),
        (words.listed(["a", "b", "c"]), "a, b and c"), (words.listed(["a"]), "a"), (words.listed([]), ""),
        (words.plural(1, "row"), "1 row"), (words.plural(1200, "row"), "1,200 rows"),
        (words.plain({"a": True}), "a=yes"),
        (words.short("a\nb  c", 10), "a b c"), (words.short("abcdef", 4), "abc…"),
        (words.visible("a\x00\udcff"), "a⟨U+0000⟩⟨U+DCFF⟩"),
    ],
)  # fmt: skip
def test_values_are_said_as_a_paper_would(made: str, shown: str) -> None:
    assert made == shown


@pytest.mark.parametrize("up", [True, False])
def test_the_front_has_those_that_none_beats(up: bool) -> None:
    points = [(x, y) for x, y in product((1.0, 2.0, 4.0, 8.0), (0.2, 0.5, 0.9)) if (x * 7 + y * 10) % 4 < 3]
    spots = [Spot(Name(str(at)), x, y, None) for at, (x, y) in enumerate(points)]
    sign = 1 if up else -1

    def beaten(one: Spot) -> bool:
        return any(
            other.x <= one.x and sign * other.y >= sign * one.y and (other.x, other.y) != (one.x, one.y)
            for other in spots
        )

    assert {spot.name for spot in front(spots, up=up)} == {spot.name for spot in spots if not beaten(spot)}


def test_rows_far_from_all_others_are_moved_to_the_edge_and_counted() -> None:
    cloud = [(float(at % 10), float(at // 10)) for at in range(100)]
    assert within(cloud) == (cloud, 0)
    moved, far = within([*cloud, (1e6, 4.0)])
    assert far == 1
    assert moved[:100] == cloud
    assert 9 < moved[-1][0] < 20
    few = [(0.0, 0.0), (1.0, 1.0), (1e6, 0.0)]
    assert within(few) == (few, 0)


def test_numbers_on_a_map_are_told_by_their_quarter() -> None:
    found = quarters([str(number) for number in range(100)])
    assert [found.count(each) for each in dict.fromkeys(found)] == [25, 25, 25, 25]
    assert found[0].startswith("1. up to ")
    assert found[-1].startswith("4. over ")
    assert quarters(["1", "2", "1"]) == ["1", "2", "1"]
    assert quarters(["a", "nan"]) == ["a", "nan"]


def test_one_wide_band_does_not_press_all_curves_flat() -> None:
    name = Name("a", "1", 1)
    calm = Line(name, (Spot(name, 1, 0.2, (0.1, 0.3)), Spot(name, 8, 0.6, (0.5, 0.7))))
    wild = Line(name, (Spot(name, 1, 0.3, (-9.0, 1.0)), Spot(name, 8, 0.5, (0.4, 0.6))))
    low, high = limits([calm, wild], 0.1)
    assert -0.6 < low < 0.1
    assert 1.0 < high < 1.2
    assert limits([calm], None)[0] < 0.1


def test_a_whisker_stays_within_its_scale() -> None:
    drawn = Whisker(0.5, (0.2, 1.4), (0.0, 1.0))
    assert [drawn.at(value) for value in (-1.0, 0.5, 1.4)] == [0.0, 0.5, 1.0]
    assert Whisker(0.5, None, (0.5, 0.5)).at(0.5) == 0.5
