"""What a model folder says about itself, read as JSON: no torch, no transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import TextPreprocess, WeightsError
from zoo_transformers.families import Facts, facts_of, native
from zoo_transformers.reading import read_json
from zoo_transformers.summary import Summary, check_first, prompt_of, summary_of

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "tokenizer.model",
    "tekken.json",
)
_ENCODER_FILES = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet", "mpnet")
)
"""Where sentence-transformers keeps the length of texts; the first that is there counts."""
RECORD = "zoo-summary.json"
"""In the assets of a run: how the pooled vector came about."""
DEFAULT_LENGTH = 512
"""For models with relative positions whose tokenizer names no length: what they were fine-tuned with."""

_LONGEST = 1_000_000
"""Tokenizers without a limit say 1e30."""


@dataclass(frozen=True)
class ModelFolder:
    """A folder with a config.json of transformers."""

    path: Path
    config: Mapping[str, Any]

    @property
    def facts(self) -> Facts:
        """What its config.json tells."""
        return facts_of(self.config)

    @property
    def is_sentence_encoder(self) -> bool:
        """Whether sentence-transformers made it."""
        return (self.path / "modules.json").is_file()

    def summary(self) -> Summary:
        """Native pooling: as a sentence encoder's folder says, else as this type of model does.

        Raises:
            UsageError: a module after the pooling that zoo does not know.
        """
        own = native(self.facts.family, self.config)
        return summary_of(self.path, own) if self.is_sentence_encoder else Summary((own,))

    def max_length(self) -> int:
        """Longest text in tokens that the model and its tokenizer are made for."""
        own = self._encoder().get("max_seq_length")
        told = self.tokenizer_config().get("model_max_length")
        if own is None and isinstance(told, int | float) and 0 < told < _LONGEST:
            own = told
        known = [int(each) for each in (self.facts.context, own) if each]
        return min(known) if known else DEFAULT_LENGTH

    def lower(self) -> bool:
        """Whether a sentence encoder wants its texts in lower case, whatever its tokenizer does."""
        return bool(self._encoder().get("do_lower_case"))

    def text_preprocess(self, name: str) -> TextPreprocess:
        """How texts become ids, as the folder says; `name` is where its tokenizer comes from."""
        left = self.tokenizer_config().get("padding_side") == "left"
        prompt = prompt_of(self.path) if self.is_sentence_encoder else ""
        return TextPreprocess(name, self.max_length(), "left" if left else "right", self.lower(), prompt)

    def tokenizer_config(self) -> Mapping[str, Any]:
        """tokenizer_config.json, empty if there is none."""
        path = self.path / "tokenizer_config.json"
        return read_json(path) if path.is_file() else {}

    def preprocessor(self) -> Mapping[str, Any] | None:
        """preprocessor_config.json, None if there is none."""
        path = self.path / "preprocessor_config.json"
        return read_json(path) if path.is_file() else None

    def record(self) -> Mapping[str, Any] | None:
        """How a run's backbone pooled, where this folder is the assets of a run."""
        path = self.path / RECORD
        return read_json(path) if path.is_file() else None

    def tokenizer_files(self) -> list[Path]:
        """Those of `TOKENIZER_FILES` that are here."""
        return [self.path / name for name in TOKENIZER_FILES if (self.path / name).is_file()]

    def weight_files(self) -> list[Path]:
        """The files that hold the tensors, safetensors before pickles; empty if there are none.

        Raises:
            WeightsError: an index that points outside the folder, or at a file that is not there.
        """
        for whole, index in (
            ("model.safetensors", "model.safetensors.index.json"),
            ("pytorch_model.bin", "pytorch_model.bin.index.json"),
        ):
            if (self.path / whole).is_file():
                return [self.path / whole]
            if (self.path / index).is_file():
                return self._shards(index)
        return []

    def tensor_names(self) -> frozenset[str] | None:
        """The names of all tensors, read from the headers of safetensors files; None for pickles and damaged files."""
        names: set[str] = set()
        for file in self.weight_files():
            found = _header(file)
            if found is None:
                return None
            names |= found
        return frozenset(names) or None

    def keeps_pooler(self) -> bool | None:
        """Whether the model's own pooler is trained and serves; None where only loading tells."""
        if "pooler" not in self.summary().how:
            return False
        names = self.tensor_names()
        return (
            None
            if names is None
            else any(f".{name}".endswith((".pooler.dense.weight", ".pooler.weight")) for name in names)
        )

    def _encoder(self) -> Mapping[str, Any]:
        """What a sentence encoder says of its texts."""
        files = [self.path / name for name in _ENCODER_FILES if (self.path / name).is_file()]
        return read_json(files[0]) if files and self.is_sentence_encoder else {}

    def _shards(self, index: str) -> list[Path]:
        names = sorted({str(name) for name in read_json(self.path / index)["weight_map"].values()})
        for name in names:
            if Path(name).name != name or not (self.path / name).is_file():
                raise WeightsError(
                    f"{self.path / index} names '{name}', which is not in the folder", help="fetch it again"
                )
        return [self.path / name for name in names]


def open_folder(path: Path) -> ModelFolder | None:
    """The folder at `path` if it has a config.json with a `model_type`, else None.

    Raises:
        WeightsError: its config.json is no JSON.
        UsageError: a sentence encoder without a transformer, or with one in a folder of its own.
    """
    if not (path / "config.json").is_file():
        check_first(path)
        return None
    config = read_json(path / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        return None
    return ModelFolder(path, config)


def _header(file: Path) -> set[str] | None:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if file.suffix != ".safetensors" or not 0 < length < 100_000_000:
            return None
        try:
            return set(json.loads(stream.read(length))) - {"__metadata__"}
        except ValueError:
            return None
