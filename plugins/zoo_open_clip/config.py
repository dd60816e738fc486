"""open_clip's model configuration as a value, and the preprocessing it means; imports neither torch nor open_clip."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from zoo import ImagePreprocess, Interpolation, Modality, TextPreprocess, WeightsError

CONFIG = "open_clip_config.json"
"""What open_clip writes beside its weights."""

SIMPLE_TOKENIZER = "open_clip"
"""The byte-pair encoding that comes inside open_clip."""

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
CONTEXT_LENGTH = 77
"""Tokens of a text where the configuration does not say."""

_FIT: Mapping[str, Literal["crop", "squash", "pad"]] = {"shortest": "crop", "squash": "squash", "longest": "pad"}


@dataclass(frozen=True)
class ModelConfig:
    """`model_cfg` and `preprocess_cfg` of open_clip, and the folder they were read from."""

    model: Mapping[str, Any]
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    """Where a tokenizer may lie beside the configuration."""

    @property
    def vision(self) -> Mapping[str, Any]:
        """`vision_cfg`."""
        found: Mapping[str, Any] = self.model["vision_cfg"]
        return found

    @property
    def text(self) -> Mapping[str, Any]:
        """`text_cfg`."""
        found: Mapping[str, Any] = self.model["text_cfg"]
        return found

    @property
    def context_length(self) -> int:
        """The most tokens of a text."""
        return int(self.text.get("context_length", CONTEXT_LENGTH))

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W)."""
        size = self.vision.get("image_size", 224)
        height, width = size if isinstance(size, list | tuple) else (size, size)
        return int(height), int(width)

    def with_quick_gelu(self) -> ModelConfig:
        """The same with the activation that OpenAI trained with."""
        return replace(self, model={**self.model, "quick_gelu": True})

    def with_text(self, **changes: Any) -> ModelConfig:
        """The same with other values in `text_cfg`."""
        return replace(self, model={**self.model, "text_cfg": {**self.text, **changes}})

    def with_image_size(self, side: int) -> ModelConfig:
        """The same for square images of another size."""
        return replace(self, model={**self.model, "vision_cfg": {**self.vision, "image_size": side}})

    def image_preprocess(self) -> ImagePreprocess:
        """How open_clip prepares an image in evaluation."""
        return image_preprocess(self.image_size, self.preprocess)

    def text_preprocess(self) -> TextPreprocess:
        """Which tokenizer a text goes through, and how long it may be."""
        options = self.text.get("tokenizer_kwargs") or {}
        name = str(self.text.get("hf_tokenizer_name") or SIMPLE_TOKENIZER)
        clean = options.get("clean", "lower" if name == SIMPLE_TOKENIZER else "whitespace")
        return TextPreprocess(name, self.context_length, lower=clean in ("lower", "canonicalize"))

    def preprocess_of_inputs(self) -> Mapping[Modality, ImagePreprocess | TextPreprocess]:
        """Both, as a specification holds them."""
        return {"image": self.image_preprocess(), "text": self.text_preprocess()}

    def to_json(self) -> dict[str, Any]:
        """As `open_clip_config.json` holds it."""
        return {"model_cfg": dict(self.model), "preprocess_cfg": dict(self.preprocess)}


def image_preprocess(size: tuple[int, int], config: Mapping[str, Any]) -> ImagePreprocess:
    """The value of open_clip's PreprocessCfg, whose defaults are OpenAI's."""
    fit = _FIT[str(config.get("resize_mode") or "shortest")]
    bilinear = config.get("interpolation") == "bilinear" and not (fit == "crop" and size[0] != size[1])
    # To a size that is not square open_clip resizes with its default, whatever the configuration says.
    interpolation: Interpolation = "bilinear" if bilinear else "bicubic"
    mean, std = _three(config.get("mean") or OPENAI_MEAN), _three(config.get("std") or OPENAI_STD)
    return ImagePreprocess(size, None, fit, interpolation, mean, std, int(config.get("fill_color") or 0))


def read_config(path: Path) -> ModelConfig:
    """The configuration in a file.

    Raises:
        WeightsError: no such file, no JSON, or no configuration of open_clip.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}", help="copy it again from where it came from") from error
    model = value.get("model_cfg") if isinstance(value, dict) else None
    if not isinstance(model, dict) or not all(key in model for key in ("embed_dim", "vision_cfg", "text_cfg")):
        raise WeightsError(
            f"{path} has no model_cfg with embed_dim, vision_cfg and text_cfg",
            help="give a folder in open_clip's own format, or a file after @ of a listed architecture",
        )
    return ModelConfig(model, value.get("preprocess_cfg") or {}, path.parent)


def _three(value: Any) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, list | tuple) else (float(value),) * 3
