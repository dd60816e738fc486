"""Texts through the plugin, and through transformers itself."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
import zoo_transformers
from tiny_transformers import TEXT, upstream
from torch import Tensor, nn

import zoo
from zoo import Backbone, Catalog, Features

CATALOG = Catalog.of({"transformers": zoo_transformers})
FAMILIES = list(TEXT)
NAMED = ["bert", "openai-gpt", "gpt2", "xlnet", "roberta", "distilbert", "t5", "llama"]
"""The families that are promised; the rest are there because AutoModel opens them."""
TEXTS = [
    "The cat sat on the mat and ran very quickly into the green garden",
    "a dog",
    ("what is this", "a cat ?"),
    "unheard-of",
    "the cat sat on the mat " * 9,
]
"""Long, short, a pair, unknown words, and longer than the tokenizer allows."""
SAFE = "model.safetensors"
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
"""Other shapes, other orders of float32 sums; nothing else may differ."""


def load(folder: Path, at: str = "") -> Backbone:
    return zoo.load(f"transformers/{folder}{at}", catalog=CATALOG)


def features(backbone: Backbone, texts: Sequence[Any], side: str | None = None, more: int = 0) -> Features:
    """Of one batch; `side` and `more` pad elsewhere and further than the tokenizer does."""
    processor: Any = backbone.processor("text")
    processor.padding_side = side or processor.padding_side
    longest = [processor(text) for text in texts]
    tensors = processor.collate(longest)
    if more:
        edge = (0, more) if processor.padding_side == "right" else (more, 0)
        tensors = {name: nn.functional.pad(each, edge) for name, each in tensors.items()}
    with torch.inference_mode():
        return backbone({"text": processor.finish(tensors)})


def tokens_upstream(folder: Path, text: str | tuple[str, str]) -> Tensor:
    """(T, D) of one text alone, as AutoTokenizer and AutoModel make them."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    first, second = text if isinstance(text, tuple) else (text, None)
    model = upstream(folder)
    takes = inspect.signature(model.forward).parameters
    ids = tokenizer(first, second, truncation=True, return_tensors="pt", return_token_type_ids=takes_types(folder))
    ids = {name: each for name, each in ids.items() if name in takes}
    with torch.inference_mode():
        hidden: Tensor = model(**ids).last_hidden_state[0]
    return hidden


def takes_types(folder: Path) -> bool:
    config = json.loads((folder / "config.json").read_text())
    return config["model_type"] == "xlnet" or config.get("type_vocab_size", 0) > 1


def pooled_upstream(folder: Path, text: str) -> Tensor:
    """(D,) as the authors of each family make one vector of a text."""
    family = json.loads((folder / "config.json").read_text())["model_type"]
    hidden = tokens_upstream(folder, text)
    if family in ("bert", "albert"):
        model = upstream(folder)
        pooler = model.pooler if family == "bert" else nn.Sequential(model.pooler, model.pooler_activation)
        with torch.inference_mode():
            first: Tensor = pooler(hidden[None] if family == "bert" else hidden[:1])[0]
        return first
    if family in ("t5", "mt5", "fnet", "bart"):
        return hidden.mean(0)
    decoders = ("gpt_neox", "opt", "bloom", "qwen3", "mistral", "mamba", "openai-gpt", "gpt2", "llama", "xlnet")
    return hidden[-1] if family in decoders else hidden[0]
