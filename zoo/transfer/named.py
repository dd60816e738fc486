"""What training needs of the names of classes: their texts in the backbone's space, and the tower that read them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from zoo.errors import PluginError
from zoo.models.dual import DualEncoder
from zoo.models.heads import Head
from zoo.models.text_heads import TextHead
from zoo.transfer.options import Training
from zoo.transfer.zeroshot import ClassTexts


@dataclass(frozen=True)
class Named:
    """The classes of a task as texts."""

    texts: ClassTexts
    tower: DualEncoder
    """That reads texts, in the space of the backbone that is trained."""

    def begin(self, head: Head) -> None:
        """Let a fresh head begin as zero-shot classification.

        Raises:
            PluginError: a head that cannot.
        """
        if not isinstance(head, TextHead):
            raise PluginError(f"{type(head).__name__} says that it begins with class names, and is no TextHead")
        head.begin(torch.from_numpy(self.texts.embeddings), self.texts.log_scale)


def names_classes(training: Training) -> bool:
    """Whether what was asked for begins with the names of the classes, so that it needs a text space."""
    from zoo.catalog.discovery import default_catalog

    spec = default_catalog().heads.get(str(training.head))
    return spec is not None and spec.names
