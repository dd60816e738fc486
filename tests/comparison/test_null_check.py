"""Nothing is found where nothing is, and what theory gives where something is: benchmarks/null_check.py in short."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "null_check.py"


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("null_check", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["null_check"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("seeds", "of_seed", "repeats"), [(1, 0.0, 40), (5, 0.1, 100)])
def test_ten_identical_contenders_are_not_told_apart(
    check: ModuleType, seeds: int, of_seed: float, repeats: int
) -> None:
    assert check.quiet(seeds, of_seed, repeats) >= 0.95 * repeats


def test_five_points_are_found_as_often_as_theory_gives(check: ModuleType) -> None:
    theory = check.exact_power(*check.discordant(check.Contender(0.80), check.Contender(0.75)), 300)
    error = (theory * (1 - theory) / 400) ** 0.5
    assert check.power(1, 0.0, 400) >= theory - 2 * error
    assert check.power(5, 0.0, 200) >= theory + 0.2  # other seeds tell what one leaves to chance


def test_theory_is_the_textbook_one(check: ModuleType) -> None:
    """With many discordant rows the exact sum and the normal approximation meet."""
    assert check.exact_power(0.30, 0.22, 1000) == pytest.approx(check.connor(0.30, 0.22, 1000), abs=0.02)
