"""What the encoder and its resamplers are made of: RMS norms, rotary positions, attention, gated layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MASKED = -1e10
"""Added to the logits of what must not be seen. Finite, so that a row of nothing but padding stays a number."""
BASE = 10_000.0
"""Of rotary positions."""


class RMSNorm(nn.Module):
    """x over its root mean square, times `scale`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        # In single precision, whatever comes: squares of half precision overflow.
        return F.rms_norm(x.float(), (x.shape[-1],), self.scale.float(), eps=1e-6).type_as(x)


def key_bias(mask: Tensor | None) -> Tensor | None:
    """(B, 1, 1, T) to add to logits so that masked keys are not seen; of a (B, T) mask, True = real."""
    return None if mask is None else _bias(mask[:, None, None, :])


def pair_bias(mask: Tensor) -> Tensor:
    """(B, 1, T, T) to add to logits so that real and masked tokens do not see each other; of a (B, T) mask.

    A masked query sees every key alike, as in the reference.
    """
    return _bias(mask[:, None, :, None] & mask[:, None, None, :])


def _bias(seen: Tensor) -> Tensor:
    return torch.zeros_like(seen, dtype=torch.float32).masked_fill(~seen, MASKED)


def angles(coordinates: Tensor, width: int) -> Tensor:
    """(..., width) angles of rotary positions, each for a pair of numbers.

    Args:
        coordinates: (...) positions, fractions allowed.
        width: pairs.
    """
    steps = torch.arange(width, dtype=torch.float32, device=coordinates.device)
    return coordinates.float()[..., None] * BASE ** (-steps / width)


def rotated(x: Tensor, angle: Tensor) -> Tensor:
    """(B, H, T, d) with each pair of neighbours turned by an angle (B, T, d / 2)."""
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    first, second = x.float()[..., 0::2], x.float()[..., 1::2]
    turned = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return turned.flatten(-2).type_as(x)


def heads_of(x: Tensor, heads: int) -> Tensor:
    """(B, T, H * d) to (B, H, T, d)."""
    return x.reshape(*x.shape[:-1], heads, -1).transpose(1, 2)


def attended(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float | None = None) -> Tensor:
    """(B, T, H * d) of attention over (B, H, T, d), scaled by 1 / sqrt(d) where `scale` is None."""
    if bias is not None:  # half precision ends at 65,504
        bias = bias.clamp(min=torch.finfo(query.dtype).min).to(query.dtype)
    seen = F.scaled_dot_product_attention(query, key, value, bias, scale=scale)
    return seen.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Attention of many heads without biases; queries and keys are normalised in each head."""

    def __init__(self, width: int, context: int, heads: int, head_dim: int) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(context, inner, bias=False)
        self.value = nn.Linear(context, inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.query_norm = RMSNorm(head_dim)
        self.key_norm = RMSNorm(head_dim)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor | None, angle: Tensor | None = None) -> Tensor:
        query = self.query_norm(heads_of(self.query(x), self.heads))
        key = self.key_norm(heads_of(self.key(context), self.heads))
        if angle is not None:
            query, key = rotated(query, angle), rotated(key, angle)
        found: Tensor = self.out(attended(query, key, heads_of(self.value(context), self.heads), bias))
        return found


class GatedMLP(nn.Module):
    """wo(silu(wi_0 x) * wi_1 x)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(width, inner, bias=False)
        self.wi_1 = nn.Linear(width, inner, bias=False)
        self.wo = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.wo(F.silu(self.wi_0(x)) * self.wi_1(x))
        return found


class EncoderLayer(nn.Module):
    """Attention and a gated MLP, each behind a norm and beside a residual."""

    def __init__(self, width: int, heads: int, head_dim: int, inner: int) -> None:
        super().__init__()
        self.pre_attention_norm = RMSNorm(width)
        self.attention = Attention(width, width, heads, head_dim)
        self.pre_mlp_norm = RMSNorm(width)
        self.mlp = GatedMLP(width, inner)

    def forward(self, x: Tensor, bias: Tensor | None, angle: Tensor) -> Tensor:
        normal = self.pre_attention_norm(x)
        x = x + self.attention(normal, normal, bias, angle)
        found: Tensor = x + self.mlp(self.pre_mlp_norm(x))
        return found
