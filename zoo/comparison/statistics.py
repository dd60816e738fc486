"""How sure a value is and how far two contenders are apart, over other rows and over other seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.comparison.scores import PROPORTIONS, Floats, Scored, mean_over_draws, measured, scored
from zoo.data.types import Task
from zoo.transfer.metrics import bootstrap
from zoo.transfer.sweep import within_range

Array = NDArray[Any]
LEVEL = 0.95
"""Of every interval here."""
NORMAL = 1.959964
"""Standard errors from the middle of a normal distribution to the end of its 95%."""
COUNTS = 4000
"""Draws where a draw is three counts."""
MCNEMAR = "McNemar, exact"
BOOTSTRAP = "paired bootstrap"
STUDENT = "t over rows and seeds"


@dataclass(frozen=True)
class Estimate:
    """A metric of one contender."""

    value: float | None
    """Mean over the seeds; None where the rows do not tell it."""
    low: float | None
    high: float | None
    """With `low`, the 95% interval: over rows, and over seeds where there are several."""
    values: tuple[float | None, ...]
    """One a seed."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends; None where the rows tell none."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class Paired:
    """A metric of one contender less that of another, on the same rows."""

    value: float
    low: float
    high: float
    """With `low`, the 95% interval."""
    p: float
    """Two-sided, of no difference."""
    test: str
    """What p is from."""


def estimate(task: Task, metric: str, predictions: Sequence[Array], targets: Array, *, seed: int = 0) -> Estimate:
    """A contender's mean over its seeds, and how far it may be from that over all rows and all seeds.

    One seed: the percentile bootstrap over rows (Efron 1979), which says nothing of other seeds. Several: the rows and
    the seeds are both a sample, crossed, and the variance of the mean is that of `paired`. The interval is Student's;
    of metrics that count rows it is the exact one of a proportion with as many rows as would leave that variance (Korn
    and Graubard 1998), so that it neither ends at 1 when all rows are right nor goes past.

    It fails with fewer than about 30 rows, and with classes of a handful of rows where the metric is a mean over
    classes; with two seeds it can only be wide, and covers 90% rather than 95% where seeds differ more than rows do.

    Args:
        task: binary, multiclass, multilabel or regression.
        metric: one that the task has.
        predictions: one (N, K) array a seed, as `Trained.predict` gives them.
        targets: as in `Examples`.
        seed: of the bootstrap.
    """
    if len(predictions) == 1:
        values = measured(task, metric, predictions, targets)
        pair = None if values[0] is None else bootstrap(task, predictions[0], targets, metric, seed=seed)
        low, high = pair or (None, None)
        return Estimate(values[0], low, high, values)
    return estimated(scored(task, metric, predictions, targets, seed=seed))


def estimated(found: Scored) -> Estimate:
    """`estimate` of several seeds that were measured already."""
    values = found.known
    if values is None:
        return Estimate(None, None, None, found.values)
    mean = float(values.mean())
    error, freedom = _error(values, _covariance(found.by_row, found.draws), found.count)
    half = _quantile(freedom) * error
    if found.metric in PROPORTIONS:
        low, high = _proportion(mean, half, found.count)
    elif half == 0:
        return Estimate(mean, None, None, found.values)  # rows that all agree do not tell how far it may be off
    else:
        low, high = within_range(found.metric, mean - half, mean + half)
    return Estimate(mean, low, high, found.values)


def paired(
    task: Task, metric: str, one: Sequence[Array], other: Sequence[Array], targets: Array, *, seed: int = 0
) -> Paired | None:
    """How far `one` is from `other` on the same rows, with the same seeds.

    **One seed.** The interval is the paired bootstrap's (Efron and Tibshirani 1993, chapter 8). For accuracy p is that
    of McNemar's exact test (1947): of the rows that one alone has right, are more on one side than a coin would give?
    The interval is widened to what that test leaves open, given how many rows tell the two apart (Clopper and Pearson
    1934), and so leaves out 0 exactly where p is below 0.05; where no row tells the two apart, p is 1 and the interval
    as wide as so many rows leave it. For other metrics p is read off the interval, on the side towards 0, as if the
    tail beyond were normal (Altman and Bland 2011, https://doi.org/10.1136/bmj.d2304): below 0.05 exactly where the
    interval leaves out 0. All of this is about these two trained models, not about others from other seeds: compare
    several seeds where training is left to chance.

    **Several seeds.** Rows and seeds are both a sample, and every seed meets every row. The variance of the mean is
    that of Obuchowski and Rockette (1995), made for several readers of the same cases:

        V = R + max(M - D, 0) / S

    R is the variance of the mean difference over other rows (from scores of rows, or bootstrap draws of them), M the
    variance of the S differences of the seeds, and D what of M comes from the rows already, the mean variance of a seed
    over rows less the mean covariance of two: it is not counted twice. Student's t with the degrees of freedom of
    Satterthwaite (1946), as Hillis (2007, https://doi.org/10.1002/sim.2532) takes them, with N - 1 for the rows:

        V**2 / ((M / S)**2 / (S - 1) + R**2 / (N - 1)), at least S - 1

    Assumed: rows are drawn independently; seeds too, and the s-th seed of both belongs together (the same draw of
    training rows), which costs some power and nothing else where it does not. It fails with fewer than about 30 rows or
    discordant rows below about 5 (several seeds), and where the training rows are one fixed set: seeds then tell of
    initialisation and order, not of other training rows (Bouthillier et al. 2021, https://arxiv.org/abs/2103.03098).

    Args:
        task: binary, multiclass, multilabel or regression.
        metric: one that the task has. Where less is better the value still is one - other.
        one: one (N, K) array a seed, as `Trained.predict` gives them.
        other: as many, of the same seeds in the same order.
        targets: as in `Examples`.
        seed: of the bootstrap.

    Returns:
        None where the rows do not tell the metric.

    Raises:
        ValueError: the two have not as many seeds.
    """
    return apart(scored(task, metric, one, targets, seed=seed), scored(task, metric, other, targets, seed=seed))


def apart(one: Scored, other: Scored) -> Paired | None:
    """`paired` of contenders that were measured already, on the same rows; quicker where each has many pairs."""
    if len(one.values) != len(other.values) or one.count != other.count:
        raise ValueError(f"{len(one.values)} and {len(other.values)} seeds on {one.count} and {other.count} rows")
    if one.known is None or other.known is None:
        return None
    values = one.known - other.known
    rows = None if one.by_row is None or other.by_row is None else one.by_row - other.by_row
    draws = None if one.draws is None or other.draws is None else one.draws - other.draws
    if len(values) == 1:
        return _of_one_seed(one.metric, float(values[0]), rows, draws, one)
    mean = float(values.mean())
    error, freedom = _error(values, _covariance(rows, draws), one.count)
    if error == 0:
        return _never_apart(one.metric, mean, one.count, STUDENT)
    from scipy.stats import t

    half = _quantile(freedom) * error
    least, most = within_range(one.metric, -np.inf, np.inf)
    low, high = max(mean - half, least - most), min(mean + half, most - least)
    return Paired(mean, low, high, float(2 * t.sf(abs(mean) / error, freedom)), STUDENT)


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for how many there are, so that one in twenty families holds a false finding at 0.05.

    The smallest is multiplied by their number, the next by one less, and so on, none below the one before. It needs
    nothing of how the tests hang together, and is never weaker than Bonferroni. It is strict where there are many: with
    66 pairs the smallest must be below 0.0008.

    Reference: Holm 1979, "A simple sequentially rejective multiple test procedure", Scand. J. of Statistics 6
    """
    adjusted = [0.0] * len(p)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        highest = max(highest, min(1.0, p[index] * (len(p) - place)))
        adjusted[index] = highest
    return adjusted


def _of_one_seed(metric: str, value: float, rows: Floats | None, draws: Floats | None, one: Scored) -> Paired:
    if metric == "accuracy" and rows is not None:
        return _mcnemar(value, int((rows > 0).sum()), int((rows < 0).sum()), one)
    drawn = mean_over_draws(rows[:, 0], one.seed) if rows is not None else np.asarray(draws)[:, 0]
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn) or np.ptp(drawn) == 0:
        return _never_apart(metric, value, one.count, BOOTSTRAP)
    low, high = _middle(drawn)
    low, high = min(low, value), max(high, value)
    return Paired(value, low, high, _p_of(value, low, high), BOOTSTRAP)


def _middle(drawn: Floats) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _mcnemar(value: float, more: int, less: int, one: Scored) -> Paired:
    """From how many rows `one` alone has right, and how many the other alone."""
    from scipy.special import bdtr

    discordant, count = more + less, one.count
    if discordant == 0:
        return _never_apart(one.metric, value, count, MCNEMAR)
    p = min(1.0, 2 * float(bdtr(min(more, less), discordant, 0.5)))  # binomtest finds the same 50 times slower
    shares = np.array([more, less, count - discordant]) / count
    drawn = np.random.default_rng(one.seed).multinomial(count, shares, COUNTS)  # the same as drawing the rows
    low, high = _middle((drawn[:, 0] - drawn[:, 1]) / count)
    least, most = ((2 * end - 1) * discordant / count for end in _exact(more, discordant))
    low, high = min(low, least), max(high, most)
    if p < 1 - LEVEL:  # draws of so few rows may reach 0, which the test rules out
        low, high = (least, high) if low <= 0 < value else (low, most) if value < 0 <= high else (low, high)
    return Paired(value, low, high, p, MCNEMAR)


def _never_apart(metric: str, value: float, count: int, test: str) -> Paired:
    """Where all rows say the same: apart by as much as so many rows may hide, where the metric counts rows.

    p is that of the sign test: so many rows on one side.
    """
    p = 1.0 if value == 0 else 2.0 ** (1 - count)
    if metric not in PROPORTIONS:
        return Paired(value, value, value, p, test)
    hidden = 1 - ((1 - LEVEL) / 2) ** (1 / count)
    return Paired(value, max(value - hidden, -1.0), min(value + hidden, 1.0), p, test)


def _p_of(value: float, low: float, high: float) -> float:
    from scipy.stats import norm

    if value == 0:
        return 1.0
    half = max(value - low if value > 0 else high - value, (high - low) / 100)
    return float(2 * norm.sf(NORMAL * abs(value) / half))


def _covariance(rows: Floats | None, draws: Floats | None) -> Floats:
    """(S, S) of the metric of each seed over other rows."""
    if rows is not None:
        return (
            np.atleast_2d(np.cov(rows, rowvar=False)) / len(rows) if len(rows) > 1 else np.zeros((rows.shape[1],) * 2)
        )
    assert draws is not None
    known = draws[np.isfinite(draws).all(1)]
    return np.atleast_2d(np.cov(known, rowvar=False)) if len(known) > 1 else np.zeros((draws.shape[1],) * 2)


def _error(values: Floats, covariance: Floats, count: int) -> tuple[float, float]:
    """Standard error of the mean over rows and seeds, and its degrees of freedom."""
    seeds = len(values)
    of_rows = float(covariance.mean())
    own = float(covariance.trace()) / seeds
    shared = (seeds * of_rows - own) / (seeds - 1)
    between = float(values.var(ddof=1))
    variance = of_rows + max(between - (own - shared), 0.0) / seeds
    if variance <= 0:
        return 0.0, float(max(count - 1, 1))
    spent = (between / seeds) ** 2 / (seeds - 1) + of_rows**2 / max(count - 1, 1)
    return variance**0.5, max(variance**2 / spent, seeds - 1.0)  # no less than the seeds alone have


def _quantile(freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, freedom))


def _proportion(mean: float, half: float, count: int) -> tuple[float, float]:
    """The exact interval of a share of so many rows that a normal one would have this half width."""
    rows = count if half == 0 or not 0 < mean < 1 else mean * (1 - mean) * (NORMAL / half) ** 2
    return _exact(mean * rows, rows)


def _exact(right: float, rows: float) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share (1934); rows need not be whole."""
    from scipy.special import betaincinv

    tail = (1 - LEVEL) / 2
    low = float(betaincinv(right, rows - right + 1, tail)) if right > 0 else 0.0
    high = float(betaincinv(right + 1, rows - right, 1 - tail)) if right < rows else 1.0
    return low, high
