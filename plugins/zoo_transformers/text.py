"""Text backbones through AutoModel: encoders, decoders and the encoders of encoder-decoders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from zoo import (
    Backbone,
    BackboneSpec,
    Features,
    Inputs,
    LoadRequest,
    Modality,
    Pooling,
    Stage,
    TextPreprocess,
    UsageError,
    WeightsError,
    WeightsSpec,
)
from zoo_transformers.calling import Calling, vocabulary_rows
from zoo_transformers.families import AUDIO, PAIRED, How
from zoo_transformers.folder import RECORD, ModelFolder
from zoo_transformers.opening import model_folder, open_model, open_tokenizer, quiet
from zoo_transformers.stages import stages_of
from zoo_transformers.summary import ACTIVATIONS, Summary
from zoo_transformers.tokens import TextProcessor

_ACTIVATIONS = {name.lower(): getattr(nn, name)() for name in dir(nn) if name.lower() in ACTIVATIONS}


def build(request: LoadRequest) -> TextBackbone:
    """The text backbone of a folder or hub id."""
    folder = model_folder(request)
    if folder.facts.family in PAIRED | AUDIO or folder.facts.modality != "text":
        raise UsageError(
            f"{request.spec.name} is a {folder.facts.family} model, which is not one of text alone",
            help="for CLIP and SigLIP use open_clip/ARCHITECTURE; `zoo list --modality text` shows text backbones",
        )
    model, absent = open_model(folder, request)
    summary = _summary(folder, request, absent)
    return TextBackbone(request.spec, request.weights, folder, model, summary, loaded=request.assets is None)


def _summary(folder: ModelFolder, request: LoadRequest, absent: frozenset[str]) -> Summary:
    if (record := folder.record()) is not None:
        return Summary.from_json(record)
    summary = folder.summary()
    # A pooler that the file lacks would be random, another one at each load.
    return replace(summary, how=tuple("cls" if how == "pooler" and absent else how for how in summary.how))


class TextBackbone(Backbone):
    """A text model of transformers; padding, on either side and of any length, changes no feature."""

    modalities: tuple[Modality, ...] = ("text",)

    def __init__(
        self,
        spec: BackboneSpec,
        weights: WeightsSpec | None,
        folder: ModelFolder,
        model: nn.Module,
        summary: Summary,
        *,
        loaded: bool,
    ) -> None:
        super().__init__()
        self.model = model
        self.folder = folder
        self.summary = summary
        self.settings = f"{cast('Any', model).config.to_json_string(use_diff=False)} {summary}"
        self.calling = Calling.of(model, folder.facts.family)
        self.dense = nn.ModuleList(nn.Linear(each.inputs, each.outputs, bias=each.bias) for each in summary.dense)
        if weights is not None and loaded:
            for layer, each in zip(self.dense, summary.dense, strict=True):
                zoo.load_state(layer, _dense_state(folder.path / each.folder))
        if "pooler" not in summary.how and getattr(model, "pooler", None) is not None:
            cast("Any", model).pooler = nn.Identity()  # Nothing reads it: its parameters would get no gradient.
        preprocess = _preprocess(spec, folder)
        self._processor = self._make_processor(preprocess)
        self._unpooled = 0 if summary.counts_prompt else self._processor.prompt_length
        self.hidden = self.calling.width(model)
        self.pooling = "native"
        self.weights = weights if weights is None else replace(weights, preprocess={"text": preprocess})
        self.spec = replace(
            spec,
            factory="zoo_transformers.text:build",
            modalities=self.modalities,
            family=folder.facts.family,
            dim=self.dim,
            params=sum(each.numel() for each in self.parameters()),
            stages=tuple(stage.name for stage in self.stages()),
            context_length=folder.facts.context or spec.context_length,
            preprocess={"text": preprocess},
        )

    @property
    def pooling(self) -> Pooling:
        """ "native", or another way to make one vector of the tokens."""
        return self._pooling

    @pooling.setter
    def pooling(self, how: Pooling) -> None:
        self._pooling: Pooling = how
        self.dim = self.summary.width(self.hidden) if how == "native" else self.hidden

    def forward(self, batch: Inputs) -> Features:
        """Features of texts: `ids` (B, T), `mask` (B, T) bool and, for models of pairs, `types` (B, T)."""
        ids, mask, types = batch["text"]["ids"], batch["text"]["mask"], batch["text"].get("types")
        tokens = self.calling.tokens(self.model, ids, mask, types)
        return Features(pooled=self._pool(tokens, mask), tokens=tokens, mask=mask)

    def stages(self) -> Sequence[Stage]:
        stages = stages_of(self.model, stem="embeddings")
        if len(self.dense) and stages[-1].name == "top":
            return [*stages[:-1], Stage("top", (*stages[-1].modules, self.dense))]
        return [*stages, Stage("top", (self.dense,))] if len(self.dense) else stages

    def processor(self, modality: Modality) -> TextProcessor:
        if modality != "text":
            raise UsageError(
                f"{self.spec.name} takes text, not {modality}", help=f"`zoo list --modality {modality}` shows others"
            )
        return self._processor

    def save_assets(self, folder: Path) -> None:
        """Configuration and tokenizer files as they are, and the summary."""
        folder.mkdir(parents=True, exist_ok=True)
        for file in (self.folder.path / "config.json", *self.folder.tokenizer_files()):
            if file.resolve() != (folder / file.name).resolve():
                shutil.copyfile(file, folder / file.name)
        (folder / RECORD).write_text(json.dumps(self.summary.to_json(), indent=2) + "\n", encoding="utf-8")

    def _pool(self, tokens: Tensor, mask: Tensor) -> Tensor:
        if self.pooling != "native":
            return zoo.pool(tokens, mask, self.pooling)
        counted = mask & (zoo.positions(mask) >= self._unpooled) if self._unpooled else mask
        parts = [self._part(tokens, mask, counted, how) for how in self.summary.how]
        pooled = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        for layer, each in zip(self.dense, self.summary.dense, strict=True):
            pooled = _ACTIVATIONS[each.activation](layer(pooled))
        pooled = F.normalize(pooled, dim=1) if self.summary.normalise else pooled
        return pooled if self.summary.truncate is None else pooled[:, : self.summary.truncate]

    def _part(self, tokens: Tensor, mask: Tensor, counted: Tensor, how: How) -> Tensor:
        """(B, D) by one way of pooling; `counted` is the mask without what is left out."""
        if how == "pooler":
            return self._own_pooler(zoo.pool(tokens, counted, "cls"))
        if how == "mean-sqrt" or how == "weighted-mean":
            # Tokens keep their place in the whole text, where the first ones are left out too.
            each = zoo.positions(mask) + 1 if how == "weighted-mean" else torch.ones_like(mask, dtype=torch.int64)
            weights = (each * counted).unsqueeze(-1).to(tokens.dtype)
            total = weights.sum(1).clamp(min=1)
            return (tokens * weights).sum(1) / (total.sqrt() if how == "mean-sqrt" else total)
        return zoo.pool(tokens, counted, how)

    def _own_pooler(self, first: Tensor) -> Tensor:
        """The model's pooler over the first real token; its own forward takes column 0, which may be padding."""
        model = cast("Any", self.model)
        if hasattr(model, "pooler_activation"):
            return cast("Tensor", model.pooler_activation(model.pooler(first)))
        return cast("Tensor", model.pooler(first.unsqueeze(1)))

    def _make_processor(self, preprocess: TextPreprocess) -> TextProcessor:
        rows, files = vocabulary_rows(self.model), self.folder.tokenizer_files()
        tokenizer = open_tokenizer(self.folder)
        with quiet():
            return TextProcessor(tokenizer, preprocess, rows=rows, types=self.calling.types, files=files)


def _preprocess(spec: BackboneSpec, folder: ModelFolder) -> TextPreprocess:
    known = spec.preprocess.get("text")
    # What the folder says wins over what a list may have remembered wrongly; a run's own record wins over both.
    if isinstance(known, TextPreprocess) and folder.record() is not None:
        return known
    return folder.text_preprocess(known.tokenizer if isinstance(known, TextPreprocess) else spec.architecture)


def _dense_state(folder: Path) -> dict[str, Tensor]:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            state = zoo.read_weights(folder / name)
            return {key.removeprefix("linear."): tensor for key, tensor in state.items()}
    raise WeightsError(f"{folder} holds no weights", help="fetch the whole folder again")
