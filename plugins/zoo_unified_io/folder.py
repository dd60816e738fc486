"""A folder as `save_pretrained` of the published code writes it: config.json beside the weights. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo import WeightsError

CONFIG = "config.json"
_MARK = "t5_config"
"""The part of config.json that no other model has."""
_WHOLE = ("model.safetensors", "pytorch_model.bin")
_SHARDS = ("model-*-of-*.safetensors", "pytorch_model-*-of-*.bin")


def is_ours(folder: Path) -> bool:
    """Whether a folder holds a Unified-IO 2."""
    try:
        return (folder / CONFIG).is_file() and _MARK in _keys(read_config(folder))
    except (OSError, WeightsError):
        return False


def read_config(folder: Path) -> Mapping[str, Any]:
    """config.json, or nothing where there is none.

    Raises:
        WeightsError: it is damaged.
    """
    file = folder / CONFIG
    if not file.is_file():
        return {}
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise WeightsError(f"{file} cannot be read: {error}", help="fetch it again") from error
    return values if isinstance(values, dict) else {}


def heads_in(config: Mapping[str, Any], kind: str) -> int | None:
    """`num_heads` of the ViT for "image" or "audio", which the shapes of its weights do not tell; None if not said."""
    for path, values in _sections(config):
        heads = values.get("num_heads")
        if path.rpartition(".")[2].startswith(f"{kind}_vit") and isinstance(heads, int):
            return heads
    return None


def weight_files(folder: Path) -> list[Path]:
    """The files that together hold the weights; safetensors before pickles, none if there are none."""
    for name in _WHOLE:
        if (folder / name).is_file():
            return [folder / name]
    for pattern in _SHARDS:
        if found := sorted(folder.glob(pattern)):
            return found
    return []


def _sections(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield f"{path}.{name}", value
            yield from _sections(value, f"{path}.{name}")


def _keys(config: Mapping[str, Any]) -> set[str]:
    return {path.rpartition(".")[2] for path, _ in _sections(config)}
