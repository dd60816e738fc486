"""What this plugin offers. Nothing heavy is imported here: listing must stay instant."""

from __future__ import annotations

from collections.abc import Iterable

from zoo import BackboneSpec, ImagePreprocess, hookimpl

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
