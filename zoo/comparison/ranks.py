"""Places that tied contenders share, and mean places over several data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from zoo.comparison.scores import DRAWS, Floats, Scored
from zoo.transfer.metrics import greater_is_better


@dataclass(frozen=True)
class MeanRank:
    """Where a contender stands over several data sets."""

    value: float
    """Mean of its places; 1 is best."""
    interval: tuple[float, float] | None
    """95%, over draws of data sets, rows and seeds."""
    data: int
    """Data sets it was ranked on."""


def ranks(values: Mapping[str, float | None], better: Callable[[str, str], bool]) -> dict[str, int]:
    """The place of each: 1 + how many are significantly better.

    Contenders within each other's noise share a place, and places are left free behind them: 1, 1, 1, 4. A place
    counts losses alone, so that of three one may be beaten by the first and not be told from the second.

    Args:
        values: of those to place; without a value there is no place.
        better: whether the first is significantly better than the second, after correction.

    Returns:
        In the order of `values`.
    """
    known = [title for title, value in values.items() if value is not None]
    return {title: 1 + sum(better(each, title) for each in known if each != title) for title in known}


def mean_ranks(per_data: Sequence[Mapping[str, Scored]], *, seed: int = 0) -> dict[str, MeanRank]:
    """Mean place of each contender over data sets, with a 95% interval.

    On each data set contenders are placed by value, ties by the mean of their places, and the places are averaged
    (Demsar 2006, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7). The interval is that of a
    bootstrap in two stages: data sets are drawn, then in each rows and seeds, the same for all that are placed (Davison
    and Hinkley 1997, section 3.8). It is widened to hold the mean itself: drawing rows adds their noise once more,
    which pulls the places of near equals to the middle (Hall and Miller 2009, https://doi.org/10.1214/09-AOS699).

    It fails below about five data sets, which say little about others and draw too narrow an interval; a mean place
    depends on who else takes part; and places of contenders that were not on the same data sets are not comparable.

    Args:
        per_data: of each data set, what `scored` gave of each contender, all on the same rows and of one metric; a
            contender without a value is not placed there.
        seed: of the draws.
    """
    tables = [_places(each) for each in per_data if any(found.known is not None for found in each.values())]
    titles = dict.fromkeys(title for places, _ in tables for title in places)
    rng = np.random.default_rng(seed)
    drawn = {title: _means(title, tables, rng.spawn(1)[0]) for title in titles}
    found = {}
    for title in titles:
        own = [places[title] for places, _ in tables if title in places]
        mean = float(np.mean(own))
        low, high = np.nanquantile(drawn[title], [0.025, 0.975])
        found[title] = MeanRank(mean, (min(float(low), mean), max(float(high), mean)), len(own))
    return found


Table = tuple[dict[str, float], dict[str, Floats]]
"""Places on a data set, and (draws,) places of each contender over drawn rows."""


def _places(table: Mapping[str, Scored]) -> Table:
    from scipy.stats import rankdata

    means = {title: float(found.known.mean()) for title, found in table.items() if found.known is not None}
    known = [table[title] for title in means]
    sign = -1 if greater_is_better(known[0].metric) else 1
    places = rankdata([sign * mean for mean in means.values()])
    drawn = np.stack([_over_seeds(found) for found in known], 1)
    of_draws = rankdata(sign * drawn, axis=1, nan_policy="omit")
    return (
        {title: float(place) for title, place in zip(means, places, strict=True)},
        {title: of_draws[:, index] for index, title in enumerate(means)},
    )


def _over_seeds(found: Scored) -> Floats:
    """(draws,) means over seeds drawn with replacement, of rows drawn with replacement."""
    drawn = found.drawn()
    seeds = drawn.shape[1]
    picked = np.random.default_rng(found.seed).integers(0, seeds, drawn.shape)
    mean: Floats = np.take_along_axis(drawn, picked, 1).mean(1)
    return mean


def _means(title: str, tables: Sequence[Table], rng: np.random.Generator) -> Floats:
    """(draws,) mean places over data sets drawn with replacement."""
    own = [drawn[title] for _, drawn in tables if title in drawn]
    sets = rng.integers(0, len(own), (DRAWS, len(own)))
    found = np.empty((DRAWS, len(own)))
    for column in range(len(own)):
        for index, each in enumerate(own):
            here = sets[:, column] == index
            found[here, column] = each[rng.integers(0, len(each), int(here.sum()))]
    mean: Floats = np.nanmean(found, axis=1)
    return mean
