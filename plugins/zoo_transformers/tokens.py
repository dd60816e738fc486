"""Texts and pairs of texts to ids, as a model's own tokenizer does it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

import zoo
from zoo import TextPreprocess, UsageError, WeightsError

AT_ONCE = 1000
"""Texts that are tokenised together: enough for all cores, few enough for what they leave in memory."""


class Encoded(NamedTuple):
    """One text: its ids, and which of the two texts each belongs to where the model asks."""

    ids: list[int]
    types: list[int] | None


class TextProcessor:
    """Processor of texts: `{"ids": (B, T), "mask": (B, T) bool}`, and "types" (B, T) for models of text pairs.

    Args:
        tokenizer: of transformers.
        preprocess: the longest text.
        rows: of the model's embedding table; an id beyond them is an error.
        types: token type ids go to the model.
        files: what the tokenizer was read from, for `key`.

    Raises:
        WeightsError: the tokenizer knows words that the model has no embedding for.
    """

    def __init__(
        self, tokenizer: Any, preprocess: TextPreprocess, *, rows: int, types: bool, files: Sequence[Path] = ()
    ) -> None:
        self.tokenizer = tokenizer
        self.preprocess = preprocess
        self.rows = rows
        self.types = types
        self._lowers = preprocess.lower and not self._lower()
        self.padding_side: Literal["left", "right"] = "left" if tokenizer.padding_side == "left" else "right"
        self.pad = self._pad()
        digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        settings = [preprocess.max_length, preprocess.lower, preprocess.prompt, self.padding_side, types, rows]
        self.key = zoo.fingerprint(["transformers", type(tokenizer).__name__, digests, settings])
        self._check_vocabulary()

    def __call__(self, value: Any, draw: Any = None) -> Encoded:
        del draw
        found = self._encode(*self._written(value))
        return self._encoded(found["input_ids"], found.get("token_type_ids", ()))

    def many(self, values: Sequence[Any]) -> list[Encoded]:
        """Each as if it came alone; the tokenizer takes them on all cores."""
        found: list[Encoded] = []
        for start in range(0, len(values), AT_ONCE):
            some = [values[row] for row in range(start, min(start + AT_ONCE, len(values)))]
            firsts, seconds = zip(*map(self._written, some), strict=True)
            if any(each is None for each in seconds) != all(each is None for each in seconds):
                found += map(self, some)
                continue
            together = self._encode(list(firsts), None if seconds[0] is None else list(seconds))
            types = together.get("token_type_ids", [()] * len(firsts))
            found += [self._encoded(*each) for each in zip(together["input_ids"], types, strict=True)]
        return found

    def _written(self, value: Any) -> tuple[str, str | None]:
        """A text, and the second one of a pair, as the tokenizer gets them."""
        first, second = value if isinstance(value, tuple) else (value, None)
        first = self.preprocess.prompt + first
        if self._lowers:
            first, second = first.lower(), second if second is None else second.lower()
        return first, second

    def _encoded(self, given: Sequence[int], kinds: Sequence[int]) -> Encoded:
        ids = list(given) or [self._filler()]
        types = list(kinds) if self.types else None
        if types is not None and len(types) != len(ids):
            types = [0] * len(ids)
        if max(ids) >= self.rows:
            raise self._mismatch(max(ids))
        return Encoded(ids, types)

    def spans(self, value: str) -> list[tuple[int, int]]:
        """First character of each token and the one after its last; (0, 0) for special tokens and the prompt.

        Raises:
            UsageError: a tokenizer written in Python, which does not know.
        """
        if not self.tokenizer.is_fast:
            raise UsageError(
                f"{type(self.tokenizer).__name__} does not say where in a text its tokens stand",
                help="use a folder with a tokenizer.json, as most models have",
            )
        shift = len(self.preprocess.prompt)
        found = self._encode(self.preprocess.prompt + value, None, offsets=True)["offset_mapping"]
        return [(max(start - shift, 0), max(end - shift, 0)) for start, end in found] or [(0, 0)]

    def length(self, example: Encoded) -> int:
        return len(example.ids)

    def collate(self, examples: Sequence[Encoded]) -> dict[str, Tensor]:
        T = max((len(each.ids) for each in examples), default=0)
        sizes = torch.tensor([len(each.ids) for each in examples], dtype=torch.int64).unsqueeze(1)
        places = torch.arange(T)
        mask = places < sizes if self.padding_side == "right" else places >= T - sizes
        ids = torch.full((len(examples), T), self.pad, dtype=torch.int64)
        ids.masked_scatter_(mask, torch.tensor([each for row in examples for each in row.ids], dtype=torch.int64))
        types = torch.zeros_like(ids)
        if self.types:
            kinds = [row.types or [0] * len(row.ids) for row in examples]
            types.masked_scatter_(mask, torch.tensor([each for row in kinds for each in row], dtype=torch.int64))
        return {"ids": ids, "mask": mask, "types": types} if self.types else {"ids": ids, "mask": mask}

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(tensors)

    @property
    def prompt_length(self) -> int:
        """Tokens that the prompt takes at the start of every text, with what the tokenizer puts before it."""
        if not self.preprocess.prompt:
            return 0
        ids = list(self._encode(self.preprocess.prompt, None)["input_ids"])
        return len(ids) - (bool(ids) and ids[-1] in self.tokenizer.all_special_ids)

    def _encode(self, first: str | list[str], second: str | list[str] | None, *, offsets: bool = False) -> Any:
        return self.tokenizer(
            first,
            second,
            truncation="longest_first" if second is not None else True,
            max_length=self.preprocess.max_length,
            padding=False,
            return_token_type_ids=self.types,
            return_attention_mask=False,
            return_offsets_mapping=offsets,
            verbose=False,
        )

    def _lower(self) -> bool:
        """Put lower case before the tokenizer's own normalisation, which leaves special tokens in a text alone.

        Returns:
            False for a tokenizer written in Python, which has no such steps.
        """
        from tokenizers import normalizers

        inner = getattr(self.tokenizer, "backend_tokenizer", None)
        if inner is None:
            return False
        own = inner.normalizer
        inner.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([own] if own is not None else [])])
        return True

    def _pad(self) -> int:
        """Any id the model knows: what counts is the mask. GPT-2 has no padding token, openai-gpt not even an end."""
        names = ("pad_token_id", "eos_token_id", "unk_token_id")
        known = (getattr(self.tokenizer, name, None) for name in names)
        return next((int(each) for each in known if each is not None and 0 <= each < self.rows), 0)

    def _filler(self) -> int:
        """The one token of a text without tokens, as an empty text is for GPT-2."""
        names = ("bos_token_id", "cls_token_id", "eos_token_id", "unk_token_id")
        known = (getattr(self.tokenizer, name, None) for name in names)
        return next((int(each) for each in known if each is not None and 0 <= each < self.rows), self.pad)

    def _check_vocabulary(self) -> None:
        added = set(getattr(self.tokenizer, "added_tokens_decoder", ()))
        # Added tokens that no text here uses do no harm, so they are looked at where they turn up.
        highest = max((index for index in self.tokenizer.get_vocab().values() if index not in added), default=-1)
        if highest >= self.rows:
            raise self._mismatch(highest)

    def _mismatch(self, index: int) -> WeightsError:
        return WeightsError(
            f"the tokenizer gives the id {index}, and the model has embeddings for {self.rows} tokens alone",
            help="tokenizer and weights are not of one model; take both from the same folder",
        )
