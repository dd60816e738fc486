"""A text backbone that keeps the contract, and one for each way in which padding leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import zoo
from zoo import Backbone, BackboneSpec, Features, Inputs, LoadRequest, Modality, Stage, TextPreprocess


def spec(kind: type[Backbone]) -> BackboneSpec:
    return BackboneSpec(
        source="broken",
        architecture=kind.__name__,
        factory=f"broken_texts:{kind.__name__}",
        modalities=("text",),
        family="words",
        dim=16,
        context_length=64,
        stages=("embedding", "layer1", "layer2"),
        preprocess={"text": TextPreprocess(tokenizer="bytes", max_length=48)},
    )


class Bytes:
    """Processor: one id a byte."""

    def __init__(self, preprocess: TextPreprocess) -> None:
        self.preprocess = preprocess

    @property
    def key(self) -> str:
        return zoo.fingerprint(self.preprocess)

    def __call__(self, value: Any, draw: Any = None) -> list[int]:
        return [1, *(byte + 2 for byte in str(value).encode()[: self.preprocess.max_length - 1])]

    def length(self, example: list[int]) -> int:
        return len(example)

    def collate(self, examples: Sequence[list[int]]) -> dict[str, Tensor]:
        T = max(len(each) for each in examples)
        ids, mask = torch.zeros(len(examples), T, dtype=torch.long), torch.zeros(len(examples), T, dtype=torch.bool)
        for row, each in enumerate(examples):
            at = slice(0, len(each)) if self.preprocess.padding_side == "right" else slice(T - len(each), T)
            ids[row, at], mask[row, at] = torch.tensor(each), True
        return {"ids": ids, "mask": mask}

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(tensors)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.norm = nn.Linear(16, 48), nn.Linear(16, 16), nn.LayerNorm(16)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        scores = (q @ k.transpose(1, 2) / 4).masked_fill(~mask[:, None, :], -1e9)
        return x + self.drop(self.out(scores.softmax(-1) @ v))


class Good(Backbone):
    modalities = ("text",)

    def __init__(self, request: LoadRequest) -> None:
        super().__init__()
        self.spec, self.dim, self.preprocess = request.spec, 16, request.preprocess["text"]
        self.words, self.places = nn.Embedding(258, 16), nn.Embedding(64, 16)
        self.layers = nn.ModuleList([Layer(), Layer()])

    def forward(self, batch: Inputs) -> Features:
        ids, mask = batch["text"]["ids"], batch["text"]["mask"]
        x = self.words(ids) + self.places(self.positions(mask))
        for layer in self.layers:
            x = layer(x, self.attended(mask))
        return Features(self.pooled(x, mask), x, mask)

    def positions(self, mask: Tensor) -> Tensor:
        return zoo.positions(mask)

    def attended(self, mask: Tensor) -> Tensor:
        return mask

    def pooled(self, x: Tensor, mask: Tensor) -> Tensor:
        return zoo.pool(x, mask, "mean")

    def stages(self) -> list[Stage]:
        first, second = self.layers
        return [Stage("embedding", (self.words, self.places)), Stage("layer1", (first,)), Stage("layer2", (second,))]

    def processor(self, modality: Modality) -> Any:
        return Bytes(self.preprocess)


class PositionsCountPadding(Good):
    def positions(self, mask: Tensor) -> Tensor:
        return torch.arange(mask.shape[1]).expand(mask.shape)


class MeanOverPadding(Good):
    def pooled(self, x: Tensor, mask: Tensor) -> Tensor:
        return x.mean(1)


class LastPosition(Good):
    def pooled(self, x: Tensor, mask: Tensor) -> Tensor:
        return x[:, -1]


class AttendsToPadding(Good):
    def attended(self, mask: Tensor) -> Tensor:
        return torch.ones_like(mask)


class LengthOfAnother(Good):
    def processor(self, modality: Modality) -> Any:
        class Wrong(Bytes):
            def length(self, example: list[int]) -> int:
                return 100 - len(example)

        return Wrong(self.preprocess)


class TooLong(Good):
    def processor(self, modality: Modality) -> Any:
        class Greedy(Bytes):
            def __call__(self, value: Any, draw: Any = None) -> list[int]:
                return [1, *(byte + 2 for byte in str(value).encode()[:62])]

        return Greedy(self.preprocess)
