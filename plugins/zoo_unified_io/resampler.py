"""Images and recordings that came before: a few latent tokens of each, by cross-attention on what the ViT saw."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_unified_io.layers import Attention, RMSNorm, attended, heads_of, key_bias
from zoo_unified_io.sizes import ResamplerSizes

GREATEST = math.log(100.0)
"""Of the logarithm of the factor on cosines."""


class CosineAttention(nn.Module):
    """Attention by cosines, with one learned factor a head (Liu et al. 2021, "Swin Transformer V2")."""

    def __init__(self, width: int, context: int, heads: int, head_dim: int) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(context, inner, bias=False)
        self.value = nn.Linear(context, inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.logit_scale = nn.Parameter(torch.full((heads,), math.log(10.0)))

    def forward(self, x: Tensor, context: Tensor, bias: Tensor | None) -> Tensor:
        factor = self.logit_scale.clamp(max=GREATEST).exp()[:, None, None]
        query = F.normalize(heads_of(self.query(x), self.heads), dim=-1) * factor
        key = F.normalize(heads_of(self.key(context), self.heads), dim=-1)
        found: Tensor = self.out(attended(query, key, heads_of(self.value(context), self.heads), bias, scale=1.0))
        return found


class MLP(nn.Module):
    """Two layers with a GELU between them, without biases."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.wi = nn.Linear(width, inner, bias=False)
        self.wo = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.wo(F.gelu(self.wi(x)))
        return found


class ResamplerLayer(nn.Module):
    """Latents look at the context, then at themselves one by one."""

    def __init__(self, sizes: ResamplerSizes) -> None:
        super().__init__()
        kind = CosineAttention if sizes.attention == "cosine" else Attention
        self.pre_xattention_norm = RMSNorm(sizes.width)
        self.xattention = kind(sizes.width, sizes.width, sizes.heads, sizes.head_dim)
        self.pre_mlp_norm = RMSNorm(sizes.width)
        self.mlp = MLP(sizes.width, sizes.mlp)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor | None) -> Tensor:
        x = x + self.xattention(self.pre_xattention_norm(x), context, bias)
        found: Tensor = x + self.mlp(self.pre_mlp_norm(x))
        return found


class Perceiver(nn.Module):
    """(B, T, D') to (B, latents, D'), after Jaegle et al. 2021, https://arxiv.org/abs/2103.03206."""

    def __init__(self, sizes: ResamplerSizes) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(sizes.latents, sizes.width) * sizes.width**-0.5)
        self.context_norm = RMSNorm(sizes.width)
        for index in range(sizes.layers):
            self.add_module(f"layers_{index}", ResamplerLayer(sizes))
        self.perceiver_norm = RMSNorm(sizes.width)
        self.count = sizes.layers

    def forward(self, context: Tensor, mask: Tensor | None) -> Tensor:
        bias, context = key_bias(mask), self.context_norm(context)
        x = self.latents.expand(len(context), -1, -1).to(context.dtype)
        for index in range(self.count):
            x = self.get_submodule(f"layers_{index}")(x, context, bias)
        found: Tensor = self.perceiver_norm(x)
        return found
