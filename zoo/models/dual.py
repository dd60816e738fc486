"""Dual encoders: towers that embed images and texts into one space, so that a text can name what an image shows."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from zoo.catalog.spec import Modality
from zoo.errors import UsageError
from zoo.models.backbone import Backbone


class DualEncoder(Backbone):
    """A backbone whose towers share a space, which `BackboneSpec.space` names.

    With native pooling the pooled features of one tower are its embeddings (B, E), of the length that the tower gives
    them; of both towers those of the image stand before those of the text, (B, 2 E). What two embeddings have in
    common is their cosine.
    """

    logit_scale: Tensor
    """() float32, a buffer: natural logarithm of the factor on cosines that makes them logits."""
    logit_bias: Tensor | None
    """() float32, a buffer: added to scaled cosines by encoders trained with a sigmoid loss, such as SigLIP."""

    @abstractmethod
    def tower(self, modality: Modality) -> DualEncoder:
        """One tower by itself, on the very same parameters.

        Raises:
            UsageError: this backbone was loaded without that tower; see `no_tower`.
        """

    def no_tower(self, modality: Modality) -> UsageError:
        """What to raise where a tower is asked for that was not loaded."""
        return UsageError(
            f"{self.name or self.spec.name} was loaded without its {modality} tower",
            help="load it by its name alone, without :image or :text",
        )


def dual_encoder(backbone: Backbone) -> DualEncoder:
    """The backbone, if its towers share a space with texts.

    Raises:
        UsageError: it has no text space.
    """
    if not isinstance(backbone, DualEncoder):
        raise UsageError(
            f"{backbone.name or type(backbone).__name__} has no space that images and texts share",
            help="choose a dual encoder, such as open_clip/ViT-B-32; `zoo list --source open_clip` shows them",
        )
    return backbone
