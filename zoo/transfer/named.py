"""What training needs of the names of classes: their texts in the backbone's space, and the tower that read them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from zoo.errors import PluginError, UsageError
from zoo.models.dual import DualEncoder
from zoo.models.heads import Head
from zoo.models.text_heads import NamedHead
from zoo.transfer.options import Training
from zoo.transfer.strategies import strategy_named
from zoo.transfer.texts import PROMPT, Reading, TipAdapterF
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
        if not isinstance(head, NamedHead):
            raise PluginError(f"{type(head).__name__} says that it begins with class names, and is no NamedHead")
        head.begin(torch.from_numpy(self.texts.embeddings), self.texts.log_scale)


def names_classes(training: Training) -> bool:
    """Whether what was asked for begins with the names of the classes, so that it needs a text space."""
    from zoo.catalog.discovery import default_catalog

    spec = default_catalog().heads.get(str(training.head))
    return spec is not None and spec.names


def with_text_head(training: Training) -> Training:
    """The training with the one head that a strategy has which reads class names, and one template.

    Raises:
        UsageError: another head was given.
    """
    from zoo.catalog.discovery import default_catalog

    if training.strategy is None or training.strategy not in default_catalog().strategies:
        return training
    strategy = strategy_named(training.strategy, options=training.strategy_options)
    if isinstance(strategy, TipAdapterF):
        return replace(training, head=training.head or "tip-adapter")
    if not isinstance(strategy, Reading):
        return training
    if training.head not in (None, "text"):
        raise UsageError(
            f"--strategy {training.strategy} trains the tower that reads class names, and --head {training.head} has "
            "no use for it",
            help="leave --head out",
        )
    return replace(training, head="text", templates=training.templates or (PROMPT,))
