"""From an open-ended name to a specification: a folder, a hub id, or a well-known id without its owner."""

from __future__ import annotations

import os
import re
from pathlib import Path

from zoo import BackboneSpec, ImagePreprocess, Modality, TextPreprocess, UsageError, WeightsSpec
from zoo_transformers import audio_spec, idefics_spec
from zoo_transformers.families import AUDIO, PAIRED
from zoo_transformers.folder import ModelFolder, open_folder
from zoo_transformers.images import image_preprocess
from zoo_transformers.listed import aliases

TEXT_FACTORY = "zoo_transformers.text:build"
IMAGE_FACTORY = "zoo_transformers.vision:build"
ANY_FACTORY = "zoo_transformers.either:build"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def resolve(name: str) -> BackboneSpec | None:
    """A specification for `name`, or None if it is neither a folder, a well-known id nor like a hub id.

    Raises:
        WeightsError: a folder whose config.json is damaged.
        UsageError: a folder of a model that takes neither a text, an image nor a recording alone.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        folder = open_folder(path)
        return None if folder is None else folder_spec(folder)
    if (known := aliases().get(name.casefold())) is not None:
        return known
    if _HUB_ID.fullmatch(name) is None or not _may_be_hub(name):
        return None
    return hub_spec(name)


def folder_spec(folder: ModelFolder) -> BackboneSpec | None:
    """The specification of a local folder; None if another plugin should have it."""
    if folder.facts.family in PAIRED | AUDIO and (folder.path / "open_clip_config.json").is_file():
        return None
    path = folder.path.resolve()
    size = sum(file.stat().st_size for file in folder.weight_files())
    weights = WeightsSpec(tag="", origin=f"file:{path}", size=size)
    return _described(folder, str(path), (weights,) if size else ())


def hub_spec(repo: str) -> BackboneSpec:
    """The specification of a hub id: what its cached config.json tells, or little where nothing is cached."""
    weights = (WeightsSpec(tag="", origin=f"hub:{repo}"),)
    cached = cached_folder(repo)
    if cached is not None and (folder := open_folder(cached)) is not None:
        return _described(folder, repo, weights)
    name = repo.casefold()
    modality: Modality = "image" if _SEES.search(name) else "audio" if _HEARS.search(name) else "text"
    joint = _JOINT.search(repo.casefold()) is not None
    return BackboneSpec(
        source="transformers",
        architecture=repo,
        factory=ANY_FACTORY,
        modalities=idefics_spec.MODALITIES if joint else (modality,),
        family="unknown",
        weights=weights,
        options={"repo": repo},
    )


def cached_folder(repo: str, revision: str | None = None) -> Path | None:
    """The snapshot of a hub repository in the local cache; looked up by path, so that nothing is imported."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
    top = cache / f"models--{repo.replace('/', '--')}"
    reference = top / "refs" / (revision or "main")
    try:
        commit = reference.read_text(encoding="utf-8").strip()
    except OSError:
        commit = revision or ""
    snapshot = top / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


_SEES = re.compile(
    r"vit\b|vit-|deit|beit-|swin|dino|convnext|resnet|regnet|mobilenet|mobilevit|levit|efficientnet|poolformer|hiera"
)
"""Names of repositories that are not cached: the modality is a guess until they are loaded."""
_HEARS = re.compile(r"wav2vec2|hubert|wavlm|whisper|/ast-")
_JOINT = re.compile(r"idefics-")


def _may_be_hub(name: str) -> bool:
    """Whether `owner/name` cannot be meant as a path or as a backbone of another source."""
    return not Path(name).exists() and not name.endswith((".py", ".csv", ".json", ".safetensors", ".pt", ".pth"))


def _described(folder: ModelFolder, architecture: str, weights: tuple[WeightsSpec, ...]) -> BackboneSpec:
    facts = folder.facts
    key = "repo" if weights and weights[0].origin.startswith("hub:") else "folder"
    if facts.family == idefics_spec.FAMILY:
        return idefics_spec.folder_spec(folder, architecture, weights, key)
    if facts.modality == "audio":
        return audio_spec.folder_spec(folder, architecture, weights, key)
    if facts.family in PAIRED | AUDIO:
        raise UsageError(
            f"{architecture} is a {facts.family} model, which takes "
            + ("sound in a way that zoo does not know" if facts.family in AUDIO else "image and text together"),
            help="for CLIP and SigLIP use open_clip/ARCHITECTURE; `zoo list --source transformers` shows others",
        )
    preprocess: dict[Modality, ImagePreprocess | TextPreprocess]
    if facts.modality == "image":
        preprocess = {"image": image_preprocess(folder.preprocessor(), folder.config)}
    else:
        preprocess = {"text": folder.text_preprocess(architecture)}
    dim, top = facts.dim, False if facts.modality == "image" else folder.keeps_pooler()
    if facts.modality == "text":
        summary = folder.summary()
        dim = None if dim is None else summary.width(dim)
        # Layers after the pooling are a top, as a pooler is.
        top = True if summary.dense else top
    return BackboneSpec(
        source="transformers",
        architecture=architecture,
        factory=IMAGE_FACTORY if facts.modality == "image" else TEXT_FACTORY,
        modalities=(facts.modality,),
        family=facts.family,
        dim=dim,
        weights=weights,
        image_size=preprocess["image"].size[0] if facts.modality == "image" else None,  # type: ignore[union-attr]
        context_length=facts.context,
        stages=None if top is None else facts.stages(pooler=top),
        preprocess=preprocess,
        options={key: architecture},
    )
