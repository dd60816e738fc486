"""What a sweep of the rate suggests, on curves whose answer is known, and the picture of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zoo import UsageError
from zoo.transfer.rate_plot import check_picture
from zoo.transfer.rates import RateSweep, has_diverged, rate_at

STEPS = 100
RATES = tuple(rate_at(step, STEPS, 1e-7, 10.0) for step in range(STEPS))


def sweep(losses: object, rates: tuple[float, ...] = RATES) -> RateSweep:
    found = np.asarray(losses, dtype=float)
    return RateSweep(
        "starter/glyph-cnn", "sklearn:digits", "full", "adamw", 32, STEPS, rates[: len(found)], tuple(found)
    )


def falling(middle: float, noise: float = 0.0, upto: int = STEPS) -> RateSweep:
    """Flat, then a fall whose steepest place is at this rate, then a sharp rise 1.5 decades later."""
    x = np.log10(RATES[:upto])
    losses = (
        2.3 - 2 / (1 + np.exp(-4 * (x - np.log10(middle)))) + np.exp(np.minimum(8 * (x - np.log10(middle) - 1.5), 9))
    )
    return sweep(losses + noise * np.random.default_rng(0).normal(size=upto))


def test_rates_rise_by_the_same_factor_from_first_to_last() -> None:
    assert RATES[0] == pytest.approx(1e-7)
    assert RATES[-1] == pytest.approx(10)
    np.testing.assert_allclose(np.diff(np.log(RATES)), np.log(1e8) / 99)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("middle", [1e-5, 1e-3, 3e-2])
def test_the_steepest_place_is_found_and_a_tenth_of_the_lowest_suggested(middle: float, noise: float) -> None:
    found = falling(middle, noise)
    assert found.steepest is not None
    assert abs(np.log10(found.steepest / middle)) < 0.25
    assert found.lowest > found.steepest > found.suggestion
    assert found.suggestion == pytest.approx(found.lowest / 10, rel=0.3)
    assert found.reason == "a tenth of the rate at which the loss is lowest"


def test_where_the_fall_is_long_over_before_the_rise_its_steepest_place_is_suggested() -> None:
    x = np.log10(RATES)
    found = sweep(2.3 - 2 / (1 + np.exp(-4 * (x + 5))) - 0.02 * x)
    assert abs(np.log10(found.suggestion / 1e-5)) < 0.25
    assert found.reason == "where the loss falls fastest"


def test_what_explodes_at_the_end_changes_no_suggestion() -> None:
    curve = list(falling(1e-3, upto=75).losses)
    assert sweep([*curve, 1e3, 1e6]).suggestion == sweep(curve).suggestion


@pytest.mark.parametrize("losses", [np.full(STEPS, 0.7), np.linspace(0.7, 0.68, STEPS), np.linspace(1, 9, STEPS)])
def test_where_nothing_falls_it_is_a_tenth_of_the_lowest(losses: object) -> None:
    found = sweep(losses)
    assert found.steepest is None
    assert found.suggestion == pytest.approx(found.lowest / 10, rel=0.4)
    assert "hardly falls" in found.reason


def test_a_sweep_ends_when_the_loss_has_risen_and_not_for_one_hard_batch() -> None:
    flat = [2.3, 2.2, 2.4, 2.3] * 5
    assert not has_diverged(flat)
    assert not has_diverged([*flat, 1.0, 0.5, 0.4, 0.4, 0.4, 0.4, 4.0])
    assert has_diverged([*flat, 0.5, 0.4, 0.4, 0.4, 0.4, *[9.0] * 5])
    assert has_diverged([2.3, float("nan")])
    assert has_diverged([2.3, float("inf")])


def test_json_has_the_curve_and_the_suggestion() -> None:
    value = falling(1e-3).to_json()
    assert value["suggestion"] == falling(1e-3).suggestion
    assert len(value["rates"]) == len(value["losses"]) == len(value["smoothed"]) == STEPS


@pytest.mark.parametrize("name", ["lr.png", "lr.svg", "lr.pdf"])
def test_the_curve_is_drawn(tmp_path: Path, name: str) -> None:
    path = falling(1e-3, noise=0.05).plot(tmp_path / name)
    assert path.stat().st_size > 5_000
    if name.endswith("svg"):
        text = path.read_text(encoding="utf-8")
        assert all(
            f"<!-- {each} -->" in text
            for each in (f"suggestion {falling(1e-3, 0.05).suggestion:.0e}", "training loss", "smoothed")
        )


@pytest.mark.parametrize(
    ("name", "message"), [("lr.txt", "no picture"), ("lr", "no picture"), ("a/lr.png", "not there")]
)
def test_what_cannot_be_drawn_to_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_picture(tmp_path / name)
