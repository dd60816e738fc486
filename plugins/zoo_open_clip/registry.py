"""Specifications straight from the installed open_clip; imports it."""

from __future__ import annotations

from typing import Any

import open_clip

from zoo import BackboneSpec
from zoo_open_clip.config import ModelConfig
from zoo_open_clip.listing import FACTORY, SOURCE, TOWERS, family_of, origin_of, paper_of, weights_of


def spec_of(name: str) -> BackboneSpec | None:
    """One architecture of the installed open_clip, `name` with or without a tag; None if there is no such."""
    architecture, tag = name, None
    if name not in open_clip.list_models():
        architecture, _, tag = name.rpartition(".")
    if architecture not in open_clip.list_models() or (tag and tag not in dict(tags_of(architecture))):
        return None
    config = ModelConfig(open_clip.get_model_config(architecture))
    family = family_of(architecture, config.model)
    weights = [
        weights_of(each, origin_of(row), config.image_size, row, quick_gelu=bool(row.get("quick_gelu")))
        for each, row in tags_of(architecture)
    ]
    weights.sort(key=lambda each: each.tag != tag)
    return BackboneSpec(
        source=SOURCE,
        architecture=architecture,
        factory=FACTORY,
        modalities=TOWERS,
        family=family,
        dim=int(config.model["embed_dim"]),
        weights=tuple(weights),
        image_size=config.image_size[0],
        context_length=config.context_length,
        preprocess=config.preprocess_of_inputs(),
        space=f"{SOURCE}/{architecture}",
        paper=paper_of(family),
    )


def tags_of(architecture: str) -> list[tuple[str, dict[str, Any]]]:
    """(tag, configuration) of every set of weights, in upstream's order."""
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    return [(tag, dict(open_clip.get_pretrained_cfg(architecture, tag))) for tag in tags]
