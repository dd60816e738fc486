"""Strategies that train the tower that reads the names of classes beside the one that sees the rows. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from zoo.transfer.strategies import ADAPTERS, HEAD, HeadOnly, Inserted, LinearProbe, Phase, StageRow

PROMPT = "a photo of a {}."
"""What both papers write of a class where the user says nothing: more templates cost a pass of the tower each."""


@runtime_checkable
class Reading(Protocol):
    """A strategy whose head is the text tower while it trains."""

    def read(self, head: Any, named: Any) -> Any:
        """A head that holds the text tower.

        Args:
            head: a `TextHead` that has begun with the names of the classes.
            named: the `Named` it began with.

        Returns:
            A `ReadHead`, which ends as a `TextHead` again.
        """


@dataclass(frozen=True)
class TipAdapterF:
    """Solve the head, then train it by steps on frozen features; of the head tip-adapter that trains its keys.

    Tip-Adapter-F (Zhang et al. 2022, https://arxiv.org/abs/2111.03930).
    """

    name: ClassVar[str] = "tip-adapter-f"

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (*LinearProbe().phases(stages), *HeadOnly().phases(stages))


@dataclass(frozen=True)
class Flyp:
    """Train both towers by the loss they were pretrained with, on each row and a prompt of its class.

    "Finetune like you pretrain" (Goyal et al. 2023, https://arxiv.org/abs/2212.00638). Rows of one class in a batch
    are told from each other's prompts although these are equal, as in the paper.
    """

    name: ClassVar[str] = "flyp"
    backbone_lr: float = 0.1
    """Rate of both towers relative to `--lr`."""

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("flyp", {**{stage.name: self.backbone_lr for stage in stages}, HEAD: self.backbone_lr}),)

    def read(self, head: Any, named: Any) -> Any:
        from zoo.transfer.reading import FlypHead

        return FlypHead(head, named)


@dataclass(frozen=True)
class ClipLora:
    """Low-rank adapters on queries, keys and values of both towers; class names are read anew at every step.

    Zanella and Ben Ayed 2024, https://arxiv.org/abs/2405.18541; there with rank 2, too.
    """

    name: ClassVar[str] = "clip-lora"
    rank: int = 2

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("clip-lora", {ADAPTERS: 1.0, HEAD: 1.0}),)

    def adapt(self, backbone: Any, inputs: Any) -> Inserted:
        from zoo.transfer.lora import attention_layers, insert

        return insert(backbone, inputs, rank=self.rank, layers=attention_layers(backbone))

    def read(self, head: Any, named: Any) -> Any:
        from zoo.transfer.reading import LoraHead

        return LoraHead(head, named, rank=self.rank)
