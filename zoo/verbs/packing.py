"""How many rows are computed at once, and how many positions that takes for each real one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch

from zoo.data.batches import Loader
from zoo.data.types import Examples
from zoo.models.backbone import Backbone

ROWS_AT_ONCE = {"cpu": 16, "gpu": 64}
"""Images, recordings, and texts that go with them."""
TEXTS_AT_ONCE = {"cpu": 256, "gpu": 1024}
"""Texts alone, which are packed by their tokens: rows at most."""
POSITIONS_AT_ONCE = {"cpu": 2048, "gpu": 16_384}
"""Tokens of a batch of texts at most, with padding: on a CPU more would only be padded more."""


@dataclass(frozen=True)
class Size:
    """How many rows make a batch."""

    rows: int
    positions: int | None = None
    """Of texts, with padding, at most; None: always `rows` rows."""
    pinned: bool = False
    """For a card, which takes what comes next while it computes."""

    @classmethod
    def of(cls, backbone: Backbone, device: torch.device, rows: int | None) -> Self:
        """So many rows as asked for, or what suits the device and what the backbone takes."""
        kind = "cpu" if device.type == "cpu" else "gpu"
        if rows is not None or tuple(backbone.modalities) != ("text",):
            return cls(rows or ROWS_AT_ONCE[kind], pinned=device.type == "cuda")
        return cls(TEXTS_AT_ONCE[kind], POSITIONS_AT_ONCE[kind], device.type == "cuda")

    @property
    def half(self) -> Size:
        """For where memory does not suffice."""
        return replace(self, rows=self.rows // 2, positions=None if self.positions is None else self.positions // 2)

    def loader(self, backbone: Backbone, examples: Examples, *, fast: bool = False) -> Loader:
        """All rows in such batches; with `fast` large JPEGs are decoded at less than their size."""
        processors = {modality: backbone.processor(modality) for modality in backbone.modalities}
        return Loader(
            examples, processors, batch_size=self.rows, positions=self.positions, fast=fast, pinned=self.pinned
        )


@dataclass
class Counts:
    """Positions of what was computed, over all passes."""

    computed: int = 0
    real: int = 0

    @property
    def padding(self) -> float | None:
        """Positions computed for each real one; None where there were none."""
        return self.computed / self.real if self.real else None

    def add(self, loader: Loader) -> None:
        """All rows of it were computed."""
        computed, real = loader.counts
        self.computed += computed
        self.real += real
