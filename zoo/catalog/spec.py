"""What can be known of a backbone without loading it: frozen values, no torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

Modality = Literal["image", "text", "audio"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]

API_VERSION = 1
"""Version of the plugin contract; a plugin declares the one it was built for as `zoo_api = 1`."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class ImagePreprocess:
    """How an image becomes the tensor that these weights were trained on.

    `fit` says how the image reaches `size`:
    "crop" resizes the shorter side to `resize` and cuts the centre; "squash" resizes both sides to `size`, or where
    `resize` is greater beyond it, and cuts the centre; "pad" resizes the longer side to `size` and pads the rest with
    `fill`.
    """

    size: tuple[int, int]
    """(H, W) that the backbone sees."""
    resize: int | None = None
    """Shorter side before the centre crop; None: the shorter side of `size`."""
    fit: Literal["crop", "squash", "pad"] = "crop"
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Of values in [0, 1]; one number means grey input."""
    std: tuple[float, ...] = IMAGENET_STD
    fill: int = 0

    def resized(self, side: int) -> ImagePreprocess:
        """The same for square images of this size: what is cut off around them stays in proportion."""
        resize = None if self.resize is None else round(self.resize * side / min(self.size))
        return replace(self, size=(side, side), resize=resize)

    def in_channels(self, channels: int) -> ImagePreprocess:
        """The same for images of N channels: mean and deviation repeated in turn, averaged for one channel."""

        def spread(values: tuple[float, ...]) -> tuple[float, ...]:
            if channels == 1:
                return (sum(values) / len(values),)
            return tuple(values[i % len(values)] for i in range(channels))

        return replace(self, mean=spread(self.mean), std=spread(self.std))


@dataclass(frozen=True, slots=True)
class TextPreprocess:
    """How a text becomes token ids; the plugin that owns the weights knows how to read `tokenizer`."""

    tokenizer: str
    max_length: int
    padding_side: Literal["left", "right"] = "right"
    lower: bool = False
    prompt: str = ""
    """Stands before every text, and before the first of a pair."""


@dataclass(frozen=True, slots=True)
class AudioPreprocess:
    """How a recording becomes the tensor that these weights were trained on.

    It is mixed to one channel, resampled to `rate` and cut to `seconds` from its start; then it is the `kind`:
    "waveform" gives the samples; "log-mel" logarithms of mel energies of a Fourier transform (Whisper); "fbank" those
    of Kaldi's filter banks (AST).
    """

    rate: int
    """Samples a second that the backbone hears."""
    seconds: float | None = None
    """The longest recording; what comes later is cut off. None: no limit."""
    kind: Literal["waveform", "log-mel", "fbank"] = "waveform"
    normalise: Literal["none", "recording"] = "none"
    """"recording": each to zero mean and unit variance."""
    padded: bool = False
    """A shorter recording is filled up with silence to `seconds`, as the weights were trained."""
    mean: float = 0.0
    """Of the values that the backbone takes, after `normalise`; subtracted."""
    std: float = 1.0
    """Divided by."""
    bins: int | None = None
    """Mel bins; None for waveforms."""
    window: int | None = None
    """Samples of one frame of a spectrogram."""
    hop: int | None = None
    """Samples from one frame to the next."""


Preprocess = ImagePreprocess | TextPreprocess | AudioPreprocess


@dataclass(frozen=True, slots=True)
class WeightsSpec:
    """One set of pretrained weights: where it comes from and how its input looks."""

    tag: str
    """Upstream's own name, such as "imagenet1k_v2"; "" for sources without tags."""
    origin: str
    """`hub:owner/name[:file]`, `https://...`, `file:/path` (a file or folder) or `package:module/path`."""
    revision: str | None = None
    sha256: str | None = None
    """Full digest or a leading part of it."""
    size: int | None = None
    """Bytes on disk."""
    licence: str | None = None
    """SPDX identifier where there is one."""
    trained_on: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """As published by upstream, such as {"imagenet-1k top-1": 0.8036}."""
    preprocess: Mapping[Modality, Preprocess] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    """For the plugin's own factory."""


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """One backbone, as it can be listed, filtered and explained without importing torch."""

    source: str
    """The library or plugin it comes from, such as "torchvision"."""
    architecture: str
    """Upstream's own spelling."""
    factory: str
    """Import path `module:function` of `build(request: LoadRequest) -> Backbone`."""
    modalities: tuple[Modality, ...]
    family: str
    """Such as "resnet", "vit", "bert"; used by filters, defaults and LoRA targets."""
    dim: int | None = None
    """Pooled dimension D; None where only loading can tell."""
    params: int | None = None
    """Of the backbone alone, without any source head."""
    weights: tuple[WeightsSpec, ...] = ()
    """The first is the default."""
    image_size: int | None = None
    context_length: int | None = None
    stages: tuple[str, ...] | None = None
    """Stem to top, where known before loading."""
    preprocess: Mapping[Modality, Preprocess] = field(default_factory=dict)
    """For random weights, and for weights that name none of their own."""
    space: str | None = None
    """Towers that share a space embed image and text into one; None: no text space."""
    paper: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """For the plugin's own factory."""

    @property
    def name(self) -> str:
        """`source/architecture`, without a tag."""
        return f"{self.source}/{self.architecture}"

    def preprocess_for(self, weights: WeightsSpec | None) -> Mapping[Modality, Preprocess]:
        """The preprocessing that `weights` were trained with; the specification's own where they name none."""
        return {**self.preprocess, **(weights.preprocess if weights else {})}


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What a factory is asked to build."""

    spec: BackboneSpec
    weights: WeightsSpec | None
    """None: random weights."""
    towers: tuple[Modality, ...]
    """Which modalities are to be served; a dual encoder with one tower asked for builds that one."""
    offline: bool = False
    """Never touch the network."""
    assets: Path | None = None
    """What `Backbone.save_assets` wrote into a finished run: build from it, read no weights."""
    image_size: int | None = None
    """Side of square images that is wanted instead of the weights' own: the preprocessing already says it, and tables
    of positions are resized to it. None: that of the weights."""

    @property
    def preprocess(self) -> Mapping[Modality, Preprocess]:
        """The preprocessing of the requested weights."""
        return self.spec.preprocess_for(self.weights)


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """A head by name; `factory` is `build(dim, token_dim, outputs, dropout) -> Head`.

    One that `takes` a "pyramid" gets the maps of the stages in `Features.maps`; its `factory` is
    `build(maps: MapShapes, outputs, dropout) -> Head`.
    """

    name: str
    factory: str
    summary: str
    takes: Literal["features", "pyramid"] = "features"
    tasks: tuple[str, ...] = ("binary", "multiclass", "multilabel", "regression")
    """Kinds of task that it answers."""
    solver: str | None = None
    """Import path of `solve(features, targets, task, *, seed, class_weights) -> Solution`, for a head that can be
    solved on frozen features; None: it is trained by steps."""
    trainable: bool = True
    """Whether steps can train it; False: it can only be solved."""
    names: bool = False
    """Whether it begins with the names of the classes, so that it needs a backbone with a text space."""


@dataclass(frozen=True, slots=True)
class StrategySpec:
    """A strategy by name; `factory` is a dataclass with `phases(stages)`.

    Its fields `unfreeze` and `backbone_lr`, where it has them, get what the user chose.
    """

    name: str
    factory: str
    summary: str


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """A transferability score by name; `factory` is `score(features, targets) -> float`, greater for better.

    Targets are (N,) class indices; (N, K) bool where `tasks` has "multilabel", (N, K) floats where it has "regression".
    """

    name: str
    factory: str
    summary: str
    tasks: tuple[str, ...] = ("binary", "multiclass")
    """Kinds of task that it scores."""
    needs: Literal["features", "source"] = "features"
    """What it is given: (N, D) features, or (N, Z) probabilities that the source's own head gives to its Z classes."""
    rows: str | None = None
    """Import path of `values(features, targets) -> (N,)`, of which the score is the mean; its interval is then that of
    a mean over rows. None: the score is computed anew without a tenth of the rows each time."""
    paper: str | None = None


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """A built-in or installable data set by name; `factory` is `load() -> zoo.data.Table`."""

    name: str
    factory: str
    modalities: tuple[Modality, ...]
    task: str
    rows: int | None
    summary: str
    licence: str | None = None


@dataclass(frozen=True, slots=True)
class ExporterSpec:
    """A file format a run can be exported to."""

    name: str
    factory: str
    summary: str


def fingerprint(value: Any) -> str:
    """sha256 of a specification, preprocess value or plain JSON value, for cache keys and runs."""
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
