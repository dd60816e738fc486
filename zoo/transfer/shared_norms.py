"""Batch norm over the rows of several processes, as if one had them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class SharedNorms(TorchFunctionMode):
    """While it lasts, batch norm in training mode takes mean and variance over the batches of all processes.

    As `torch.nn.SyncBatchNorm` (Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167, over the whole batch), which
    has no CPU and has to take the place of modules; this reaches every module that calls `F.batch_norm`, and leaves
    those that are frozen, and so in evaluation mode, as they are.

    Args:
        counts: whether the rows of this process are part of the batch; otherwise they only keep step.
    """

    def __init__(self, *, counts: bool) -> None:
        super().__init__()
        self.counts = counts

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not F.batch_norm:
            return func(*args, **kwargs)
        return _batch_norm(self.counts, *args, **kwargs)


def _batch_norm(
    counts: bool,
    input: Tensor,  # noqa: A002  (the names are those of torch)
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.batch_norm` of (B, C, ...) with statistics over all processes; it takes part twice in a sum over them."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    rest = [0, *range(2, input.ndim)]
    wide = [1, -1, *(1 for _ in rest[1:])]
    values = input if input.dtype in (torch.float32, torch.float64) else input.float()
    here = values.new_tensor([values.numel() / values.shape[1] if counts else 0.0])
    share = 1.0 if counts else 0.0
    sums = _total(torch.cat([values.sum(rest) * share, here]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    centred = values - mean.view(wide)
    var = _total(centred.square().sum(rest) * share) / count
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        if running_var is not None:
            unbiased = var * (count / (count - 1).clamp(min=1))
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    out = centred * torch.rsqrt(var + eps).view(wide)
    if weight is not None:
        out = out * weight.view(wide)
    if bias is not None:
        out = out + bias.view(wide)
    return out.to(input.dtype)


class _Total(torch.autograd.Function):
    """The sum over all processes; so is its gradient, as what each has goes into the loss of all."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        del ctx
        found = values.clone()
        dist.all_reduce(found)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        del ctx
        found = gradient.contiguous().clone()
        dist.all_reduce(found)
        return found


def _total(values: Tensor) -> Tensor:
    return _Total.apply(values)  # type: ignore[no-any-return]
