"""Names that are not listed: folders in timm's format, newer architectures."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Mapping
from pathlib import Path

from zoo import BackboneSpec, ImagePreprocess, Modality, WeightsSpec
from zoo_timm.listing import FACTORY, preprocess_of, recorded_version


def resolve(name: str) -> BackboneSpec | None:
    """A folder with timm's `config.json`, or an architecture newer than the data file."""
    folder = Path(name).expanduser()
    if _is_timm_folder(folder):
        return _from_folder(name, folder)
    architecture, _, tag = name.partition(".")
    # The import of timm costs seconds; with the recorded version installed the data file is complete.
    if not re.fullmatch(r"[a-z0-9_]+", architecture) or _installed() in (None, recorded_version()):
        return None
    from zoo_timm.registry import spec_of

    return spec_of(architecture, tag or None)


def _installed() -> str | None:
    try:
        return importlib.metadata.version("timm")
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_timm_folder(folder: Path) -> bool:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (
        isinstance(config, dict)
        and isinstance(config.get("architecture"), str)
        and isinstance(config.get("pretrained_cfg"), dict)
        and isinstance(config.get("model_args") or {}, dict)
    )


def _from_folder(name: str, folder: Path) -> BackboneSpec:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    defaults = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    inputs: Mapping[Modality, ImagePreprocess] = {"image": preprocess_of({**defaults, **config["pretrained_cfg"]})}
    return BackboneSpec(
        source="timm",
        architecture=name,
        factory=FACTORY,
        modalities=("image",),
        family=config["architecture"].partition("_")[0],
        weights=(WeightsSpec(tag="", origin=f"file:{folder.resolve()}", preprocess=inputs),),
        image_size=inputs["image"].size[0],
        preprocess=inputs,
        options={
            "architecture": config["architecture"],
            "pretrained_cfg": config["pretrained_cfg"],
            # timm records the number of classes among them; the classifier is taken off.
            "model_args": {k: v for k, v in (config.get("model_args") or {}).items() if k != "num_classes"},
        },
    )
