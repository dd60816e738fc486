"""The well-known hub ids, from `listed.json`, which `make_listed.py` writes."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo import BackboneSpec, ImagePreprocess, Modality, TextPreprocess, WeightsSpec
from zoo_transformers import audio_spec, idefics_spec
from zoo_transformers.families import HEARS
from zoo_transformers.images import DEFAULTS

DATA = Path(__file__).parent / "listed.json"

_SHORT = {"minilm": "sentence-transformers/all-MiniLM-L6-v2", "mpnet": "sentence-transformers/all-mpnet-base-v2"}
"""What people call them."""


@functools.cache
def listed() -> tuple[BackboneSpec, ...]:
    """One specification for each hub id."""
    return tuple(_spec(row) for row in json.loads(DATA.read_text(encoding="utf-8")))


@functools.cache
def aliases() -> Mapping[str, BackboneSpec]:
    """Well-known ids with and without their owner, in lower case; the first listed where two owners use one name."""
    found: dict[str, BackboneSpec] = {}
    by_name = {spec.architecture: spec for spec in listed()}
    for spec in listed():
        found.setdefault(spec.architecture.rpartition("/")[2].casefold(), spec)
        found[spec.architecture.casefold()] = spec
    return {**found, **{short: by_name[name] for short, name in _SHORT.items()}}


def _spec(row: Mapping[str, Any]) -> BackboneSpec:
    if row["family"] == idefics_spec.FAMILY:
        return idefics_spec.listed_spec(row)
    if row["family"] in HEARS:
        return audio_spec.listed_spec(row)
    repo = str(row["id"])
    modality: Modality = row["modality"]
    preprocess: dict[Modality, ImagePreprocess | TextPreprocess] = (
        {"image": _image(row)} if modality == "image" else {"text": TextPreprocess(repo, int(row["length"]))}
    )
    return BackboneSpec(
        source="transformers",
        architecture=repo,
        factory="zoo_transformers.vision:build" if modality == "image" else "zoo_transformers.text:build",
        modalities=(modality,),
        family=row["family"],
        dim=row["dim"],
        params=row["params"],
        weights=(WeightsSpec(tag="", origin=f"hub:{repo}", licence=row["licence"], trained_on=row["trained_on"]),),
        image_size=row["size"],
        context_length=row["context"],
        stages=tuple(row["stages"]),
        preprocess=preprocess,
        paper=row["paper"],
        options={"repo": repo},
    )


def _image(row: Mapping[str, Any]) -> ImagePreprocess:
    base = DEFAULTS[row["preprocess"]]
    size = int(row["size"])
    resize = None if base.resize is None else round(base.resize * size / 224)
    return ImagePreprocess((size, size), resize, base.fit, base.interpolation, base.mean, base.std)
