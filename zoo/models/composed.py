"""What a backbone takes and carries, of whatever parts it consists."""

from __future__ import annotations

from zoo.catalog.spec import AudioPreprocess, ImagePreprocess, Modality
from zoo.models.backbone import Backbone
from zoo.models.fusion import Fused, Paired


def image_size_of(backbone: Backbone) -> int | None:
    """The smallest that any part takes; None if none takes images."""
    if isinstance(backbone, Paired):
        return image_size_of(backbone.single)
    if isinstance(backbone, Fused):
        sizes = [image_size_of(part) for part in backbone.each]
        return min((size for size in sizes if size is not None), default=None)
    preprocess = backbone.spec.preprocess_for(backbone.weights).get("image")
    return min(preprocess.size) if isinstance(preprocess, ImagePreprocess) else None


def branches_of(backbone: Backbone, modality: Modality) -> set[str]:
    """The branches that values of this modality go through.

    Of a fused backbone those of the parts that take it; of several towers the one that is named after it.
    """
    if isinstance(backbone, Fused):
        return {
            f"{index}.{branch}".rstrip(".")
            for index, part in enumerate(backbone.each)
            for branch in branches_of(part, modality)
        }
    if modality not in backbone.modalities:
        return set()
    found = {stage.branch for stage in backbone.stages()}
    return {modality} if modality in found else found


def seconds_heard(backbone: Backbone) -> float | None:
    """How much of a recording every part hears; None where there is no limit."""
    if isinstance(backbone, Paired):
        return seconds_heard(backbone.single)
    if isinstance(backbone, Fused):
        limits = [seconds_heard(part) for part in backbone.each]
        return min((limit for limit in limits if limit is not None), default=None)
    preprocess = backbone.spec.preprocess_for(backbone.weights).get("audio")
    return preprocess.seconds if isinstance(preprocess, AudioPreprocess) else None


def is_pretrained(backbone: Backbone) -> bool:
    """Whether any part carries weights that were learned."""
    if isinstance(backbone, Paired):
        return is_pretrained(backbone.single)
    if isinstance(backbone, Fused):
        return any(is_pretrained(part) for part in backbone.each)
    return backbone.weights is not None
