"""Flamingo through transformers' Idefics: images and text in one decoder, by a resampler and gated cross-attention."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

import zoo
from zoo import (
    Backbone,
    DataError,
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
from zoo_transformers.folder import ModelFolder
from zoo_transformers.idefics_inputs import ImagesProcessor, PromptProcessor, markers
from zoo_transformers.idefics_layout import AGREE, Layout, check_counts, laid_out, mismatch, seen
from zoo_transformers.idefics_spec import MODALITIES, folder_spec, stage_names
from zoo_transformers.opening import model_folder, open_model, open_tokenizer, quiet


def build(request: LoadRequest) -> IdeficsBackbone:
    """The backbone of a folder or hub id, for the modalities that are asked for.

    Raises:
        WeightsError: weights or tokenizer that are missing, damaged or not of this architecture.
    """
    folder = model_folder(request)
    model, _ = open_model(folder, request)
    return IdeficsBackbone(request, folder, model)


class IdeficsBackbone(Backbone):
    """Images, texts, or both in any order, as one sequence of tokens of width D.

    Tokens are the decoder's last hidden states; pooled is that of the last token, which has seen everything before it.
    Images alone are read as `<s><fake_token_around_image><image><fake_token_around_image>`. Of a batch with images the
    tokens are padded on the right, whatever the side of the text's padding.

    Flamingo: Alayrac et al. 2022, https://arxiv.org/abs/2204.14198; its weights: Laurencon et al. 2023,
    https://arxiv.org/abs/2306.16527.
    """

    def __init__(self, request: LoadRequest, folder: ModelFolder, model: nn.Module) -> None:
        super().__init__()
        self.modalities: tuple[Modality, ...] = tuple(each for each in MODALITIES if each in request.towers)
        self.model: Any = fitted(model, self.modalities)
        self.model.requires_grad_(True)  # Its constructor freezes text and vision unless the configuration says not to.
        self.folder = folder
        self.config: Any = cast("Any", model).config
        self.settings = self.config.to_json_string(use_diff=False)
        self.dim = int(self.config.hidden_size)
        self.pooling: Pooling = "native"
        preprocess = _preprocess(request, folder)
        self._check_size(preprocess["image"])
        self._texts = self._prompts(preprocess["text"])
        self._images = ImagesProcessor(preprocess["image"])
        weights = request.weights
        self.weights = weights if weights is None else replace(weights, preprocess=dict(preprocess))
        self.spec = replace(
            request.spec,
            factory="zoo_transformers.idefics:build",
            modalities=MODALITIES,
            family=folder.facts.family,
            dim=self.dim,
            params=sum(each.numel() for each in self.parameters()),
            stages=tuple(stage.name for stage in self.stages()),
            image_size=preprocess["image"].size[0],
            preprocess=dict(preprocess),
        )

    def forward(self, batch: Inputs) -> Features:
        """Features of images, of texts, or of both.

        Args:
            batch: "image" with `pixels` (B, n, C, H, W), normalised, and `count` (B,), the images of each row; or what
                `latents` gave for them. "text" with `ids` (B, T), `mask` (B, T) bool and `images` (B,), the markers.

        Raises:
            DataError: a text with another number of markers than its row has images.
        """
        sight = self.latents(batch) if "image" in batch else None
        layout = self._layout(batch.get("text"), sight)
        latents = self._nothing(len(layout.ids)) if sight is None or not sight["latents"].shape[1] else sight["latents"]
        sees = seen(layout, latents.shape[1], self._texts.tokens)
        name = "perceiver_embeddings" if self.config.use_resampler else "image_encoder_embeddings"
        given = {name: latents, "image_attention_mask": sees, "attention_mask": layout.mask.long()}
        tokens: Tensor = self.model(input_ids=layout.ids, use_cache=False, **given).last_hidden_state
        how = "last" if self.pooling == "native" else self.pooling
        return Features(pooled=zoo.pool(tokens, layout.mask, how), tokens=tokens, mask=layout.mask)

    def latents(self, batch: Inputs) -> dict[str, Tensor]:
        """What the decoder sees of the images: the output of the resampler (or of the vision tower, without one).

        It does not depend on the texts. `forward({**batch, "image": backbone.latents(batch)})` gives the same bits as
        `forward(batch)`, and runs neither vision tower nor resampler.

        Returns:
            `latents` (B, n, L, D') and `count` (B,).
        """
        image = batch["image"]
        if "latents" in image:
            return dict(image)
        pixels = image["pixels"] if image["pixels"].ndim == 5 else image["pixels"].unsqueeze(1)
        B, n = pixels.shape[:2]
        count = image.get("count", torch.full((B,), n, device=pixels.device))
        if n == 0:
            return {"latents": self._nothing(B)[:, :0], "count": count}
        if n == 1 or torch.compiler.is_compiling():
            found = self._resampled(pixels.flatten(0, 1))
            return {"latents": found.view(B, n, *found.shape[1:]), "count": count}
        # Rows have as many images as they have: what fills them up is not worth a vision tower.
        real = torch.arange(n, device=pixels.device) < count[:, None]
        found = self._resampled(pixels[real])
        latents = found.new_zeros(B, n, *found.shape[1:])
        latents[real] = found
        return {"latents": latents, "count": count}

    def stages(self) -> Sequence[Stage]:
        """As they run: vision, resampler, embeddings of words, then each cross-attention with the layers behind it."""
        model, step = self.model, self.config.cross_layer_interval
        found: list[tuple[nn.Module, ...]] = []
        if "image" in self.modalities:
            vision = model.vision_model
            found = [(vision.embeddings, vision.pre_layrnorm), *((layer,) for layer in vision.encoder.layers)]
            found += [(model.perceiver_resampler,)] if self.config.use_resampler else []
        found.append((model.embed_tokens,))
        for index, gated in enumerate(model.gated_cross_attn_layers):
            found.append((gated, *model.layers[index * step : (index + 1) * step]))
        names = stage_names(self.config.to_dict(), self.modalities)
        return [Stage(name, part) for name, part in zip(names, [*found, (model.norm,)], strict=True)]

    def processor(self, modality: Modality) -> Processor:
        if modality not in self.modalities:
            raise UsageError(
                f"{self.name or self.spec.name} serves {' and '.join(self.modalities)}, not {modality}",
                help="load it without a tower for images and text",
            )
        return self._images if modality == "image" else self._texts

    def check_row(self, row: Mapping[Modality, Any]) -> None:
        """As many images as the text has markers, or a text without markers.

        Raises:
            DataError: they differ.
        """
        image = row.get("image")
        count = 0 if image is None else len(image) if isinstance(image, tuple) else 1
        images = markers(row.get("text", ""))
        if images not in (0, count):
            raise DataError(mismatch(images, count), help=AGREE)

    def save_assets(self, folder: Path) -> None:
        """Configuration and tokenizer files as they are."""
        folder.mkdir(parents=True, exist_ok=True)
        named = [self.folder.path / name for name in ("config.json", "preprocessor_config.json")]
        for file in (*named, *self.folder.tokenizer_files()):
            if file.is_file() and file.resolve() != (folder / file.name).resolve():
                shutil.copyfile(file, folder / file.name)

    def _resampled(self, pixels: Tensor) -> Tensor:
        """(N, L, D') of (N, C, H, W)."""
        found: Tensor = self.model.vision_model(pixel_values=pixels).last_hidden_state
        return self.model.perceiver_resampler(found) if self.config.use_resampler else found

    def _layout(self, text: Mapping[str, Tensor] | None, sight: Mapping[str, Tensor] | None) -> Layout:
        """The tokens of a batch, images in their places; without any text `<s>` alone."""
        tokens = self._texts.tokens
        if text is None:
            assert sight is not None, "a batch has images or texts"
            ids = torch.full((len(sight["count"]), 1), tokens.start, device=sight["count"].device)
            mask, images = torch.ones_like(ids, dtype=torch.bool), torch.zeros_like(sight["count"])
        else:
            ids, mask = text["ids"], text["mask"]
            images = text.get("images", (ids == tokens.image).logical_and(mask).sum(1))
        count = torch.zeros_like(images) if sight is None else sight["count"]
        check_counts(images, count)
        if sight is None:
            return Layout(ids, mask)
        return laid_out(ids, mask, torch.where(images == 0, count, 0), sight["latents"].shape[1], tokens)

    def _nothing(self, rows: int) -> Tensor:
        """(B, 1, 1, D') latents that no token sees."""
        like: Tensor = self.model.norm.weight
        return like.new_zeros(rows, 1, 1, int(self.config.vision_config.embed_dim))

    def _prompts(self, preprocess: TextPreprocess) -> PromptProcessor:
        tokenizer = open_tokenizer(self.folder)
        with quiet():
            return PromptProcessor(tokenizer, preprocess, self.config, self.folder.tokenizer_files())

    def _check_size(self, preprocess: ImagePreprocess) -> None:
        side = self.config.vision_config.image_size
        if preprocess.size != (side, side):
            given = " x ".join(map(str, preprocess.size))
            raise UsageError(
                f"preprocessor_config.json gives images of {given}, config.json of {side}",
                help="config.json and preprocessor_config.json have to belong together",
            )


class _Unseeing(nn.Module):
    """Takes the place of a cross-attention where there are never images: it would be masked to these zeros."""

    def forward(self, hidden_states: Tensor, **_: Any) -> tuple[Tensor, None]:
        return torch.zeros_like(hidden_states), None


def fitted(model: Any, modalities: tuple[Modality, ...]) -> nn.Module:
    """The model without what these modalities never use, whose parameters would get no gradient."""
    if "image" in modalities:
        model.vision_model.post_layernorm = nn.Identity()  # It serves a pooled output that nothing reads.
        return cast("nn.Module", model)
    del model.vision_model
    if model.config.use_resampler:
        del model.perceiver_resampler
    if model.embed_tokens.num_additional_embeddings:
        model.embed_tokens.num_additional_embeddings = 0  # Those of image tokens; without any it has a path of its own.
        del model.embed_tokens.additional_embedding
    for layer in model.gated_cross_attn_layers:
        layer.cross_attn, layer.input_layernorm = _Unseeing(), nn.Identity()
        alpha = layer.alpha_cross_attn.detach().clone()
        del layer.alpha_cross_attn
        layer.register_buffer("alpha_cross_attn", alpha)
    return cast("nn.Module", model)


def _preprocess(request: LoadRequest, folder: ModelFolder) -> dict[Modality, Any]:
    """What a run recorded; else what the folder says."""
    known = request.preprocess
    if request.assets is not None and len(known) == len(MODALITIES):
        return dict(known)
    told = folder_spec(folder, request.spec.architecture, (), "folder").preprocess
    text, named = told["text"], known.get("text")
    assert isinstance(text, TextPreprocess)
    name = named.tokenizer if isinstance(named, TextPreprocess) else request.spec.architecture
    return {"image": told["image"], "text": replace(text, tokenizer=name)}
