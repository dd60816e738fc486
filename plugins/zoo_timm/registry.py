"""Specifications straight from the installed timm; imports it."""

from __future__ import annotations

from typing import Any

import timm
from timm.models import PretrainedCfg, get_arch_pretrained_cfgs, get_pretrained_cfg

from zoo import BackboneSpec, WeightsSpec
from zoo_timm.listing import FACTORY, origin_of, preprocess_of, trained_on


def spec_of(architecture: str, tag: str | None = None) -> BackboneSpec | None:
    """One architecture of the installed timm, with `tag` as its default weights; None if there is no such."""
    if not timm.is_model(architecture):
        return None
    weights = [
        WeightsSpec(
            tag=each,
            origin=origin,
            licence=config.get("license"),
            trained_on=trained_on(each),
            preprocess={"image": preprocess_of(config)},
        )
        for each, origin, config in tags_of(architecture)
    ]
    if tag is not None and tag not in [each.tag for each in weights]:
        return None
    weights.sort(key=lambda each: each.tag != tag)
    own = preprocess_of(own_config(architecture))
    return BackboneSpec(
        source="timm",
        architecture=architecture,
        factory=FACTORY,
        modalities=("image",),
        family=family_of(architecture),
        weights=tuple(weights),
        image_size=own.size[0],
        preprocess={"image": own},
    )


def tags_of(architecture: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(tag, origin, configuration) of every set of weights, the default first."""
    configs = get_arch_pretrained_cfgs(architecture)
    found = []
    for name, config in configs.items():
        values = _plain(config)
        origin = origin_of(values)
        if origin is not None:
            found.append((name.partition(".")[2], origin, values))
    default = own_config(architecture).get("tag")
    return sorted(found, key=lambda row: row[0] != default)


def own_config(architecture: str) -> dict[str, Any]:
    """What timm uses where no tag is named."""
    config = get_pretrained_cfg(architecture)
    return _plain(config or PretrainedCfg())


def family_of(architecture: str) -> str:
    """The timm module that defines the architecture, such as "resnet"."""
    return str(timm.model_entrypoint(architecture).__module__).rpartition(".")[2]


def _plain(config: Any) -> dict[str, Any]:
    return dict(config.to_dict())
