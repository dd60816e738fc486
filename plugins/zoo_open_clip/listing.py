"""What open_clip offers, read from `catalogue.json`; imports neither torch nor open_clip."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Mapping
from typing import Any

from zoo import BackboneSpec, ImagePreprocess, Modality, TextPreprocess, WeightsSpec
from zoo_open_clip.config import image_preprocess

SOURCE = "open_clip"
FACTORY = "zoo_open_clip.backbone:build"
TOWERS: tuple[Modality, ...] = ("image", "text")
LOCAL, HUB = "local-dir:", "hf-hub:"
"""open_clip's own prefixes of a folder and of a hub repository in its format."""

WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
"""In the order in which open_clip looks for weights in a folder."""

_PAPERS = {
    "clip": "2103.00020",
    "siglip": "2303.15343",
    "siglip2": "2502.14786",
    "coca": "2205.01917",
    "clipa": "2305.07017",
    "eva-clip": "2303.15389",
    "mobileclip": "2311.17049",
    "mobileclip2": "2508.20691",
    "vitamin": "2404.02132",
    "pe-core": "2504.13181",
    "nllb-clip": "2309.01859",
}

_DATA_SETS = (
    ("openai", "WIT-400M"),
    ("laion400m", "LAION-400M"),
    ("laion2b", "LAION-2B"),
    ("laion5b", "LAION-5B"),
    ("laion_aesthetic", "LAION-Aesthetic"),
    ("laiona", "LAION-Aesthetic"),
    ("frozen_laion5b", "LAION-5B"),
    ("merged2b", "Merged-2B"),
    ("datacomp_xl", "DataComp-1B"),
    ("datacomp1b", "DataComp-1B"),
    ("datacomp_l", "DataComp-140M"),
    ("datacomp_m", "DataComp-14M"),
    ("datacomp_s", "DataComp-1.4M"),
    ("datacompdr", "DataCompDR-1B"),
    ("commonpool", "CommonPool"),
    ("metaclip2_worldwide", "MetaCLIP 2 worldwide"),
    ("metaclip_400m", "MetaCLIP-400M"),
    ("metaclip_fullcc", "MetaCLIP-2.5B"),
    ("metaclip", "MetaCLIP"),
    ("dfndr2b", "DFNDR-2B"),
    ("dfn2b", "DFN-2B"),
    ("dfn5b", "DFN-5B"),
    ("webli", "WebLI"),
    ("yfcc15m", "YFCC-15M"),
    ("cc12m", "CC-12M"),
    ("mscoco", "MS-COCO"),
)
"""Longer words stand before those they begin with."""


def listed() -> list[BackboneSpec]:
    """Every architecture of the data file, those without weights too."""
    data = _data()
    preprocess, stages = data["preprocess"], [tuple(names) for names in data["stages"]]
    return [_spec(row, family, preprocess, stages) for family, rows in data["families"].items() for row in rows]


def recorded_version() -> str:
    """The open_clip that the data file was made from."""
    return str(_data()["open_clip"])


def family_of(architecture: str, model: Mapping[str, Any]) -> str:
    """The kind of dual encoder."""
    name = architecture.casefold()
    if "multimodal_cfg" in model:
        return "coca"
    for family in ("nllb-clip", "mobileclip2", "mobileclip", "siglip2", "siglip", "clipa", "vitamin", "pe-core"):
        if family in name:
            return family
    return "eva-clip" if name.startswith("eva") else "clip"


def trained_on(tag: str) -> str | None:
    """The data sets that a tag names; None where it names none that we know."""
    found, rest = [], tag
    for word, data_set in _DATA_SETS:
        if word in rest:
            found.append(data_set)
            rest = rest.replace(word, "")
    return ", then ".join(dict.fromkeys(found)) or None


def origin_of(tag: Mapping[str, Any]) -> str:
    """Where the weights of a tag lie; open_clip takes the hub first, then the URL."""
    hub = str(tag.get("hf_hub") or "")
    if not hub:
        return str(tag["url"])
    repo, _, file = hub.rpartition("/")
    return f"hub:{repo}:{file}" if file else f"hub:{repo}"


def weights_of(
    tag: str, origin: str, size: tuple[int, int], preprocess: Mapping[str, Any], *, quick_gelu: bool
) -> WeightsSpec:
    """One pretrained tag."""
    return WeightsSpec(
        tag=tag,
        origin=origin,
        trained_on=trained_on(tag),
        preprocess={"image": image_preprocess(size, preprocess)},
        options={"quick_gelu": True} if quick_gelu else {},
    )


def paper_of(family: str) -> str:
    """Address of the paper of a family."""
    return f"https://arxiv.org/abs/{_PAPERS[family]}"


def _data() -> Any:
    return json.loads((importlib.resources.files(__package__) / "catalogue.json").read_text(encoding="utf-8"))


def _spec(row: list[Any], family: str, preprocess: list[Any], stages: list[tuple[str, ...]]) -> BackboneSpec:
    architecture, dim, params, image_stages, text_stages, image, text, tags = row
    size = (image[0], image[1])
    own: Mapping[Modality, ImagePreprocess | TextPreprocess] = {
        "image": image_preprocess(size, {}),
        "text": TextPreprocess(text[0], text[1], lower=text[2]),
    }
    return BackboneSpec(
        source=SOURCE,
        architecture=architecture,
        factory=FACTORY,
        modalities=TOWERS,
        family=family,
        dim=dim,
        params=params,
        weights=tuple(
            weights_of(tag, origin, size, preprocess[place], quick_gelu=bool(quick))
            for tag, origin, place, quick in tags
        ),
        image_size=size[0],
        context_length=text[1],
        stages=None if text_stages is None else stages[image_stages] + stages[text_stages],
        preprocess=own,
        space=f"{SOURCE}/{architecture}",
        paper=paper_of(family),
    )
