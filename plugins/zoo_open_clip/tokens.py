"""Texts to ids, by open_clip's own tokenizers."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

import zoo
from zoo import WeightsError


@dataclass(frozen=True)
class Padding:
    """Which ids of a row are real to a text tower, and whether the rest may be cut off.

    `rule` says where the real ones end: at the greatest id ("argmax"), at the first `id` ("eos"), at every `id`
    ("pad"), or nowhere, since the tower reads its padding as it was trained to ("none").
    """

    rule: Literal["argmax", "eos", "pad", "none"]
    trim: bool
    """The features do not depend on what stands behind the last real id."""
    id: int = 0

    def mask(self, ids: Tensor) -> Tensor:
        """(B, T) bool of (B, T) ids, True = real."""
        if self.rule == "none":
            return torch.ones_like(ids, dtype=torch.bool)
        if self.rule == "pad":
            return ids != self.id
        end = ids.argmax(1) if self.rule == "argmax" else (ids == self.id).int().argmax(1)
        return torch.arange(ids.shape[1], device=ids.device) <= end[:, None]

    @property
    def filler(self) -> int:
        """What stands behind a text that is shorter than others of its batch."""
        return self.id if self.rule == "pad" else int(self.rule == "eos" and self.id == 0)


class TextProcessor:
    """Processor of texts: `{"ids": (B, T), "mask": (B, T) bool}`, with T no greater than needed where that is exact.

    Args:
        tokenizer: of open_clip; called with a list of texts it gives (N, context length) ids.
        padding: which ids are real.
        rows: of the tower's embedding table.
        files: what the tokenizer was read from, and settings, for `key`.
    """

    def __init__(
        self, tokenizer: Any, padding: Padding, *, rows: int, settings: Any, files: Sequence[Path] = ()
    ) -> None:
        self.tokenizer = tokenizer
        self.padding = padding
        self.rows = rows
        digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        rule = [padding.rule, padding.trim, padding.id]
        # The first call settles truncation and padding, which must not change while another thread encodes.
        tokenizer([""])
        self.key = zoo.fingerprint(["open_clip", type(tokenizer).__name__, digests, rule, rows, settings])

    def __deepcopy__(self, memo: dict[int, Any]) -> TextProcessor:
        # The tokenizer is only read, and its 50,000 words would take longer to copy than a small model.
        return copy.copy(self)

    def __call__(self, value: Any, draw: Any = None) -> Tensor:
        del draw
        ids: Tensor = self.tokenizer([str(value)])
        if int(ids.max()) >= self.rows:
            raise WeightsError(
                f"the tokenizer gives the id {int(ids.max())}, and the model has embeddings for {self.rows} tokens",
                help="tokenizer and weights are not of one model; take both from the same folder",
            )
        if self.padding.trim:
            last = int(self.padding.mask(ids)[0].nonzero().max()) if bool(self.padding.mask(ids).any()) else 0
            ids = ids[:, : last + 1]
        return ids[0]

    def length(self, example: Tensor) -> int:
        return len(example)

    def collate(self, examples: Sequence[Tensor]) -> dict[str, Tensor]:
        filler = self.padding.filler
        ids = torch.nn.utils.rnn.pad_sequence(list(examples), batch_first=True, padding_value=filler)
        return {"ids": ids, "mask": self.padding.mask(ids)}

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(tensors)
