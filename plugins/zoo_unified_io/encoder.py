"""The encoder of Unified-IO 2: text, image, audio and what came before, side by side as tokens of one transformer.

Written after the paper, Lu et al. 2023, https://arxiv.org/abs/2312.17172; the names of its tensors are those of the
published checkpoints, without their decoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo import Modality
from zoo_unified_io.layers import EncoderLayer, RMSNorm, angles, pair_bias
from zoo_unified_io.resampler import Perceiver
from zoo_unified_io.sizes import ResamplerSizes, Sizes
from zoo_unified_io.vit import AudioViT, ImageViT, Seen

PATCH = 16
"""Pixels, or cells of a spectrogram, on each side of a patch."""
IMAGE_GRID, AUDIO_GRID, HISTORY_GRID = (24, 24), (16, 8), (16, 16)
"""Patches of an image (row, column), of a spectrogram (time, frequency), and of an image of the history."""
STRETCH = math.sqrt(1024 / 576)
"""Of the coordinates of image and audio: the encoder's positions were made for 1,024 patches."""

ORDER = ("text", "image", "image_history", "audio", "audio_history")
"""In which the tokens follow each other."""


class Tokens(NamedTuple):
    """Tokens of one input before the encoder."""

    x: Tensor
    """(B, T, D)."""
    mask: Tensor
    """(B, T) bool, True = real."""
    angle: Tensor
    """(B, T, d / 2) of rotary positions."""


class Holder(nn.Module):
    """A ViT under the name that the checkpoint gives it."""

    def __init__(self, vit: ImageViT | AudioViT) -> None:
        super().__init__()
        self.vision_transformer = vit


class TextEmbedder(nn.Module):
    """What tells words from patches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modality_embedding = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.modality_embedding


class PatchEmbedder(nn.Module):
    """A ViT and a projection of its last and its second block."""

    def __init__(self, vit: ImageViT | AudioViT, inner: int, width: int) -> None:
        super().__init__()
        self.image_encoder = Holder(vit)
        self.projection = nn.Linear(2 * inner, width, bias=False)
        self.modality_embedding = nn.Parameter(torch.randn(width) * 0.02)

    @property
    def vit(self) -> ImageViT | AudioViT:
        """The ViT, which the history is seen by too."""
        return self.image_encoder.vision_transformer

    def forward(self, patches: Tensor, places: Tensor, mask: Tensor | None, grid: tuple[int, int]) -> Tensor:
        seen: Seen = self.vit(patches, places, mask, grid)
        found: Tensor = self.projection(torch.cat([seen.last, seen.second], dim=-1)) + self.modality_embedding
        return found


class Resampler(nn.Module):
    """A perceiver under the name that the checkpoint gives it."""

    def __init__(self, sizes: ResamplerSizes) -> None:
        super().__init__()
        self.perceiver = Perceiver(sizes)


class HistoryEmbedder(nn.Module):
    """Latents of each frame of the history, out of what the ViT saw of it."""

    def __init__(self, sizes: ResamplerSizes, inner: int, width: int) -> None:
        super().__init__()
        self.pre_projection = nn.Linear(inner, sizes.width, bias=False)
        self.resampler = Resampler(sizes)
        self.post_projection = nn.Linear(sizes.width, width, bias=False)
        self.modality_embedding = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, seen: Tensor, mask: Tensor | None) -> Tensor:
        found: Tensor = self.post_projection(self.resampler.perceiver(self.pre_projection(seen), mask))
        return found + self.modality_embedding


class Encoder(nn.Module):
    """The transformer over all tokens."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        for index in range(sizes.layers):
            layer = EncoderLayer(sizes.width, sizes.heads, sizes.head_dim, sizes.mlp)
            self.add_module(f"layers_{index}", layer)
        self.encoder_norm = RMSNorm(sizes.width)
        self.count = sizes.layers

    @property
    def layers(self) -> list[nn.Module]:
        """In run order."""
        return [self.get_submodule(f"layers_{index}") for index in range(self.count)]

    def forward(self, tokens: Tokens) -> Tensor:
        x, bias = tokens.x, pair_bias(tokens.mask)
        for layer in self.layers:
            x = layer(x, bias, tokens.angle)
        found: Tensor = self.encoder_norm(x)
        return found


class UnifiedIO(nn.Module):
    """Inputs of any of the five kinds to the tokens of the encoder.

    Args:
        sizes: widths and depths.
        modalities: those that will be served; nothing is built for others.
    """

    def __init__(self, sizes: Sizes, modalities: Sequence[Modality] = ("text", "image", "audio")) -> None:
        super().__init__()
        self.pairs = sizes.head_dim // 2
        embedders: dict[str, nn.Module] = {}
        if "text" in modalities:
            self.text_token_embedder = nn.Embedding(sizes.vocabulary, sizes.width)
            embedders["text"] = TextEmbedder(sizes.width)
        if "image" in modalities:
            embedders["image"] = PatchEmbedder(ImageViT(sizes.image), sizes.image.width, sizes.width)
            embedders["image_history"] = HistoryEmbedder(sizes.image_history, sizes.image.width, sizes.width)
        if "audio" in modalities:
            embedders["audio"] = PatchEmbedder(AudioViT(sizes.audio), sizes.audio.width, sizes.width)
            embedders["audio_history"] = HistoryEmbedder(sizes.audio_history, sizes.audio.width, sizes.width)
        self.input_embedders = nn.ModuleDict(embedders)
        self.encoder = Encoder(sizes)

    def forward(self, inputs: Mapping[str, Mapping[str, Tensor]]) -> tuple[Tensor, Tensor]:
        """(B, T, D) tokens of the encoder and their (B, T) mask.

        Args:
            inputs: of the names in `ORDER`. "text" has ids (B, T) and mask (B, T); "image" and "audio" have patches
                (B, T, P) and mask (B, T), and may have places (B, T) in the grid, where not all are given;
                the histories have the same with frames, (B, F, T, P).
        """
        parts = [self._tokens(name, inputs[name]) for name in ORDER if name in inputs]
        joined = Tokens(*(torch.cat(list(each), dim=1) for each in zip(*parts, strict=True)))
        return self.encoder(joined), joined.mask

    def _tokens(self, name: str, given: Mapping[str, Tensor]) -> Tokens:
        if name == "text":
            return self._text(given["ids"], given["mask"])
        patches, mask = given["patches"], given["mask"]
        places = given.get("places")
        if places is None:
            places = torch.arange(patches.shape[-2], device=patches.device).expand(patches.shape[:-1])
        if name.endswith("_history"):
            return self._history(name, patches, places, mask)
        grid = IMAGE_GRID if name == "image" else AUDIO_GRID
        x = self.input_embedders[name](patches, places, mask, grid)
        rows, columns = places // grid[1], places % grid[1]
        return Tokens(x, mask, self._flat(rows * STRETCH, columns * STRETCH))

    def _text(self, ids: Tensor, mask: Tensor) -> Tokens:
        x = self.input_embedders["text"](self.text_token_embedder(ids))
        places = (mask.long().cumsum(1) - 1).clamp(min=0)
        return Tokens(x, mask, angles(places, self.pairs))

    def _history(self, name: str, patches: Tensor, places: Tensor, mask: Tensor) -> Tokens:
        B, F = patches.shape[:2]
        kind = name.removesuffix("_history")
        grid = HISTORY_GRID if kind == "image" else AUDIO_GRID
        holder = self.input_embedders[kind]
        assert isinstance(holder, PatchEmbedder)
        flat = mask.flatten(0, 1)
        seen: Seen = holder.vit(patches.flatten(0, 1), places.flatten(0, 1), flat, grid)
        latents = self.input_embedders[name](seen.last, flat)  # (B * F, L, D)
        L = latents.shape[1]
        real = mask.any(-1).repeat_interleave(L, dim=1)
        frames = torch.arange(F, device=mask.device).repeat_interleave(L).expand(B, -1)
        numbers = torch.arange(L, device=mask.device).repeat(F).expand(B, -1)
        return Tokens(latents.reshape(B, F * L, -1), real, self._flat(frames, numbers))

    def _flat(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Angles of a plane: one half of the pairs for each axis."""
        half = self.pairs // 2
        return torch.cat([angles(rows, half), angles(columns, half)], dim=-1)


def patches_of(values: Tensor) -> Tensor:
    """(..., T, P) patches of (..., C, H, W), row by row; the numbers of each in order of row, column, channel."""
    *before, channels, height, width = values.shape
    apart = values.reshape(*before, channels, height // PATCH, PATCH, width // PATCH, PATCH)  # (..., C, h, dy, w, dx)
    return apart.movedim(-5, -1).movedim(-4, -3).flatten(-3).flatten(-3, -2)  # (..., h, w, dy, dx, C) to (..., T, P)
