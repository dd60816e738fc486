"""Text backbones through AutoModel: encoders, decoders and the encoders of encoder-decoders."""

from __future__ import annotations

import inspect
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
from zoo_transformers.families import AUDIO, FEELS_PADDING, PAIRED
from zoo_transformers.folder import RECORD, ModelFolder, Summary
from zoo_transformers.opening import first_line, model_folder, open_model, open_tokenizer, quiet
from zoo_transformers.stages import stages_of
from zoo_transformers.tokens import TextProcessor

_RELATIVE = frozenset({"bloom", "mt5", "t5", "umt5", "xlnet"})
"""Types without position ids whose features do not depend on where a text begins."""


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
        self.arguments = _arguments(model, folder.facts.family)
        self.dense = nn.ModuleList(nn.Linear(each.inputs, each.outputs, bias=each.bias) for each in summary.dense)
        if weights is not None and loaded:
            for layer, each in zip(self.dense, summary.dense, strict=True):
                zoo.load_state(layer, _dense_state(folder.path / each.folder))
        if "pooler" not in summary.how and getattr(model, "pooler", None) is not None:
            cast("Any", model).pooler = nn.Identity()  # Nothing reads it: its parameters would get no gradient.
        preprocess = _preprocess(spec, folder)
        self._processor = self._make_processor(preprocess)
        self.hidden = self._measured()
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
        if self.folder.facts.family in FEELS_PADDING:
            tokens = self._unpadded(ids, mask, types)
        elif "position_ids" in self.arguments or self.folder.facts.family in _RELATIVE:
            tokens = self._tokens(ids, mask, types)
        else:
            # Positions are counted from the first column here, so that is where the text has to begin.
            order = (~mask).long().argsort(dim=1, stable=True)
            types = None if types is None else types.gather(1, order)
            tokens = self._tokens(ids.gather(1, order), mask.gather(1, order), types)
            tokens = tokens.gather(1, order.argsort(dim=1).unsqueeze(-1).expand_as(tokens))
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

    def _unpadded(self, ids: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        """(B, T, D), texts of one length at a time, without their padding."""
        lengths = mask.sum(1)
        out: Tensor | None = None
        for length in sorted(set(lengths.tolist())):
            at = mask & (lengths == length).unsqueeze(1)
            some = ids[at].view(-1, length)
            kinds = None if types is None else types[at].view(-1, length)
            tokens = self._tokens(some, torch.ones_like(some, dtype=torch.bool), kinds)
            out = tokens.new_zeros(*ids.shape, tokens.shape[-1]) if out is None else out
            out[at] = tokens.flatten(0, 1)
        assert out is not None
        return out

    def _tokens(self, ids: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        """(B, T, D) last hidden state."""
        given: dict[str, Any] = {"input_ids": ids}
        if "attention_mask" in self.arguments:
            given["attention_mask"] = mask.long()
        if "position_ids" in self.arguments:
            given["position_ids"] = zoo.positions(mask) + _first_position(self.model)
        if self._processor.types:
            given["token_type_ids"] = torch.zeros_like(ids) if types is None else types
        for name in ("use_cache", "use_mems"):
            if name in self.arguments:
                given[name] = False
        return cast("Tensor", self.model(**given).last_hidden_state)

    def _pool(self, tokens: Tensor, mask: Tensor) -> Tensor:
        if self.pooling != "native":
            return zoo.pool(tokens, mask, self.pooling)
        parts = [
            self._own_pooler(zoo.pool(tokens, mask, "cls")) if how == "pooler" else zoo.pool(tokens, mask, how)
            for how in self.summary.how
        ]
        pooled = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        for layer, each in zip(self.dense, self.summary.dense, strict=True):
            pooled = layer(pooled)
            pooled = pooled.tanh() if each.activation == "tanh" else pooled
        return F.normalize(pooled, dim=1) if self.summary.normalise else pooled

    def _own_pooler(self, first: Tensor) -> Tensor:
        """The model's pooler over the first real token; its own forward takes column 0, which may be padding."""
        model = cast("Any", self.model)
        if hasattr(model, "pooler_activation"):
            return cast("Tensor", model.pooler_activation(model.pooler(first)))
        return cast("Tensor", model.pooler(first.unsqueeze(1)))

    def _measured(self) -> int:
        """D of the tokens, by one text of one token; the model is left in the mode it was in.

        Raises:
            UsageError: the model wants more than ids and a mask.
        """
        training = self.model.training
        self.model.eval()
        ids = torch.zeros(1, 1, dtype=torch.int64)
        try:
            with torch.no_grad():
                return int(self._tokens(ids, torch.ones_like(ids, dtype=torch.bool), None).shape[-1])
        except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
            raise UsageError(
                f"{type(self.model).__name__} does not run on a text alone: {first_line(error)}",
                help="`zoo list --modality text` shows backbones that do",
            ) from error
        finally:
            self.model.train(training)

    def _make_processor(self, preprocess: TextPreprocess) -> TextProcessor:
        kinds = getattr(getattr(self.model, "config", None), "type_vocab_size", 0) or 0
        types = "token_type_ids" in self.arguments and (self.folder.facts.family == "xlnet" or kinds > 1)
        rows = _rows(self.model)
        tokenizer = open_tokenizer(self.folder)
        with quiet():
            return TextProcessor(tokenizer, preprocess, rows=rows, types=types, files=self.folder.tokenizer_files())


def _arguments(model: nn.Module, family: str) -> frozenset[str]:
    """What the model's forward can be given.

    Raises:
        UsageError: no ids, or no mask although padding would change the features.
    """
    found = frozenset(inspect.signature(model.forward).parameters)
    needed = {"input_ids"} if family in FEELS_PADDING else {"input_ids", "attention_mask"}
    if not needed <= found:
        lacks = "ids" if "input_ids" not in found else "a mask, so padding would change its features"
        raise UsageError(f"{type(model).__name__} does not take {lacks}", help="choose another text backbone")
    return found


def _rows(model: Any) -> int:
    """Of the table of token embeddings.

    Raises:
        UsageError: the model has none, as one that reads characters.
    """
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError):
        raise UsageError(
            f"{type(model).__name__} has no table of token embeddings", help="choose another text backbone"
        ) from None


def _first_position(model: nn.Module) -> int:
    """Of the first token: 0 mostly, `padding_idx + 1` for RoBERTa and its descendants, 2 for Nystromformer."""
    embeddings: Any = getattr(model, "embeddings", None)
    if hasattr(embeddings, "create_position_ids_from_inputs_embeds"):
        return int(embeddings.padding_idx) + 1
    table = getattr(embeddings, "position_ids", None)
    return int(table.flatten()[0]) if isinstance(table, Tensor) and table.numel() else 0


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
