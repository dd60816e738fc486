"""What keeps padding out of speech models: a group norm over real frames, and a mask that joins the position bias."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

import zoo


class GroupNormOverReal(nn.GroupNorm):
    """A group norm of one channel a group over (B, C, T), whose statistics leave out the padding at the end."""

    frames: Tensor | None = None
    """(B,) real frames; None: all are."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps)
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's own name)
        if self.frames is None:
            return super().forward(input)
        values = input.float()
        real = torch.arange(values.shape[2], device=values.device) < self.frames[:, None, None]  # (B, 1, T)
        count = self.frames[:, None, None]
        mean = (values * real).sum(2, keepdim=True) / count
        centred = values - mean
        variance = (centred * real).square().sum(2, keepdim=True) / count
        found = centred * (variance + self.eps).rsqrt() * self.weight[:, None] + self.bias[:, None]
        return found.to(input.dtype)


class MaskedWavLMAttention(WavLMAttention):
    """WavLM's attention with padding in its bias: torch warns where one mask is bool and the other is not."""

    def torch_multi_head_self_attention(
        self, hidden_states: Tensor, attention_mask: Tensor | None, gated_position_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        bias = gated_position_bias  # (B * heads, T, T)
        if attention_mask is not None:
            padding = (attention_mask != 1).repeat_interleave(self.num_heads, dim=0)
            bias = bias.masked_fill(padding[:, None], float("-inf"))
        attend: Any = super().torch_multi_head_self_attention
        found: tuple[Tensor, Tensor] = attend(hidden_states, None, bias)
        return found


def keep_padding_out(model: nn.Module) -> None:
    """Put these into a speech model in place of its own; parameters and their names stay."""
    first = _first(model)
    if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
        first.layer_norm = GroupNormOverReal(first.layer_norm)
    for module in model.modules():
        if type(module) is WavLMAttention:
            module.__class__ = MaskedWavLMAttention


def real_first(samples: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T) samples and mask with the padding at the end, where the convolutions count it."""
    index = torch.arange(mask.shape[1], device=mask.device) + zoo.first_real(mask)[:, None]
    index = index % mask.shape[1]
    return samples.gather(1, index), mask.gather(1, index)


@contextmanager
def counting_real(model: nn.Module, lengths: Tensor) -> Iterator[None]:
    """Statistics of the group norm, where there is one, are of the first (B,) samples of each row alone."""
    first = _first(model)
    norm = getattr(first, "layer_norm", None)
    if not isinstance(norm, GroupNormOverReal):
        yield
        return
    norm.frames = (lengths - first.conv.kernel_size[0]) // first.conv.stride[0] + 1
    try:
        yield
    finally:
        norm.frames = None


def _first(model: nn.Module) -> Any:
    return cast("Any", model).feature_extractor.conv_layers[0]
