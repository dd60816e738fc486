"""What one pass of a frozen backbone over rows gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Module

from zoo.data.batches import Loader
from zoo.errors import UsageError
from zoo.models.backbone import Backbone, Inputs
from zoo.models.taps import noted
from zoo.transfer.devices import fetched
from zoo.transfer.frozen import quick

POOLED, TOKENS = "pooled", "tokens"


def computed(
    backbone: Backbone, loader: Loader, level: str, device: torch.device, *, bf16: bool
) -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]]:
    """The rows of each batch, and their features, with the mask of tokens."""

    def give(inputs: Inputs) -> Tensor:
        return given(backbone, inputs, level)[0]

    def made() -> Iterator[tuple[NDArray[np.int64], tuple[Tensor, ...]]]:
        for batch in loader.epoch(0):
            with way.on(batch.to(device).inputs) as inputs:
                values, mask = given(backbone, inputs, level, count=len(batch.rows))
                values = values.float()
            yield batch.rows.numpy(), (values,) if mask is None else (values, mask)

    way = quick(backbone.to(device), give, bf16=bf16)
    for rows, (values, *masks) in fetched(made()):
        found = {"features": values.numpy()}
        if masks:
            found["mask"] = masks[0].numpy().astype(np.uint8)
        yield rows, found


def put(out: dict[str, NDArray[Any]], name: str, values: NDArray[Any], rows: NDArray[Any], count: int) -> None:
    """Write rows into the whole, which grows where later rows have more tokens."""
    if name not in out:
        out[name] = np.zeros((count, *values.shape[1:]), dtype=values.dtype)
    whole = out[name]
    sizes = tuple(max(pair) for pair in zip(whole.shape[1:], values.shape[1:], strict=True))
    if sizes != whole.shape[1:]:
        grown = np.zeros((count, *sizes), dtype=whole.dtype)
        grown[_corner(whole.shape)] = whole
        out[name] = whole = grown
    place: tuple[Any, ...] = (rows, *_corner(values.shape[1:]))
    whole[place] = values


def _corner(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Where an array of this shape lies in a larger one."""
    return tuple(slice(size) for size in shape)


def given(backbone: Backbone, inputs: Inputs, level: str, count: int = 1) -> tuple[Tensor, Tensor | None]:
    """Features of a batch as the level has them, and the mask of tokens.

    Args:
        backbone: in eval mode.
        inputs: as it takes them.
        level: pooled, tokens, or the name of a stage.
        count: rows of the batch.
    """
    if level not in (POOLED, TOKENS):
        return _stage_output(backbone, inputs, level, count), None
    features = backbone(inputs)
    if level == POOLED:
        return features.pooled, None
    mask = features.mask
    if mask is None:
        mask = torch.ones(features.tokens.shape[:2], dtype=torch.bool)
    return features.tokens, mask


def _stage_output(backbone: Backbone, inputs: Inputs, name: str, count: int) -> Tensor:
    stage = next(stage for stage in backbone.stages() if stage.name == name)
    given: list[tuple[Module, Tensor]] = []
    with noted({stage.modules[-1]}, given):
        backbone(inputs)
    box = [output for _, output in given]
    if not box:
        raise UsageError(f"the stage '{name}' gives no output of its own", help="take a later stage, or tokens")
    if len(box[-1]) != count:
        raise UsageError(
            f"the stage '{name}' gives {len(box[-1])} outputs for {count} rows, as one an image",
            help="take a later stage, or tokens",
        )
    return box[-1]
