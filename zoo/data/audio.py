"""One way to decode a recording, for every backbone: mono, float, resampled with one filter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Audio:
    """A decoded recording, as processors take it."""

    samples: NDArray[np.float32]
    """(T,) of one channel, in [-1, 1]."""
    rate: int
    """Samples a second."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate
