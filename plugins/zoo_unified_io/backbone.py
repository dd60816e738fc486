"""Unified-IO 2's encoder as a backbone: any of text, image and audio, alone or together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from zoo_unified_io.encoder import IMAGE_GRID, UnifiedIO
from zoo_unified_io.images import PictureProcessor, check_count
from zoo_unified_io.listing import TOKENIZER
from zoo_unified_io.loading import SIZES, Found, fill, find
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
        """Features of the modalities that the batch holds.

        Args:
            batch: "text" with `ids` and `mask` (B, T); "image" and "audio" with `patches` (B, T, P) and `mask` (B, T),
                and where there is a history with `history` (B, F, T, P) and `history_mask` (B, F, T).
        """
        inputs: dict[str, Mapping[str, Tensor]] = {}
        for kind, given in batch.items():
            inputs[kind] = given
            if "history" in given:
                inputs[f"{kind}_history"] = {"patches": given["history"], "mask": given["history_mask"]}
        if not batch or not set(batch) <= set(self.modalities):
            kinds = ", ".join(batch) or "nothing"
            raise UsageError(f"{self.name or self.spec.name} serves {', '.join(self.modalities)}, and got {kinds}")
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
        """The sizes, and where texts are served the tokenizer."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SIZES).write_text(json.dumps(self._sizes.to_json(), indent=1) + "\n", encoding="utf-8")
        kept = folder / TOKENIZER
        if "text" in self.modalities and self._tokenizer is not None and self._tokenizer.resolve() != kept.resolve():
            shutil.copyfile(self._tokenizer, kept)
