"""One well-known hub id and what its configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo_transformers.families import How


@dataclass(frozen=True)
class Entry:
    """One hub id; `config` holds what differs from transformers' defaults for the model type."""

    id: str
    family: str
    config: Mapping[str, Any] = field(default_factory=dict)
    licence: str | None = None
    trained_on: str | None = None
    paper: str | None = None
    pooling: How | None = None
    """None: as the model type does."""
    length: int | None = None
    """Longest text in tokens, where a sentence encoder sets less than its model could take."""
    dense: tuple[int, int, int] | None = None
    """(inputs, outputs, biases) of a layer after the pooling."""
    dim: int | None = None
    """Where the configuration does not say it."""
    size: int | None = None
    """Of images, where it is not in the configuration."""
    preprocess: str | None = None
    """A key of `images.DEFAULTS`, or of `audio_spec.VARIANTS`."""
    without_pooler: bool = False
    """The published file has no pooler."""


Sizes = dict[str, Any]
"""Part of a configuration."""

WIKI = "Wikipedia, BookCorpus"
IN1K, IN21K = "ImageNet-1k", "ImageNet-21k"


def encoder(L: int, H: int, A: int, F: int | None = None, V: int | None = None, **more: Any) -> dict[str, Any]:
    """Layers, hidden size, attention heads, feed-forward size (4 H), vocabulary."""
    sizes = {"num_hidden_layers": L, "hidden_size": H, "num_attention_heads": A, "intermediate_size": F or 4 * H}
    return {**sizes, **({"vocab_size": V} if V else {}), **more}
