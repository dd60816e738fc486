"""Unified-IO 2's encoder as a backbone: any of text, image and audio, alone or together."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo
from zoo import (
    AudioPreprocess,
    Backbone,
    Features,
    ImagePreprocess,
    Inputs,
    LoadRequest,
    Modality,
    Pooling,
    Processor,
    Stage,
    TextPreprocess,
    UsageError,
)
from zoo_unified_io.encoder import IMAGE_GRID, UnifiedIO, patches_of
from zoo_unified_io.images import PictureProcessor, check_count
from zoo_unified_io.listing import TOKENIZER
from zoo_unified_io.loading import Found, fill, find
from zoo_unified_io.recordings import RecordingProcessor
from zoo_unified_io.stages import stages_of
from zoo_unified_io.tokens import TextProcessor, no_tokenizer, tokenizer_file


def build(request: LoadRequest) -> Backbone:
    """The encoder, random or with its weights; nothing is built for modalities that are not asked for.

    Raises:
        WeightsError: weights that are missing, damaged or not of Unified-IO 2.
    """
    found = find(request)
    backbone = UnifiedIOBackbone(request, found)
    if found.state is not None:
        fill(backbone.network, found.state, backbone.modalities)
    return backbone


class UnifiedIOBackbone(Backbone):
    """The encoder over the tokens of everything that is given.

    Tokens follow each other as text, image, image history, audio, audio history; pooled is the mean of the real ones.
    """

    def __init__(self, request: LoadRequest, found: Found) -> None:
        super().__init__()
        sizes = found.sizes
        self.modalities: tuple[Modality, ...] = request.towers
        self.dim = sizes.width
        self.network = UnifiedIO(sizes, self.modalities)
        self.weights = request.weights
        self.pooling: Pooling = "native"
        self._sizes = sizes
        self._tokenizer = tokenizer_file(found.folder)
        self._preprocess = request.preprocess
        self.spec = replace(
            request.spec,
            dim=self.dim,
            params=sum(parameter.numel() for parameter in self.parameters()),
            stages=tuple(stage.name for stage in self.stages()),
            preprocess=self._preprocess,
            options={**request.spec.options, "sizes": sizes.to_json()},
        )

    def forward(self, batch: Inputs) -> Features:
        """Features of the modalities that the batch holds."""
        inputs: dict[str, Mapping[str, Tensor]] = {}
        if "text" in batch:
            inputs["text"] = batch["text"]
        if "image" in batch:
            inputs |= _patched("image", batch["image"], batch["image"]["pixels"])
        if "audio" in batch:
            heard = {name: each.unsqueeze(-3) for name, each in batch["audio"].items() if "mask" not in name}
            inputs |= _patched("audio", {**batch["audio"], **heard}, heard["spectrogram"])
        if not inputs or not set(batch) <= set(self.modalities):
            given = ", ".join(batch) or "nothing"
            raise UsageError(f"{self.name or self.spec.name} serves {', '.join(self.modalities)}, and got {given}")
        tokens, mask = self.network(inputs)
        how = "mean" if self.pooling == "native" else self.pooling
        grid = IMAGE_GRID if list(inputs) == ["image"] else None
        return Features(zoo.pool(tokens, mask, how), tokens, mask, grid)

    def stages(self) -> Sequence[Stage]:
        """`text`, `image.stem`, ..., `image.history`, `audio.stem`, ..., `layers.0`, `layers.1`, ... in run order."""
        return list(stages_of(self.network))

    def processor(self, modality: Modality) -> Processor:
        """Raw values of `modality` to tensors.

        Raises:
            WeightsError: "text", and there is no tokenizer.
            UsageError: this instance does not serve it.
        """
        if modality not in self.modalities:
            raise UsageError(f"{self.name or self.spec.name} serves {' and '.join(self.modalities)}, not {modality}")
        preprocess = self._preprocess[modality]
        if isinstance(preprocess, ImagePreprocess):
            return PictureProcessor(preprocess)
        if isinstance(preprocess, AudioPreprocess):
            return RecordingProcessor(preprocess)
        assert isinstance(preprocess, TextPreprocess)
        if self._tokenizer is None:
            raise no_tokenizer(self.name or self.spec.name)
        return TextProcessor(self._tokenizer, preprocess, rows=self._sizes.vocabulary)

    def check_row(self, row: Mapping[Modality, Any]) -> None:
        """One image, or several of which the last is the present one.

        Raises:
            DataError: none, or more than the history holds.
        """
        if isinstance(images := row.get("image"), tuple):
            check_count(len(images))

    def save_assets(self, folder: Path) -> None:
        """The tokenizer, where texts are served; the sizes are in the specification."""
        folder.mkdir(parents=True, exist_ok=True)
        if "text" in self.modalities and self._tokenizer is not None:
            shutil.copyfile(self._tokenizer, folder / TOKENIZER)


def _patched(kind: str, given: Mapping[str, Tensor], values: Tensor) -> dict[str, dict[str, Tensor]]:
    """What is there now, and what came before where there is a history."""
    found = {kind: _with_mask(patches_of(values), given.get("mask"))}
    if "history" in given:
        found[f"{kind}_history"] = _with_mask(patches_of(given["history"]), given.get("history_mask"))
    return found


def _with_mask(patches: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    everything = torch.ones(patches.shape[:-1], dtype=torch.bool, device=patches.device)
    return {"patches": patches, "mask": everything if mask is None else mask}
