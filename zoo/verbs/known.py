"""Frozen features of all training rows, extracted once, for whichever of these rows are asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import Examples
from zoo.models.backbone import Backbone
from zoo.verbs.extract import extract


class Known:
    """Features of rows as they come out of a pass over all of them, whatever part of the rows a run is about.

    Args:
        backbone: as it is before training.
        train: the rows.
        device: where it runs.
    """

    def __init__(self, backbone: Backbone, train: Examples, device: str) -> None:
        self.backbone = backbone
        self.train = train
        self.device = device
        self.rows = {each: row for row, each in enumerate(train.ids)}
        self.found: NDArray[np.float32] | None = None

    def all(self, progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """(N, D), extracted when they are first asked for, or taken from the cache."""
        if self.found is None:
            self.found = extract(self.backbone, self.train, device=self.device, progress=progress).features
        return self.found

    def of(self, examples: Examples, progress: Callable[[int], None] | None = None) -> NDArray[np.float32] | None:
        """(n, D) of some of the rows; None where others are among them."""
        if not all(each in self.rows for each in examples.ids):
            return None
        return self.all(progress)[[self.rows[each] for each in examples.ids]]
