"""What a model folder says about itself, read as JSON: no torch, no transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import TextPreprocess, UsageError, WeightsError
from zoo_transformers.families import Facts, How, facts_of, native

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
RECORD = "zoo-summary.json"
"""In the assets of a run: how the pooled vector came about."""
DEFAULT_LENGTH = 512
"""For models with relative positions whose tokenizer names no length: what they were fine-tuned with."""

_LONGEST = 1_000_000
"""Tokenizers without a limit say 1e30."""

_MODES: Mapping[str, How] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}
_MODE_WORDS: Mapping[str, How] = {"cls": "cls", "max": "max", "mean": "mean", "lasttoken": "last"}


@dataclass(frozen=True)
class Dense:
    """A linear layer after pooling, as some sentence encoders have."""

    inputs: int
    outputs: int
    bias: bool
    activation: str
    """"tanh" or "identity"."""
    folder: str
    """Where its weights are, inside the model folder."""


@dataclass(frozen=True)
class Summary:
    """How tokens become the native vector."""

    how: tuple[How, ...]
    """More than one: side by side."""
    dense: tuple[Dense, ...] = ()
    normalise: bool = False
    """To length one."""

    def width(self, hidden: int) -> int:
        """Of the vector, for tokens of width `hidden`."""
        return self.dense[-1].outputs if self.dense else hidden * len(self.how)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them."""
        return {"how": list(self.how), "dense": [vars_of(each) for each in self.dense], "normalise": self.normalise}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Summary:
        """What `to_json` wrote."""
        return cls(tuple(value["how"]), tuple(Dense(**each) for each in value["dense"]), bool(value["normalise"]))


def vars_of(dense: Dense) -> dict[str, Any]:
    """The fields of a dense layer."""
    return {name: getattr(dense, name) for name in ("inputs", "outputs", "bias", "activation", "folder")}


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
        if not self.is_sentence_encoder:
            return Summary((native(self.facts.family, self.config),))
        how: tuple[How, ...] = ()
        dense: list[Dense] = []
        normalise = False
        for module in read_json(self.path / "modules.json"):
            kind, folder = str(module["type"]).rpartition(".")[2], str(module.get("path", ""))
            if kind == "Pooling":
                how = _pooling(read_json(self.path / folder / "config.json"), self.path)
            elif kind == "Dense":
                dense.append(_dense(read_json(self.path / folder / "config.json"), folder, self.path))
            elif kind == "Normalize":
                normalise = True
            elif kind != "Transformer":
                raise UsageError(
                    f"{self.path} has a module {kind} after its transformer, which zoo does not know",
                    help="remove modules.json from a copy of the folder to have the transformer alone",
                )
        return Summary(how or (native(self.facts.family, self.config),), tuple(dense), normalise)

    def max_length(self) -> int:
        """Longest text in tokens that the model and its tokenizer are made for."""
        limits = [self.facts.context]
        for name in ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_mpnet_config.json"):
            if self.is_sentence_encoder and (self.path / name).is_file():
                limits.append(read_json(self.path / name).get("max_seq_length"))
        told = self.tokenizer_config().get("model_max_length")
        limits.append(int(told) if isinstance(told, int | float) and 0 < told < _LONGEST else None)
        known = [int(each) for each in limits if each]
        return min(known) if known else DEFAULT_LENGTH

    def lower(self) -> bool:
        """Whether a sentence encoder wants its texts in lower case before its tokenizer sees them."""
        path = self.path / "sentence_bert_config.json"
        return self.is_sentence_encoder and path.is_file() and bool(read_json(path).get("do_lower_case"))

    def text_preprocess(self, name: str) -> TextPreprocess:
        """How texts become ids, as the folder says; `name` is where its tokenizer comes from."""
        left = self.tokenizer_config().get("padding_side") == "left"
        return TextPreprocess(name, self.max_length(), "left" if left else "right", self.lower())

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
    """
    if not (path / "config.json").is_file():
        return None
    config = read_json(path / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        return None
    return ModelFolder(path, config)


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        WeightsError: missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}", help="fetch it again") from error


def _header(file: Path) -> set[str] | None:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if file.suffix != ".safetensors" or not 0 < length < 100_000_000:
            return None
        try:
            return set(json.loads(stream.read(length))) - {"__metadata__"}
        except ValueError:
            return None


def _pooling(config: Mapping[str, Any], path: Path) -> tuple[How, ...]:
    if isinstance(config.get("pooling_mode"), str):
        modes = [config["pooling_mode"]]
        unknown = [mode for mode in modes if mode not in _MODE_WORDS]
        how = tuple(_MODE_WORDS[mode] for mode in modes if mode in _MODE_WORDS)
    else:
        chosen = [key for key, on in config.items() if key.startswith("pooling_mode_") and on]
        unknown = [key for key in chosen if key not in _MODES]
        # In the order in which sentence-transformers puts them side by side.
        how = tuple(word for key, word in _MODES.items() if key in chosen)
    if unknown or not how:
        raise UsageError(
            f"{path} pools by {', '.join(unknown) or 'nothing'}, which zoo does not know",
            help="it knows cls, mean, max and lasttoken",
        )
    return how


def _dense(config: Mapping[str, Any], folder: str, path: Path) -> Dense:
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2].lower()
    if activation not in ("tanh", "identity"):
        raise UsageError(f"{path / folder} has the activation {activation}, which zoo does not know")
    if Path(folder).name != folder:
        raise WeightsError(f"{path / 'modules.json'} points at '{folder}', outside its folder")
    return Dense(
        int(config["in_features"]), int(config["out_features"]), bool(config.get("bias", True)), activation, folder
    )
