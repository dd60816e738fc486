"""Backbones of hub ids whose modality only their configuration tells."""

from __future__ import annotations

from zoo import Backbone, LoadRequest
from zoo_transformers import audio, idefics, idefics_spec, text, vision
from zoo_transformers.opening import model_folder


def build(request: LoadRequest) -> Backbone:
    """A backbone of text, image, both or sound, whichever the configuration turns out to be."""
    folder = model_folder(request)
    if folder.facts.family == idefics_spec.FAMILY:
        return idefics.build(request)
    if folder.facts.modality == "audio":
        return audio.build(request)
    return vision.build(request) if folder.facts.modality == "image" else text.build(request)
