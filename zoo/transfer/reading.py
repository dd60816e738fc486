"""Heads that hold the text tower while it learns: the classes are what it makes of their names, as it is now."""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.catalog.spec import Modality
from zoo.models.dual import DualEncoder
from zoo.models.features import Features
from zoo.models.heads import Head, LossHead
from zoo.models.pair_heads import contrastive
from zoo.models.text_heads import TextHead, compared
from zoo.transfer.lora import attention_layers, insert
from zoo.transfer.named import Named


class ReadHead(Head):
    """Scaled cosines with the classes as the text tower reads them.

    In evaluation they are read once after each call of `eval()`, so that the head answers as the tower stands.

    Args:
        head: that began with the names of the classes; `end` gives it back with what was learned.
        named: the classes and the tower.
    """

    classes: Tensor
    """(K, E), as they were read last."""

    def __init__(self, head: TextHead, named: Named) -> None:
        super().__init__()
        self.outputs = head.outputs
        self.dropout = head.dropout
        self.tower: DualEncoder = named.tower
        self.log_scale = nn.Parameter(head.log_scale.detach().clone())
        self.register_buffer("classes", head.classes.detach().clone())
        self.templates = len(named.texts.prompts[0])
        processor = self.tower.processor("text")
        texts = [each for of_class in named.texts.prompts for each in of_class]
        self.ids = nn.Module()  # of all prompts, class by class; they move with the model and are no part of its state
        for name, tensor in processor.finish(processor.collate([processor(text) for text in texts])).items():
            self.ids.register_buffer(name, tensor, persistent=False)
        self.current = False

    def forward(self, features: Features) -> Tensor:
        if self.training:
            return self.answer(features, self.read_all())
        if not self.current:
            with torch.no_grad():
                self.classes.copy_(self.read_all())
            self.current = True
        return self.answer(features, self.classes)

    def answer(self, features: Features, classes: Tensor) -> Tensor:
        """(B, outputs) logits."""
        return compared(self.dropout(features.pooled), classes, self.log_scale, self.outputs)

    def train(self, mode: bool = True) -> Self:
        """In either mode what was read before is no longer what the tower would say."""
        self.current = False
        return super().train(mode)

    def read_all(self) -> Tensor:
        """(K, E) classes, each the mean of its prompts of length one."""
        count = len(self.classes)
        found = self.read(torch.arange(count * self.templates, device=self.classes.device))
        return found.view(count, self.templates, -1).mean(1)

    def read(self, prompts: Tensor) -> Tensor:
        """(P, E) embeddings of length one of these prompts, by their numbers."""
        inputs: dict[Modality, dict[str, Tensor]] = {
            "text": {name: tensor[prompts] for name, tensor in self.ids.named_buffers()}
        }
        return F.normalize(self.tower(inputs).pooled.float(), dim=1)

    @torch.no_grad()
    def end(self) -> TextHead:
        """The head without the tower: an ordinary one, with the classes as they were read last."""
        self.eval()
        self.fold()
        head = TextHead(self.classes.shape[1], self.outputs).to(self.classes.device)
        head.dropout = self.dropout
        head.begin(self.read_all(), float(self.log_scale))
        return head.eval()

    def fold(self) -> None:
        """What was inserted into the tower becomes part of it."""


class FlypHead(ReadHead, LossHead):
    """It learns as the towers were pretrained: each row among the prompts of its batch, and each prompt likewise.

    Of several templates each step takes one, for all rows.
    """

    def __init__(self, head: TextHead, named: Named) -> None:
        super().__init__(head, named)
        self.tower.requires_grad_(True)

    def loss(self, features: Features, targets: Tensor) -> Tensor:
        template = int(torch.randint(self.templates, ()))  # drawn alike when the run is resumed: seeded at every step
        labels, places = torch.unique(targets, return_inverse=True)  # equal prompts are read once
        text = self.read(labels * self.templates + template)[places]
        image = F.normalize(self.dropout(features.pooled).float(), dim=1)
        return contrastive(image, text, self.log_scale)


class LoraHead(ReadHead):
    """The text tower with low-rank adapters on its attention; they alone are trained.

    Args:
        head: that began with the names of the classes.
        named: the classes and the tower.
        rank: of each update.
    """

    def __init__(self, head: TextHead, named: Named, *, rank: int) -> None:
        super().__init__(head, named)
        one = {name: tensor[:1] for name, tensor in self.ids.named_buffers()}
        self.adapters = insert(self.tower, {"text": one}, rank=rank, layers=attention_layers(self.tower))
        inserted = {id(parameter) for parameter in self.adapters.parameters}
        for parameter in self.tower.parameters():
            parameter.requires_grad_(id(parameter) in inserted)
        # As in the paper, which leaves the scale as pretraining left it.
        self.log_scale.requires_grad_(False)

    def fold(self) -> None:
        self.adapters.fold()
