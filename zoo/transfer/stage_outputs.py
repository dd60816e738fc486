"""What a stage of a backbone gives, as one vector a row, while the backbone runs as always."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor

from zoo.data.batches import Loader
from zoo.data.types import Examples
from zoo.errors import UnknownNameError, UsageError
from zoo.models.backbone import Backbone
from zoo.models.features import pool
from zoo.models.fusion import Paired


class StageOutput:
    """The output of a stage, averaged over its positions; taken anew in every forward pass.

    Args:
        backbone: whose stage it is; it is left as it was once nobody holds this object.
        name: of the stage.

    Raises:
        UnknownNameError: no such stage.
        UsageError: pairs of texts, of which each row has two outputs.
    """

    def __init__(self, backbone: Backbone, name: str) -> None:
        stages = {stage.name: stage for stage in backbone.stages()}
        if name not in stages:
            raise UnknownNameError("stage", name, stages, help=f"the stages are {', '.join(stages)}")
        if isinstance(backbone, Paired):
            raise UsageError(f"the stage '{name}' has two outputs for a pair of texts", help="leave --hint out")
        self.backbone = backbone
        self.name = name
        box: list[Tensor] = []

        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            value = output[0] if isinstance(output, tuple | list) else getattr(output, "last_hidden_state", output)
            box[:] = [value]

        handle = stages[name].modules[-1].register_forward_hook(keep)
        self.box = box
        weakref.finalize(self, handle.remove)

    def taken(self, mask: Tensor | None) -> Tensor:
        """(B, C) of the last forward pass, which is forgotten.

        Args:
            mask: of the features of that pass; padding does not count.

        Raises:
            UsageError: the stage gave nothing, or nothing that has a row for each row.
        """
        if not self.box or not isinstance(self.box[0], Tensor):
            raise UsageError(f"the stage '{self.name}' gives no output of its own", help="take a later stage")
        return averaged(self.box.pop(), mask)

    def width(self, rows: Examples) -> int:
        """C, from the first of these rows."""
        return int(self.of(rows.select([0])).shape[1])

    @torch.inference_mode()
    def of(self, rows: Examples) -> Tensor:
        """(N, C) of few rows, in evaluation mode."""
        processors = {modality: self.backbone.processor(modality) for modality in self.backbone.modalities}
        batch = next(iter(Loader(rows, processors, batch_size=len(rows)).epoch(0)))
        was_training, device = self.backbone.training, next(self.backbone.parameters()).device
        self.backbone.eval()
        features = self.backbone(batch.to(device).inputs)
        self.backbone.train(was_training)
        return self.taken(features.mask)


def averaged(output: Tensor, mask: Tensor | None = None) -> Tensor:
    """(B, C) mean over the positions of a map (B, C, H, W) or (B, H, W, C), or over the real ones of (B, T, C)."""
    if output.ndim == 4:
        # Of a square map the two equal sides are the positions, wherever the channels stand.
        last = output.shape[1] == output.shape[2] != output.shape[3]
        return output.mean((1, 2) if last else (2, 3))
    if output.ndim == 3:
        return pool(output, mask if mask is not None and mask.shape == output.shape[:2] else None, "mean")
    return output
