"""Image backbones through AutoModel: ViT and its kin, pyramids and convolutional networks."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

import zoo
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
    Stage,
    UsageError,
)
from zoo_transformers.folder import RECORD, ModelFolder
from zoo_transformers.images import image_preprocess
from zoo_transformers.opening import first_line, model_folder, open_model
from zoo_transformers.stages import stages_of

_PREFIX = 8
"""No model puts more tokens than this before its patches."""


def build(request: LoadRequest) -> VisionBackbone:
    """The image backbone of a folder or hub id."""
    folder = model_folder(request)
    model, absent = open_model(folder, request)
    record = folder.record()
    if getattr(model, "pooler", None) is not None and (absent if record is None else not record["pooler"]):
        cast("Any", model).pooler = None  # It would be random, another one at each load.
    return VisionBackbone(request, folder, model)


class VisionBackbone(Backbone):
    """An image model of transformers; tokens are the patches or positions, without class and register tokens."""

    modalities: tuple[Modality, ...] = ("image",)
    pooling: Pooling = "native"

    def __init__(self, request: LoadRequest, folder: ModelFolder, model: nn.Module) -> None:
        super().__init__()
        spec, weights = request.spec, request.weights
        self.model = model
        self.settings = cast("Any", model).config.to_json_string(use_diff=False)
        self.folder = folder
        self.preprocess = _preprocess(spec, folder)
        # Models without this argument take any size, or check it themselves.
        takes = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        self.resizes = request.image_size is not None and takes
        if request.image_size is not None:
            self.preprocess = self.preprocess.resized(request.image_size)
        self.flips = bool((folder.preprocessor() or {}).get("do_flip_channel_order"))
        self._processor = ImageProcessor(self.preprocess)
        self.dim = self._measured()
        self.weights = weights if weights is None else replace(weights, preprocess={"image": self.preprocess})
        self.spec = replace(
            spec,
            factory="zoo_transformers.vision:build",
            modalities=self.modalities,
            family=folder.facts.family,
            dim=self.dim,
            params=sum(each.numel() for each in self.parameters()),
            stages=tuple(stage.name for stage in self.stages()),
            image_size=self.preprocess.size[0],
            preprocess={"image": self.preprocess},
        )

    def forward(self, batch: Inputs) -> Features:
        """Features of images: `pixels` (B, C, H, W), normalised."""
        pixels = batch["image"]["pixels"]
        pixels = pixels.flip(1) if self.flips else pixels  # Some weights were trained on blue, green, red.
        out: Any = self.model(pixel_values=pixels, **self._more(pixels))
        tokens, first, grid = _patches(out.last_hidden_state, pixels, _patch_size(self.model))
        return Features(pooled=self._pool(out, tokens, first), tokens=tokens, grid=grid)

    def stages(self) -> Sequence[Stage]:
        return stages_of(self.model, stem="stem")

    def processor(self, modality: Modality) -> ImageProcessor:
        if modality != "image":
            raise UsageError(
                f"{self.spec.name} takes images, not {modality}", help=f"`zoo list --modality {modality}` shows others"
            )
        return self._processor

    def save_assets(self, folder: Path) -> None:
        """Configuration files as they are, and whether the model's own pooler serves."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "preprocessor_config.json"):
            file = self.folder.path / name
            if file.is_file() and file.resolve() != (folder / name).resolve():
                shutil.copyfile(file, folder / name)
        record = {"pooler": getattr(self.model, "pooler", None) is not None}
        (folder / RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")

    def _pool(self, out: Any, tokens: Tensor, first: Tensor | None) -> Tensor:
        if self.pooling == "native":
            own = getattr(out, "pooler_output", None)
            if own is not None:
                return cast("Tensor", own.flatten(1))
            return first if first is not None and self.folder.facts.family != "beit" else tokens.mean(1)
        if self.pooling == "cls" and first is not None:
            return first
        return zoo.pool(tokens, None, self.pooling)

    def _more(self, pixels: Tensor) -> dict[str, Any]:
        """What single models need besides pixels."""
        more: dict[str, Any] = {"interpolate_pos_encoding": True} if self.resizes else {}
        if self.folder.facts.family == "vit_mae":
            # MAE shuffles its patches by sorting noise; rising noise keeps their order.
            patches = (pixels.shape[2] // _patch_size(self.model)) * (pixels.shape[3] // _patch_size(self.model))
            more["noise"] = torch.arange(patches, device=pixels.device).float().expand(len(pixels), -1)
        return more

    def _measured(self) -> int:
        """D of the pooled vector, by one blank image; the model is left in the mode it was in.

        Raises:
            UsageError: the model does not run on images as its folder prepares them.
        """
        training = self.model.training
        self.model.eval()
        blank = torch.zeros(1, len(self.preprocess.mean), *self.preprocess.size)
        try:
            with torch.no_grad():
                return int(self({"image": {"pixels": blank}}).pooled.shape[1])
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:
            size = "x".join(str(each) for each in self.preprocess.size)
            raise UsageError(
                f"{type(self.model).__name__} does not run on images of {size}: {first_line(error)}",
                help="config.json and preprocessor_config.json have to belong together",
            ) from error
        finally:
            self.model.train(training)


def _patches(hidden: Tensor, pixels: Tensor, patch: int) -> tuple[Tensor, Tensor | None, tuple[int, int] | None]:
    """((B, H*W, D) patches, (B, D) class token or None, (H, W)) of a (B, D, H, W) map or (B, T, D) tokens."""
    if hidden.ndim == 4:
        return hidden.flatten(2).transpose(1, 2), None, (hidden.shape[2], hidden.shape[3])
    T = hidden.shape[1]
    height, width = pixels.shape[2:]
    if patch:
        grid = (height // patch, width // patch)
        extra = T - grid[0] * grid[1]
        if 0 <= extra <= _PREFIX:
            return hidden[:, extra:], hidden[:, 0] if extra else None, grid
    for extra in range(min(_PREFIX, T - 1) + 1):
        rows = round(((T - extra) * height / width) ** 0.5)
        if rows and (T - extra) % rows == 0 and abs(rows * width - (T - extra) // rows * height) < max(height, width):
            return hidden[:, extra:], hidden[:, 0] if extra else None, (rows, (T - extra) // rows)
    return hidden, None, None


def _patch_size(model: nn.Module) -> int:
    """Of models with one resolution throughout; 0 for pyramids."""
    config = cast("Any", model).config
    if hasattr(config, "depths"):
        return 0
    size = getattr(config, "patch_size", 0)
    return int(size) if isinstance(size, int) else 0


def _preprocess(spec: BackboneSpec, folder: ModelFolder) -> ImagePreprocess:
    known = spec.preprocess.get("image")
    values = folder.preprocessor()
    if values is None and isinstance(known, ImagePreprocess):
        return known
    return image_preprocess(values, folder.config)
