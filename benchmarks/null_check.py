"""What the statistics of a comparison find where nothing is, and what they find where something is.

    python benchmarks/null_check.py simulated
    python benchmarks/null_check.py digits [--seeds 10] [--epochs 3]

simulated: rows are of unequal difficulty and contenders have rows that suit them, as logits of being right: the
contender's level + N(0, 2) of the row + N(0, 1) of the row for the contender + N(0, s) of the seed. Ten identical
contenders are compared a hundred times, 45 pairs each time, corrected by Holm: how many comparisons call nobody better?
Then one of two contenders is better by 5 points: how often is it found, beside what theory gives: the exact power of
McNemar's test, summed over every outcome, and Connor's approximation (1987, Biometrics 43), both from the shares of
discordant rows that the model has by quadrature, without the code that is tested. Last, how often the 95% interval of a
difference holds the true one.

digits: ten heads of starter/glyph-cnn, trained with ten seeds for a few epochs on scikit-learn's digits: ten contenders
of one seed each, all alike.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import binom, norm

from zoo.comparison.scores import Scored, scored
from zoo.comparison.statistics import apart, holm
from zoo.data.types import Task

Array = NDArray[Any]
TASK = Task("multiclass", classes=("a", "b", "c"))
OF_ROW, OF_CONTENDER = 2.0, 1.0
"""Standard deviations of logits."""
ROWS = 300
BEST, GAP = 0.80, 0.05
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@dataclass(frozen=True)
class Contender:
    """How often it is right, and how far its seeds are apart."""

    accuracy: float
    of_seed: float = 0.0
    """Standard deviation of logits."""

    @property
    def level(self) -> float:
        """The logit at which rows of all difficulties are right this often."""
        spread = (OF_ROW**2 + OF_CONTENDER**2 + self.of_seed**2) ** 0.5
        found: float = brentq(lambda level: WEIGHTS @ expit(level + spread * NODES) - self.accuracy, -30, 30)
        return found

    def answers(self, rows: Array, targets: Array, seeds: int, rng: np.random.Generator) -> list[Array]:
        """(N, 3) probabilities of each seed, for rows of a difficulty."""
        own = rng.normal(0, OF_CONTENDER, len(rows))
        found = []
        for _ in range(seeds):
            right = rng.random(len(rows)) < expit(self.level + rows + own + rng.normal(0, self.of_seed))
            given = np.where(right, targets, (targets + rng.integers(1, 3, len(rows))) % 3)
            found.append(np.eye(3)[given] * 0.9 + 0.1 / 3)
        return found


def compared(contenders: Sequence[Contender], seeds: int, rng: np.random.Generator, count: int = ROWS) -> list[Scored]:
    """Contenders on one drawn set of rows."""
    rows, targets = rng.normal(0, OF_ROW, count), rng.integers(0, 3, count)
    return [scored(TASK, "accuracy", each.answers(rows, targets, seeds, rng), targets) for each in contenders]


def found_better(measured: Sequence[Scored]) -> int:
    """Pairs that are told apart after the correction."""
    pairs = [apart(one, other) for one, other in combinations(measured, 2)]
    return sum(p < 0.05 for p in holm([each.p for each in pairs if each is not None]))


def discordant(one: Contender, other: Contender) -> tuple[float, float]:
    """Shares of rows that one alone has right, by quadrature over difficulty."""
    own = (OF_CONTENDER**2 + one.of_seed**2) ** 0.5
    rows = OF_ROW * NODES
    first, second = (expit(each.level + rows[:, None] + own * NODES) @ WEIGHTS for each in (one, other))
    return float(WEIGHTS @ (first * (1 - second))), float(WEIGHTS @ ((1 - first) * second))


def exact_power(more: float, less: float, count: int, level: float = 0.05) -> float:
    """How often McNemar's exact test finds it: over every number of discordant rows, and every split of them."""
    power = 0.0
    for n in range(1, count + 1):
        k = np.arange(n + 1)
        found = np.minimum(1, 2 * binom.cdf(np.minimum(k, n - k), n, 0.5)) < level
        power += binom.pmf(n, count, more + less) * binom.pmf(k[found], n, more / (more + less)).sum()
    return float(power)


def connor(more: float, less: float, count: int, level: float = 0.05) -> float:
    """The usual approximation of the same, by a normal distribution and without the test's caution."""
    share, gap = more + less, abs(more - less)
    return float(norm.cdf((gap * count**0.5 - norm.isf(level / 2) * share**0.5) / (share - gap**2) ** 0.5))


def quiet(seeds: int, of_seed: float, repeats: int = 100) -> int:
    """Comparisons of ten identical contenders in which nobody is called better."""
    rng = np.random.default_rng(0)
    return sum(found_better(compared([Contender(BEST, of_seed)] * 10, seeds, rng)) == 0 for _ in range(repeats))


def power(seeds: int, of_seed: float, repeats: int) -> float:
    """How often 5 points are found."""
    rng = np.random.default_rng(1)
    two = Contender(BEST, of_seed), Contender(BEST - GAP, of_seed)
    return sum(found_better(compared(two, seeds, rng)) for _ in range(repeats)) / repeats


def covered(seeds: int, of_seed: float, repeats: int) -> float:
    """How often the interval of a difference of 5 points holds it."""
    rng = np.random.default_rng(2)
    two = Contender(BEST, of_seed), Contender(BEST - GAP, of_seed)
    found = (apart(*compared(two, seeds, rng)) for _ in range(repeats))
    return sum(each is not None and each.low <= GAP <= each.high for each in found) / repeats


def simulated(repeats: int) -> None:
    """The table of docs/figures.md."""
    more, less = discordant(Contender(BEST), Contender(BEST - GAP))
    theory, usual = exact_power(more, less, ROWS), connor(more, less, ROWS)
    print(f"{ROWS} rows, accuracy {BEST}, {repeats} repeats; discordant rows {more:.3f} and {less:.3f}")
    print(f"theory, one seed: exact {theory:.3f}, Connor's approximation {usual:.3f}\n")
    print("| seeds | accuracy of seeds, sd | quiet of 100 | 5 points found | interval holds them |")
    print("| --- | --- | --- | --- | --- |")
    for seeds in (1, 2, 3, 5):
        for of_seed in (0.0, 0.1):
            wobble = _wobble(of_seed)
            print(
                f"| {seeds} | {wobble:.3f} | {quiet(seeds, of_seed)} | {power(seeds, of_seed, repeats):.3f} "
                f"| {covered(seeds, of_seed, repeats):.3f} |",
                flush=True,
            )


def _wobble(of_seed: float) -> float:
    """Standard deviation of the accuracy of a seed over all rows."""
    spread = (OF_ROW**2 + OF_CONTENDER**2) ** 0.5
    level = Contender(BEST).level
    accuracy = np.array([WEIGHTS @ expit(level + shift + spread * NODES) for shift in of_seed * NODES])
    return float((WEIGHTS @ (accuracy - WEIGHTS @ accuracy) ** 2) ** 0.5)


def digits(seeds: int, epochs: int) -> None:
    """Ten heads that differ by nothing but their seed."""
    import zoo
    from zoo.transfer.trained import load_trained

    data = zoo.read_dataset("sklearn:digits")
    held = data.splits[data.held_out]
    assert held.targets is not None
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            run = zoo.finetune(
                "starter/glyph-cnn", data, strategy="head", epochs=epochs, seed=seed, baseline="none",
                out=zoo.Output(dir=folder, name=f"seed{seed}"),
            )  # fmt: skip
            found.append(scored(data.task, "accuracy", [load_trained(run.path).predict(held)], held.targets))
    pairs = [each for one, other in combinations(found, 2) if (each := apart(one, other)) is not None]
    values = sorted(each.values[0] or 0.0 for each in found)
    print(f"{seeds} heads, {epochs} epochs, {len(held)} held-out rows: accuracy {values[0]:.3f} to {values[-1]:.3f}")
    p = [each.p for each in pairs]
    print(f"{len(pairs)} pairs: {sum(each < 0.05 for each in p)} with p below 0.05, the smallest {min(p):.3f}")
    print(f"after Holm's correction: {sum(each < 0.05 for each in holm(p))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("simulated", "digits"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=2000)
    given = parser.parse_args()
    simulated(given.repeats) if given.what == "simulated" else digits(given.seeds, given.epochs)
