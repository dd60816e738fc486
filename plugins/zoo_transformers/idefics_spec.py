"""What is known of Idefics, an open Flamingo, without loading it: sizes, stages, preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo import BackboneSpec, ImagePreprocess, Modality, TextPreprocess, WeightsSpec
from zoo_transformers.folder import ModelFolder
from zoo_transformers.images import CLIP_MEAN, CLIP_STD, image_preprocess

FACTORY = "zoo_transformers.idefics:build"
FAMILY = "idefics"
MODALITIES: tuple[Modality, ...] = ("image", "text")
PAPER = "https://arxiv.org/abs/2204.14198"
"""Flamingo; that of its data and reproduction is https://arxiv.org/abs/2306.16527."""

_DEFAULTS: Mapping[str, int] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "cross_layer_interval": 1,
    "max_position_embeddings": 2048,
}
_VISION_DEFAULTS: Mapping[str, int] = {"num_hidden_layers": 32, "image_size": 224}
"""Of transformers, which leaves what is at its default out of a config.json."""


def folder_spec(folder: ModelFolder, architecture: str, weights: tuple[WeightsSpec, ...], key: str) -> BackboneSpec:
    """The specification of a folder.

    Args:
        folder: with a config.json of the type idefics.
        architecture: the folder's path, or its hub id.
        weights: those in it.
        key: "folder" or "repo", what `architecture` is.
    """
    length = min(folder.max_length(), number(folder.config, "max_position_embeddings"))
    return spec_of(
        folder.config,
        architecture=architecture,
        weights=weights,
        preprocess={
            "image": images_of(folder.preprocessor(), folder.config),
            "text": TextPreprocess(architecture, length, folder.text_preprocess(architecture).padding_side),
        },
        options={key: architecture},
    )


def listed_spec(row: Mapping[str, Any]) -> BackboneSpec:
    """The specification of a line of `listed.json`."""
    repo, config = str(row["id"]), row["config"]
    weights = WeightsSpec(tag="", origin=f"hub:{repo}", licence=row["licence"], trained_on=row["trained_on"])
    return spec_of(
        config,
        architecture=repo,
        weights=(weights,),
        preprocess={
            "image": images_of(None, config),
            "text": TextPreprocess(repo, number(config, "max_position_embeddings")),
        },
        options={"repo": repo},
        params=int(row["params"]),
    )


def spec_of(
    config: Mapping[str, Any],
    *,
    architecture: str,
    weights: tuple[WeightsSpec, ...],
    preprocess: Mapping[Modality, ImagePreprocess | TextPreprocess],
    options: Mapping[str, Any],
    params: int | None = None,
) -> BackboneSpec:
    """The specification that a config.json makes."""
    return BackboneSpec(
        source="transformers",
        architecture=architecture,
        factory=FACTORY,
        modalities=MODALITIES,
        family=FAMILY,
        dim=number(config, "hidden_size"),
        params=params,
        weights=weights,
        image_size=_image_size(config),
        context_length=number(config, "max_position_embeddings"),
        stages=stage_names(config, MODALITIES),
        preprocess=preprocess,
        paper=PAPER,
        options=options,
    )


def stage_names(config: Mapping[str, Any], towers: tuple[Modality, ...]) -> tuple[str, ...]:
    """In run order: what sees, what resamples, then each gated cross-attention with its decoder layers, and the top."""
    seeing: list[str] = []
    if "image" in towers:
        layers = int(_vision(config).get("num_hidden_layers", _VISION_DEFAULTS["num_hidden_layers"]))
        seeing = ["vision.stem", *(f"vision.layer.{index}" for index in range(layers))]
        seeing += ["perceiver"] if config.get("use_resampler") else []
    blocks = number(config, "num_hidden_layers") // number(config, "cross_layer_interval")
    return (*seeing, "embeddings", *(f"block.{index}" for index in range(blocks)), "top")


def images_of(values: Mapping[str, Any] | None, config: Mapping[str, Any]) -> ImagePreprocess:
    """What the image processor of Idefics does: both sides resized to one square, whatever the image's proportions.

    Args:
        values: preprocessor_config.json; None: as the published weights were trained.
        config: config.json.
    """
    told = dict(values or {})
    side = told.pop("image_size", _image_size(config))
    size = told.get("size", side)
    told["size"] = {"height": size, "width": size} if isinstance(size, int) else size
    usual = {"resample": 3, "image_mean": list(CLIP_MEAN), "image_std": list(CLIP_STD)}
    return image_preprocess({**usual, **told}, {"model_type": FAMILY})


def number(config: Mapping[str, Any], name: str) -> int:
    """A size out of a config.json, or its default."""
    return int(config.get(name) or _DEFAULTS[name])


def _vision(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return config.get("vision_config") or {}


def _image_size(config: Mapping[str, Any]) -> int:
    return int(_vision(config).get("image_size", _VISION_DEFAULTS["image_size"]))
