"""What this plugin offers. Nothing heavy is imported here: listing must stay instant."""

from __future__ import annotations

from collections.abc import Iterable

from zoo import BackboneSpec, HeadSpec, ImagePreprocess, ScorerSpec, hookimpl

zoo_api = 1


@hookimpl
def zoo_backbones() -> Iterable[BackboneSpec]:
    """One MLP-Mixer, small enough for a CPU."""
    return [
        BackboneSpec(
            source="mixer",
            architecture="mixer-tiny",
            factory="zoo_mixer.adapter:build",
            modalities=("image",),
            family="mixer",
            dim=128,
            params=323_968,
            image_size=64,
            stages=("patches", "block1", "block2", "block3", "block4"),
            preprocess={"image": ImagePreprocess(size=(64, 64), resize=72)},
            paper="https://arxiv.org/abs/2105.01601",
            options={"patch": 8, "depth": 4},
        )
    ]


@hookimpl
def zoo_heads() -> Iterable[HeadSpec]:
    """A head that any backbone can take, those of other plugins too."""
    return [HeadSpec("cosine-prototypes", "zoo_mixer.head:build", "likeness to one learned direction a class")]


@hookimpl
def zoo_scorers() -> Iterable[ScorerSpec]:
    """A score that ranks backbones without training."""
    summary = "leave-one-out accuracy of the nearest class mean"
    return [ScorerSpec("nearest-centroid", "zoo_mixer.scorer:nearest_centroid", summary)]
