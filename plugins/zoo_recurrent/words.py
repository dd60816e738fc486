"""Texts to ids without a vocabulary: every word has the place in the embedding that its hash names.

No text is unknown and nothing is downloaded or learned. The price: two words may share a place. Of 10,000 different
words about a quarter share theirs with another.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import zoo
from zoo import TextPreprocess

PAD, START, SEPARATOR = 0, 1, 2
SPECIAL = 3
"""Ids below it stand for no word."""

_WITHOUT_SPACES = "\u0e00-\u0eff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Thai, Lao, Japanese and Chinese write no spaces between words: there each letter is one."""
_WORDS = re.compile(rf"[{_WITHOUT_SPACES}]|[^\W\d_{_WITHOUT_SPACES}]+|\d|[^\w\s]|_")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, with every digit and sign as a word of its own."""
    return _WORDS.findall(unicodedata.normalize("NFC", text).lower())


def place_of(word: str, rows: int) -> int:
    """The id of a word in an embedding of so many rows: its CRC-32, the same on every machine."""
    return SPECIAL + zlib.crc32(word.encode("utf-8", "surrogatepass")) % (rows - SPECIAL)


class WordProcessor:
    """Texts to `{"ids": (B, T) int64, "mask": (B, T) bool}`, padded to the longest of the batch.

    Args:
        preprocess: the longest text, and the side of the padding.
        rows: of the embedding.
    """

    def __init__(self, preprocess: TextPreprocess, rows: int) -> None:
        self.preprocess = preprocess
        self.rows = rows
        self.padding_side = preprocess.padding_side

    @property
    def key(self) -> str:
        return zoo.fingerprint(["hashed words", self.preprocess, self.rows, _WORDS.pattern])

    def __call__(self, value: str | tuple[str, str], draw: Any = None) -> list[int]:
        """Start and the words; of a pair a separator and the words of the second text behind them. Cut to fit."""
        del draw
        room = self.preprocess.max_length
        if isinstance(value, str):
            return [START, *self._places(value, room - 1)]
        first, second = (self._places(text, room) for text in value)
        while len(first) + len(second) > room - 2:
            # The longer one is cut, so that neither is lost.
            (first if len(first) >= len(second) else second).pop()
        return [START, *first, SEPARATOR, *second]

    def length(self, example: list[int]) -> int:
        return len(example)

    def collate(self, examples: Sequence[list[int]]) -> dict[str, Tensor]:
        T = max((len(each) for each in examples), default=0)
        ids = torch.full((len(examples), T), PAD, dtype=torch.int64)
        mask = torch.zeros(len(examples), T, dtype=torch.bool)
        for row, each in enumerate(examples):
            at = slice(0, len(each)) if self.padding_side == "right" else slice(T - len(each), T)
            ids[row, at] = torch.tensor(each, dtype=torch.int64)
            mask[row, at] = True
        return {"ids": ids, "mask": mask}

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(tensors)

    def _places(self, text: str, room: int) -> list[int]:
        return [place_of(word, self.rows) for word in words_of(text)[:room]]
