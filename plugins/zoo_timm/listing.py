"""What timm offers, read from `catalogue.json`; imports neither torch nor timm."""

from __future__ import annotations

import importlib.resources
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from zoo import BackboneSpec, ImagePreprocess, Modality, WeightsSpec

FACTORY = "zoo_timm.backbone:build"
HUB = "hub:timm/"
"""Most weights lie at `timm/<architecture>.<tag>`; their origin is not written out in the data file."""

_DATA_SETS = {
    "in1k": "ImageNet-1k",
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "in22k": "ImageNet-22k",
    "inw21k": "ImageNet-21k",
    "jft": "JFT-300M",
    "ig1b": "Instagram-1B",
    "laion2b": "LAION-2B",
    "laion400m": "LAION-400M",
    "laiona": "LAION-Aesthetic",
    "datacompxl": "DataComp-1B",
    "datacomp1b": "DataComp-1B",
    "dfn2b": "DFN-2B",
    "dfn5b": "DFN-5B",
    "webli": "WebLI",
    "lvd142m": "LVD-142M",
    "lvd1689m": "LVD-1689M",
    "sat493m": "SAT-493M",
    "sa1b": "SA-1B",
    "yfcc15m": "YFCC-15M",
    "yfcc100m": "YFCC-100M",
    "cc12m": "CC-12M",
    "merged2b": "Merged-2B",
}


def listed() -> list[BackboneSpec]:
    """Every architecture of the data file, those without weights too."""
    text = (importlib.resources.files(__package__) / "catalogue.json").read_text(encoding="utf-8")
    data = json.loads(text)
    # Shared by all that have the same: a specification is frozen, and nobody writes into these mappings.
    inputs: list[Mapping[Modality, ImagePreprocess]] = [{"image": _preprocess(row)} for row in data["preprocess"]]
    licences, trained_on, stages = data["licences"], data["trained_on"], [tuple(names) for names in data["stages"]]
    specs = []
    for family, rows in data["families"].items():
        for architecture, dim, params, staged, default, paper, tags in rows:
            own = inputs[default]
            weights = tuple(
                WeightsSpec(
                    tag=tag,
                    origin=origin or f"{HUB}{architecture}.{tag}",
                    licence=licences[licence],
                    trained_on=trained_on[trained],
                    preprocess=inputs[row],
                )
                for tag, origin, row, licence, trained in tags
            )
            specs.append(
                BackboneSpec(
                    source="timm",
                    architecture=architecture,
                    factory=FACTORY,
                    modalities=("image",),
                    family=family,
                    dim=dim,
                    params=params,
                    weights=weights,
                    image_size=own["image"].size[0],
                    stages=stages[staged],
                    preprocess=own,
                    paper=paper,
                )
            )
    return specs


def recorded_version() -> str:
    """The timm that the data file was made from."""
    text = (importlib.resources.files(__package__) / "catalogue.json").read_text(encoding="utf-8")
    return str(json.loads(text)["timm"])


def preprocess_of(config: Mapping[str, Any]) -> ImagePreprocess:
    """How timm prepares an image in evaluation for weights with this `pretrained_cfg`."""
    return _preprocess(preprocess_row(config))


def preprocess_row(config: Mapping[str, Any]) -> list[Any]:
    """[H, W, resize, fit, interpolation, mean, std, fill] as written to the data file.

    timm resizes to floor(size / crop_pct), then cuts ("center"), squashes and cuts ("squash"),
    or fits the longer side and pads with the mean ("border").
    """
    _, height, width = config.get("input_size") or (3, 224, 224)
    resize = math.floor(min(height, width) / (config.get("crop_pct") or 0.875))
    fit = {"squash": "squash", "border": "pad"}.get(config.get("crop_mode") or "center", "crop")
    mean, std = list(config["mean"]), list(config["std"])
    fill = round(255 * mean[0]) if fit == "pad" else 0
    kept = None if resize == min(height, width) else resize
    return [height, width, kept, fit, config.get("interpolation") or "bicubic", mean, std, fill]


def origin_of(config: Mapping[str, Any]) -> str | None:
    """Where the weights lie; timm takes the hub first, then the URL."""
    hub = config.get("hf_hub_id")
    if hub:
        file = config.get("hf_hub_filename")
        return f"hub:{hub}:{file}" if file else f"hub:{hub}"
    return config.get("url") or None


def trained_on(tag: str) -> str | None:
    """The data sets that a tag names, in the order of training; None where it names none that we know."""
    found = [_DATA_SETS[word] for word in tag.split("_") if word in _DATA_SETS]
    return ", then ".join(dict.fromkeys(found)) or None


def _preprocess(row: Sequence[Any]) -> ImagePreprocess:
    height, width, resize, fit, interpolation, mean, std, fill = row
    return ImagePreprocess((height, width), resize, fit, interpolation, tuple(mean), tuple(std), fill)
