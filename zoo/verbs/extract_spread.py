"""Features by a backbone whose weights are spread over the processes of a launch (FSDP)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.data.batches import Loader
from zoo.data.types import Examples
from zoo.models.backbone import Backbone
from zoo.transfer.sharding import spread_backbone
from zoo.transfer.team import alone, current
from zoo.verbs import forward


def computed_together(
    backbone: Backbone,
    examples: Examples,
    own: NDArray[np.int64],
    load: Callable[[Examples], Loader],
    level: str,
    device: torch.device,
    *,
    bf16: bool,
    progress: Callable[[int], None] | None,
) -> dict[str, NDArray[Any]] | None:
    """The features of the rows of this process, in their order; None where it has none.

    Every process runs the backbone equally often, for none of them has all weights: who is ready goes on with a row
    whose features nobody wants.

    Args:
        backbone: whole; it stays as it is.
        examples: all rows.
        own: indices of those of this process.
        load: rows in batches.
        level: pooled, tokens, or the name of a stage.
        device: to compute on.
        bf16: whether to compute in bfloat16.
        progress: called with the number of rows done since the last call.
    """
    team = current()
    spare = next(iter(load(examples.select([0])).epoch(0))).to(torch.device("cpu")).inputs
    spread = spread_backbone(backbone, spare, team, device, bf16=bf16).eval()
    spare = {m: {key: value.to(device) for key, value in tensors.items()} for m, tensors in spare.items()}
    loader = load(examples.select(own)) if len(own) else None
    counts = torch.zeros(team.size)
    counts[team.rank] = 0 if loader is None else len(loader)
    left = int(team.total(counts).max()) - int(counts[team.rank])
    out: dict[str, NDArray[Any]] = {}
    with alone(), torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for batch in loader.epoch(0) if loader is not None else ():
            values, mask = forward.given(spread, batch.to(device).inputs, level, count=len(batch.rows))
            rows = batch.rows.numpy()
            forward.put(out, "features", values.float().cpu().numpy(), rows, len(own))
            if mask is not None:
                forward.put(out, "mask", mask.cpu().numpy().astype(np.uint8), rows, len(own))
            if progress is not None:
                progress(len(rows))
        for _ in range(left):
            forward.given(spread, spare, level)
    return out or None
