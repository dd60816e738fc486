"""Audio backbones through AutoModel: speech models over waveforms, Whisper's encoder, spectrogram transformers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

import zoo
from zoo import (
    AudioPreprocess,
    AudioProcessor,
    Backbone,
    Features,
    Inputs,
    LoadRequest,
    Modality,
    Pooling,
    Processor,
    Stage,
    UsageError,
)
from zoo_transformers.audio_inputs import SpectrogramProcessor
from zoo_transformers.audio_spec import FACTORY, MODALITIES, audio_preprocess
from zoo_transformers.families import HEARS, SPEECH
from zoo_transformers.folder import ModelFolder
from zoo_transformers.opening import model_folder, open_model
from zoo_transformers.silence import counting_real, keep_padding_out, real_first
from zoo_transformers.stages import stages_of


def build(request: LoadRequest) -> AudioBackbone:
    """The audio backbone of a folder or hub id."""
    folder = model_folder(request)
    family = folder.facts.family
    if family not in HEARS:
        raise UsageError(
            f"{request.spec.name} is a {family} model, which is not one of sound that zoo knows",
            help=f"it knows {', '.join(sorted(HEARS))}",
        )
    model, _ = open_model(folder, request)
    kind = SpeechBackbone if family in SPEECH else WhisperBackbone if family == "whisper" else SpectrogramBackbone
    return kind(request, folder, model)


class AudioBackbone(Backbone):
    """An audio model of transformers; what else is in a batch, and padding, changes no feature."""

    modalities: tuple[Modality, ...] = MODALITIES
    pooling: Pooling = "native"

    def __init__(self, request: LoadRequest, folder: ModelFolder, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.settings = cast("Any", model).config.to_json_string(use_diff=False)
        self.folder = folder
        self.preprocess = _preprocess(request, folder)
        self.dim = int(cast("Any", model).config.hidden_size)
        self._processor = self._make_processor()
        weights = request.weights
        self.weights = weights if weights is None else replace(weights, preprocess={"audio": self.preprocess})
        self.spec = replace(
            request.spec,
            factory=FACTORY,
            modalities=MODALITIES,
            family=folder.facts.family,
            dim=self.dim,
            params=sum(each.numel() for each in self.parameters()),
            stages=tuple(stage.name for stage in self.stages()),
            preprocess={"audio": self.preprocess},
        )

    def stages(self) -> Sequence[Stage]:
        return stages_of(self.model, stem="stem")

    def processor(self, modality: Modality) -> Processor:
        if modality != "audio":
            raise UsageError(
                f"{self.spec.name} takes sound, not {modality}", help=f"`zoo list --modality {modality}` shows others"
            )
        return self._processor

    def save_assets(self, folder: Path) -> None:
        """Configuration files as they are."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "preprocessor_config.json"):
            file = self.folder.path / name
            if file.is_file() and file.resolve() != (folder / name).resolve():
                shutil.copyfile(file, folder / name)

    def _make_processor(self) -> Processor:
        return SpectrogramProcessor(self.preprocess)


class SpeechBackbone(AudioBackbone):
    """wav2vec 2.0, HuBERT and WavLM: tokens are frames of 20 ms, pooled is their mean."""

    def __init__(self, request: LoadRequest, folder: ModelFolder, model: nn.Module) -> None:
        super().__init__(request, folder, model)
        keep_padding_out(model)

    def forward(self, batch: Inputs) -> Features:
        """Features of recordings: `samples` (B, T), `mask` (B, T) bool with the padding on either side.

        Weights with a group norm over time were trained without a mask, one recording at a time. With the statistics of
        real frames alone, and the mask behind them, each row is what it would be alone and without padding.
        """
        samples, mask = batch["audio"]["samples"], batch["audio"]["mask"]
        model, how = cast("Any", self.model), "mean" if self.pooling == "native" else self.pooling
        if not torch.compiler.is_compiling() and bool(mask.all()):
            with self._drawing_nothing():
                tokens = model(samples).last_hidden_state
            return Features(zoo.pool(tokens, None, how), tokens)
        samples, mask = real_first(samples, mask)
        with counting_real(model, mask.sum(1)), self._drawing_nothing():
            tokens = model(samples, attention_mask=mask.long()).last_hidden_state
        real = model._get_feature_vector_attention_mask(tokens.shape[1], mask.long()).bool()
        return Features(zoo.pool(tokens, real, how), tokens, real)

    def _drawing_nothing(self) -> AbstractContextManager[None]:
        """Older releases of transformers draw for LayerDrop in evaluation too, though nothing is dropped."""
        if self.training or torch.compiler.is_compiling():
            return nullcontext()
        return torch.random.fork_rng(devices=[])

    def stages(self) -> Sequence[Stage]:
        return speech_stages(self.model)

    def _make_processor(self) -> Processor:
        shortest = 1  # one frame, followed back through the convolutions to the samples it is made of
        config = cast("Any", self.model).config
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            shortest = (shortest - 1) * stride + kernel
        return AudioProcessor(self.preprocess, shortest=shortest)


class WhisperBackbone(AudioBackbone):
    """Whisper's encoder over 30 seconds: tokens are frames of 20 ms, pooled is the mean of those before the silence."""

    def __init__(self, request: LoadRequest, folder: ModelFolder, model: nn.Module) -> None:
        still_positions(model)
        super().__init__(request, folder, model)

    def forward(self, batch: Inputs) -> Features:
        """Features of recordings: `features` (B, bins, frames), `tokens` (B,) before the silence."""
        tokens = cast("Any", self.model)(batch["audio"]["features"]).last_hidden_state
        mask = torch.arange(tokens.shape[1], device=tokens.device) < batch["audio"]["tokens"][:, None]
        how = "mean" if self.pooling == "native" else self.pooling
        return Features(zoo.pool(tokens, mask, how), tokens, mask)


class SpectrogramBackbone(AudioBackbone):
    """AST: tokens are patches of frequency by time, pooled is the mean of its class and distillation tokens."""

    def forward(self, batch: Inputs) -> Features:
        """Features of recordings: `features` (B, frames, bins); patches of silence count, as in training."""
        model = cast("Any", self.model)
        out = model(batch["audio"]["features"])
        tokens = out.last_hidden_state[:, 2:]
        grid = tuple(int(each) for each in model.embeddings.get_shape(model.config))
        if self.pooling == "native":
            pooled = out.pooler_output
        elif self.pooling == "cls":
            pooled = out.last_hidden_state[:, 0]
        else:
            pooled = zoo.pool(tokens, None, self.pooling)
        return Features(pooled, tokens, grid=(grid[0], grid[1]))


def speech_stages(model: Any) -> list[Stage]:
    """`conv` over the waveform, which is often left frozen, `embeddings`, `layer.0`, ... and perhaps `top`."""
    encoder, stable = model.encoder, bool(model.config.do_stable_layer_norm)
    norm = (encoder.layer_norm,)
    return [
        Stage("conv", (model.feature_extractor,)),
        Stage(
            "embeddings",
            (model.feature_projection, encoder.pos_conv_embed, *(() if stable else norm), encoder.dropout),
        ),
        *(Stage(f"layer.{index}", (layer,)) for index, layer in enumerate(encoder.layers)),
        *((Stage("top", norm),) if stable else ()),
    ]


def still_positions(model: nn.Module) -> None:
    """Whisper's positions are sines that were never trained: a buffer of the same name, that no strategy unfreezes."""
    positions = cast("Any", model).embed_positions
    table = positions.weight.detach()
    del positions.weight
    positions.register_buffer("weight", table)


def _preprocess(request: LoadRequest, folder: ModelFolder) -> AudioPreprocess:
    known = request.spec.preprocess.get("audio")
    values = folder.preprocessor()
    if values is None and isinstance(known, AudioPreprocess):
        return known
    return audio_preprocess(values, folder.config)
