"""A timm model as a backbone."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo import (
    Backbone,
    BackboneSpec,
    Features,
    ImagePreprocess,
    ImageProcessor,
    Inputs,
    LoadRequest,
    Modality,
    Pooling,
    Processor,
    Stage,
    UsageError,
    pool,
)
from zoo_timm.loading import create, load_pretrained
from zoo_timm.stages import stages_of

ASSETS = "timm.json"


def build(request: LoadRequest) -> Backbone:
    """The backbone that `request` asks for.

    Raises:
        WeightsError: weights that are missing, damaged or not of this architecture.
    """
    options = dict(request.spec.options)
    options.setdefault("architecture", request.spec.architecture)
    if request.assets is not None and (request.assets / ASSETS).is_file():
        options = json.loads((request.assets / ASSETS).read_text(encoding="utf-8"))
    if request.weights is not None and request.weights.tag not in ("", "file"):
        options["tag"] = request.weights.tag
    if request.weights is None:
        model = create(options)
    else:
        model = load_pretrained(options, request.weights, offline=request.offline)
    if request.image_size is not None and hasattr(model, "set_input_size"):
        # Resizes the table of positions too; convolutional networks have no such method and need none.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # timm's resampling of relative positions is warned of by torch
            model.set_input_size(img_size=(request.image_size, request.image_size))
    return TimmBackbone(model, request, options)


class TimmBackbone(Backbone):
    """A timm model without its classifier.

    Pooled features are `forward_head(forward_features(x), pre_logits=True)`; the few encoders that have no head
    give the mean of their tokens. Tokens are `forward_features(x)` as (B, T, D'), without class, distillation and
    register tokens; the tokens of models with several branches stand one after another, padded with zeros to
    the widest. PiT returns nothing but its class token, and so its tokens are that.
    """

    def __init__(self, model: nn.Module, request: LoadRequest, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.spec: BackboneSpec = request.spec
        self.weights = request.weights
        self.modalities: tuple[Modality, ...] = ("image",)
        self.model: Any = model  # timm ships no types
        self._options = dict(options)
        preprocess = request.preprocess["image"]
        assert isinstance(preprocess, ImagePreprocess)
        self._preprocess = preprocess
        self._has_head = _pools(model)
        self._pooling: Pooling = "native"
        self.dim = pooled_dim(model)

    @property
    def pooling(self) -> Pooling:
        """How tokens become one vector; "cls" is the class token where there is one."""
        return self._pooling

    @pooling.setter
    def pooling(self, how: Pooling) -> None:
        if how != "native" and _branched(self.model):
            raise UsageError(f"{self.spec.name} has several branches and pools natively alone")
        self._pooling = how
        self.dim = pooled_dim(self.model) if how == "native" else int(self.model.num_features)

    def forward(self, batch: Inputs) -> Features:
        pixels = batch["image"]["pixels"]
        out = self.model.forward_features(pixels)
        prefix, tokens, grid = self._tokens(out, pixels.shape[-2:])
        if self._pooling != "native":
            # The class token stands first among those that are no patches.
            chosen = prefix if self._pooling == "cls" and prefix.shape[1] else tokens
            return Features(pool(chosen, None, self._pooling), tokens, grid=grid)
        pooled = self.model.forward_head(out, pre_logits=True) if self._has_head else tokens.mean(1)
        return Features(pooled, tokens, grid=grid)

    def stages(self) -> Sequence[Stage]:
        return stages_of(self.model)

    def processor(self, modality: Modality) -> Processor:
        if modality != "image":
            raise UsageError(f"{self.spec.name} takes images, not {modality}")
        return ImageProcessor(self._preprocess)

    def save_assets(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ASSETS).write_text(json.dumps(self._options, indent=1) + "\n", encoding="utf-8")

    def _tokens(self, out: Any, size: Sequence[int]) -> tuple[Tensor, Tensor, tuple[int, int] | None]:
        """Prefix tokens (B, P, D'), the rest (B, T, D') and its (H, W)."""
        if isinstance(out, list | tuple):
            return self._several(out, size)
        if out.ndim == 4:
            # (B, C, H, W), or (B, H, W, C) where the model says so.
            map_ = out if "NHWC" in str(getattr(self.model, "output_fmt", "NCHW")) else out.permute(0, 2, 3, 1)
            tokens = map_.flatten(1, 2)
            return tokens[:, :0], tokens, (map_.shape[1], map_.shape[2])
        count = self._prefix(out.shape[1], size)
        tokens = out[:, count:]
        return out[:, :count], tokens, None if _only_class_tokens(self.model) else _grid(tokens.shape[1], size)

    def _several(self, outs: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor, None]:
        if type(self.model).__module__.endswith("efficientvim"):
            parts = [out.transpose(1, 2) for out in outs]  # (B, C, T) -> (B, T, C)
        else:
            parts = [out[:, self._prefix(out.shape[1], size) :] for out in outs]
        width = max(part.shape[-1] for part in parts)
        tokens = torch.cat([nn.functional.pad(part, (0, width - part.shape[-1])) for part in parts], dim=1)
        return tokens[:, :0], tokens, None

    def _prefix(self, count: int, size: Sequence[int]) -> int:
        """How many tokens before the patches are none."""
        told = getattr(self.model, "num_prefix_tokens", None)
        if told is not None:
            return int(told)
        if _only_class_tokens(self.model) or _grid(count, size) is not None:
            return 0
        return 1 if _grid(count - 1, size) is not None else 0


def pooled_dim(model: Any) -> int:
    """D of the native pooling: the width of the head's input, or of the tokens where there is no head."""
    return int(model.head_hidden_size if _pools(model) else model.num_features)


def _pools(model: nn.Module) -> bool:
    """Whether `forward_head(..., pre_logits=True)` works; encoders made for language models have none."""
    return not type(model).__name__.endswith("Encoder")


def _branched(model: nn.Module) -> bool:
    return type(model).__module__.rpartition(".")[2] in ("crossvit", "efficientvim", "coat")


def _only_class_tokens(model: nn.Module) -> bool:
    return type(model).__module__.endswith(".pit")


def _grid(count: int, size: Sequence[int]) -> tuple[int, int] | None:
    """(H, W) with H * W == count and the image's own proportions."""
    height = round(math.sqrt(count * size[0] / size[1])) if count > 0 else 0
    if height == 0 or count % height or height * size[1] != (count // height) * size[0]:
        return None
    return height, count // height
