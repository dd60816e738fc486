"""What a sweep of the learning rate says: the curve of the loss, and the rate to train at. Numbers, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH = 0.03
"""Standard deviation of the smoothing, as a share of the whole sweep: a quarter of a decade."""
DIVERGED = 4.0
"""Times the lowest loss at which a sweep stops, as fastai's does."""
RECENT = 5
"""Losses whose mean is compared for that: one batch alone may be hard."""
FALL = 0.1
"""Share of the first loss by which the curve has to fall for its steepest place to mean anything."""


def rate_at(step: int, steps: int, low: float, high: float) -> float:
    """The rate of a step counted from 0: exponential from `low` to `high`."""
    return float(low * (high / low) ** (step / max(steps - 1, 1)))


def has_diverged(losses: Sequence[float]) -> bool:
    """Whether the last losses are so far above the lowest that a sweep has seen enough."""
    if not np.isfinite(losses[-1]):
        return True
    if len(losses) < 2 * RECENT:
        return False
    means = np.convolve(losses, np.full(RECENT, 1 / RECENT), mode="valid")
    return bool(means[-1] > DIVERGED * means.min() and means[-1] > 1.5 * means[0])


@dataclass(frozen=True)
class RateSweep:
    """The training loss while the rate rises from step to step.

    Smith 2015, https://arxiv.org/abs/1506.01186. Where to read the curve is Gugger's advice, as in fastai: where it
    falls fastest, or a tenth of the rate at which it is lowest; the smaller is suggested.
    """

    backbone: str
    data: str
    strategy: str
    optimizer: str
    batch_size: int
    """Rows a step."""
    steps: int
    """That a sweep of the whole range would have taken."""
    rates: tuple[float, ...]
    """Of the head; the backbone's are as many times lower as the strategy says."""
    losses: tuple[float, ...]
    """Of each step's rows, before that step."""

    @cached_property
    def smoothed(self) -> NDArray[np.float64]:
        """Losses averaged over neighbouring steps; a running average would lag behind the rate."""
        # What explodes at the end would raise its neighbours, where the loss may still be at its lowest.
        losses = np.minimum(self.losses, 2 * max(self.losses[:RECENT]))
        steps = np.arange(len(losses))
        near = np.exp(-0.5 * ((steps[:, None] - steps) / max(WIDTH * self.steps, 1e-9)) ** 2)
        smoothed: NDArray[np.float64] = near @ losses / near.sum(1)
        return smoothed

    @property
    def lowest(self) -> float:
        """The rate at which the loss is lowest."""
        return self.rates[int(self.smoothed.argmin())]

    @cached_property
    def steepest(self) -> float | None:
        """The rate at which the loss falls fastest; None where it never falls enough to tell."""
        curve = self.smoothed
        bottom = int(curve.argmin())
        if bottom < 2 or curve[bottom] > (1 - FALL) * curve[0]:
            return None
        # Rates are evenly spaced on a logarithmic axis, so the difference of neighbours is the slope there.
        return self.rates[int(np.gradient(curve)[:bottom].argmin())]

    @property
    def suggestion(self) -> float:
        """The rate to train at, to one digit: nobody can tell 3.1e-3 from 3e-3.

        The smaller of the two. Measured, one seed: MiniLM on questions loses 4 points of accuracy at the steepest place
        (7e-3) against the default rate (1e-3); a small network on digits gains half a point there against 3e-3.
        """
        found = self.lowest / 10
        return float(f"{found if self.steepest is None else min(found, self.steepest):.0e}")

    @property
    def reason(self) -> str:
        """Where the suggestion comes from."""
        if self.steepest is None:
            return "a tenth of the rate at which the loss is lowest; it hardly falls before it rises"
        if self.steepest < self.lowest / 10:
            return "where the loss falls fastest"
        return "a tenth of the rate at which the loss is lowest"

    def plot(self, path: str | Path) -> Path:
        """Draw the curve with the suggestion into a file; the ending decides its kind (.png, .svg, .pdf)."""
        from zoo.transfer.rate_plot import draw

        return draw(self, Path(path))

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints."""
        return {
            "backbone": self.backbone,
            "data": self.data,
            "strategy": self.strategy,
            "optimizer": self.optimizer,
            "batch_size": self.batch_size,
            "suggestion": self.suggestion,
            "reason": self.reason,
            "steepest": self.steepest,
            "lowest": self.lowest,
            "rates": list(self.rates),
            "losses": list(self.losses),
            "smoothed": self.smoothed.tolist(),
        }
