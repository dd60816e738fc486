"""What is known of an audio model without loading it: sizes, stages, and how it hears."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo import AudioPreprocess, BackboneSpec, Modality, WeightsSpec
from zoo_transformers.families import SPEECH
from zoo_transformers.folder import ModelFolder

FACTORY = "zoo_transformers.audio:build"
MODALITIES: tuple[Modality, ...] = ("audio",)

LONGEST = 30.0
"""Seconds that a speech model hears; attention grows with the square of them. Whisper's window is as long."""
RATE, WINDOW, HOP = 16_000, 400, 160
"""Of all these models, where their folder says nothing else: frames of 25 ms, one every 10 ms."""
AUDIOSET = (-4.2677393, 4.5689974)
"""Mean and deviation of AudioSet's filter banks, as the authors of AST took them."""

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "as it is": {"do_normalize": False},
    "speech-commands": {"mean": -6.845978, "std": 5.5654526},
}
"""What preprocessor_config.json says of listed weights, where it differs from the model type."""

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "whisper": {"d_model": 384, "encoder_layers": 4, "max_source_positions": 1500, "num_mel_bins": 80},
    "audio-spectrogram-transformer": {
        "hidden_size": 768, "num_hidden_layers": 12, "max_length": 1024, "num_mel_bins": 128,
    },
}  # fmt: skip
_SPEECH_DEFAULTS: Mapping[str, Any] = {"hidden_size": 768, "num_hidden_layers": 12, "do_stable_layer_norm": False}
"""Of transformers, for what a config.json leaves out."""


def folder_spec(folder: ModelFolder, architecture: str, weights: tuple[WeightsSpec, ...], key: str) -> BackboneSpec:
    """The specification of a folder.

    Args:
        folder: with a config.json of an audio model.
        architecture: the folder's path, or its hub id.
        weights: those in it.
        key: "folder" or "repo", what `architecture` is.
    """
    return _spec(folder.config, folder.preprocessor(), architecture, weights, {key: architecture})


def listed_spec(row: Mapping[str, Any]) -> BackboneSpec:
    """The specification of a line of `listed.json`."""
    repo = str(row["id"])
    weights = WeightsSpec(tag="", origin=f"hub:{repo}", licence=row["licence"], trained_on=row["trained_on"])
    config = {**row["config"], "model_type": row["family"]}
    values = VARIANTS.get(str(row["preprocess"]))
    return _spec(config, values, repo, (weights,), {"repo": repo}, int(row["params"]), row["paper"])


def audio_preprocess(values: Mapping[str, Any] | None, config: Mapping[str, Any]) -> AudioPreprocess:
    """What a feature extractor of transformers does to a recording, as a value.

    Args:
        values: of preprocessor_config.json; None: as this type of model is used to it.
        config: of config.json; what the model can take wins over what the extractor would give.
    """
    family, values = str(config["model_type"]), values or {}
    rate = int(values.get("sampling_rate", RATE))
    if family in SPEECH:
        return AudioPreprocess(rate, LONGEST, normalise="recording" if values.get("do_normalize", True) else "none")
    bins = int(_of(config, "num_mel_bins"))
    if family == "whisper":
        window, hop = int(values.get("n_fft", WINDOW)), int(values.get("hop_length", HOP))
        frames = 2 * int(_of(config, "max_source_positions"))  # the second convolution halves them
        return AudioPreprocess(rate, frames * hop / rate, "log-mel", padded=True, bins=bins, window=window, hop=hop)
    mean, std = float(values.get("mean", AUDIOSET[0])), float(values.get("std", AUDIOSET[1]))
    # AST divides by twice the deviation.
    mean, std = (mean, 2 * std) if values.get("do_normalize", True) else (0.0, 1.0)
    seconds = ((int(_of(config, "max_length")) - 1) * HOP + WINDOW) / rate
    return AudioPreprocess(
        rate, seconds, "fbank", padded=True, mean=mean, std=std, bins=bins, window=WINDOW, hop=HOP
    )  # fmt: skip


def settle(config: Any) -> Any:
    """Take out of a configuration of transformers what is drawn by chance in training, and what follows the encoder.

    SpecAugment and LayerDrop draw from global generators, and a layer that is dropped gets no gradient. The adapter of
    wav2vec2 shortens its output for a decoder that is not there.
    """
    for name in ("mask_time_prob", "mask_feature_prob", "layerdrop", "encoder_layerdrop", "decoder_layerdrop"):
        if hasattr(config, name):
            setattr(config, name, 0.0)
    if getattr(config, "add_adapter", False):
        config.add_adapter = False
    return config


def _spec(
    config: Mapping[str, Any],
    values: Mapping[str, Any] | None,
    architecture: str,
    weights: tuple[WeightsSpec, ...],
    options: Mapping[str, Any],
    params: int | None = None,
    paper: str | None = None,
) -> BackboneSpec:
    family = str(config["model_type"])
    return BackboneSpec(
        source="transformers",
        architecture=architecture,
        factory=FACTORY,
        modalities=MODALITIES,
        family=family,
        dim=int(_of(config, "d_model" if family == "whisper" else "hidden_size")),
        params=params,
        weights=weights,
        stages=_stages(config),
        preprocess={"audio": audio_preprocess(values, config)},
        paper=paper,
        options=options,
    )


def _stages(config: Mapping[str, Any]) -> tuple[str, ...]:
    family = str(config["model_type"])
    count = int(_of(config, "encoder_layers" if family == "whisper" else "num_hidden_layers"))
    layers = [f"layer.{index}" for index in range(count)]
    if family in SPEECH:
        return ("conv", "embeddings", *layers, *(("top",) if _of(config, "do_stable_layer_norm") else ()))
    return ("stem", *layers, "top")


def _of(config: Mapping[str, Any], name: str) -> Any:
    defaults = _DEFAULTS.get(str(config["model_type"]), _SPEECH_DEFAULTS)
    value = config.get(name)
    return defaults[name] if value is None else value
