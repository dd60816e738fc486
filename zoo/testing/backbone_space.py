"""What a dual encoder promises: towers that embed images and texts into one space."""

from __future__ import annotations

import math

from zoo.errors import UsageError
from zoo.models.dual import DualEncoder
from zoo.testing.report import Broken, Inapplicable, law, require
from zoo.testing.subject import CLOSE, BackboneSubject, distance


@law(consequence="images and class names are compared across spaces: zero-shot and text heads are left to chance")
def text_space(subject: BackboneSubject) -> str:
    """A backbone with a `space` is a DualEncoder: a tower alone gives its equal part of pooled; its scale is finite."""
    backbone = subject.backbone
    if not isinstance(backbone, DualEncoder):
        require(subject.spec.space is None, f"it says space '{subject.spec.space}' and is no zoo.DualEncoder")
        raise Inapplicable("it has no text space")
    require(subject.spec.space is not None, "it is a zoo.DualEncoder and its specification names no space")
    scale = backbone.logit_scale
    require(scale.shape == () and bool(scale.isfinite()), f"logit_scale is {scale}, not one finite number")
    require("logit_scale" in dict(backbone.named_buffers()), "logit_scale is no buffer, so a run would not keep it")
    batch = subject.batch(3)
    whole = subject.run(batch).pooled
    width = whole.shape[1] // len(backbone.modalities)
    owned = {id(parameter) for parameter in backbone.parameters()}
    for place, modality in enumerate(backbone.modalities):
        tower = backbone.tower(modality)
        require(tower.modalities == (modality,), f"the {modality} tower serves {' and '.join(tower.modalities)}")
        require(tower.dim == width, f"the {modality} tower has D = {tower.dim}, its share of both is {width}")
        require({id(p) for p in tower.parameters()} <= owned, f"the {modality} tower is a copy")
        found = subject.run({modality: batch[modality]}, tower).pooled
        off = distance(found, whole[:, place * width : (place + 1) * width])
        require(off <= CLOSE, f"the {modality} tower alone differs by {off:.2g} from its part of the pooled features")
    _refuses_what_is_missing(backbone)
    return f"E = {width}, cosines times {math.exp(float(scale)):.3g}"


def _refuses_what_is_missing(backbone: DualEncoder) -> None:
    for modality in ("image", "text"):
        if modality in backbone.modalities:
            continue
        try:
            backbone.tower(modality)
        except UsageError:
            continue
        raise Broken(f"it gives a {modality} tower that was not loaded")


SPACE_LAWS = (text_space,)
