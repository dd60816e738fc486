"""A dual encoder that keeps the contract of a text space, and one for each way to break it without a sound."""

from __future__ import annotations

import copy
from typing import Any

import broken_images
import broken_texts
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import BackboneSpec, DualEncoder, Features, ImagePreprocess, Inputs, LoadRequest, Modality, Stage
from zoo import TextPreprocess as Words
from zoo.models.features import join

BOTH: tuple[Modality, ...] = ("image", "text")


def spec(kind: type[Any], **changes: Any) -> BackboneSpec:
    told: dict[str, Any] = {
        "source": "broken",
        "architecture": kind.__name__,
        "factory": f"broken_spaces:{kind.__name__}",
        "modalities": BOTH,
        "family": "dual",
        "dim": 8,
        "image_size": 32,
        "context_length": 64,
        "space": "broken",
        "preprocess": {
            "image": ImagePreprocess(size=(32, 32), fit="squash"),
            "text": Words(tokenizer="bytes", max_length=48),
        },
        **changes,
    }
    return BackboneSpec(**told)


class Good(DualEncoder):
    """Pictures by convolutions, texts by a bag of bytes, both to 4 numbers of length one."""

    logit_bias = None

    def __init__(self, request: LoadRequest) -> None:
        super().__init__()
        self.spec, self.modalities, self.preprocess = request.spec, BOTH, request.preprocess
        self.dim = 8
        self.image = nn.Sequential(broken_images.block(3), nn.Conv2d(8, 4, 1))
        self.text = nn.Embedding(258, 4)
        self.register_buffer("logit_scale", torch.tensor(2.0))

    def forward(self, batch: Inputs) -> Features:
        found = [self.one(modality, batch) for modality in self.modalities]
        return found[0] if len(found) == 1 else join(found)

    def one(self, modality: Modality, batch: Inputs) -> Features:
        if modality == "image":
            tokens = self.image(batch["image"]["pixels"]).flatten(2).transpose(1, 2)
            return Features(self.scaled(tokens.mean(1)), tokens)
        tokens, mask = self.text(batch["text"]["ids"]), batch["text"]["mask"]
        mean = (tokens * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return Features(self.scaled(mean), tokens, mask=mask)

    def scaled(self, pooled: Tensor) -> Tensor:
        return F.normalize(pooled, dim=1)

    def tower(self, modality: Modality) -> Any:
        if modality not in self.modalities:
            raise self.no_tower(modality)
        alone = copy.copy(self)
        alone.modalities, alone.dim = (modality,), 4
        return alone

    def stages(self) -> list[Stage]:
        return [Stage("image", (self.image,), branch="image"), Stage("text", (self.text,), branch="text")]

    def processor(self, modality: Modality) -> Any:
        if modality == "image":
            return broken_images.ImageProcessor(self.preprocess["image"])
        return broken_texts.Bytes(self.preprocess["text"])


class LongTowers(Good):
    def tower(self, modality: Modality) -> Any:
        alone = super().tower(modality)
        alone.scaled = lambda pooled: pooled
        return alone


class CopiedTowers(Good):
    def tower(self, modality: Modality) -> Any:
        alone = copy.deepcopy(self)
        alone.modalities, alone.dim = (modality,), 4
        return alone


class WholeTowers(Good):
    def tower(self, modality: Modality) -> Any:
        return self


class EndlessScale(Good):
    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self.logit_scale = torch.tensor(torch.inf)


class Claims(broken_images.Good):
    """Says that it has a space, and is no dual encoder."""
