"""Widths and depths: those of the published models, and how they are written into a specification. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class ViTSizes:
    """Of the ViT in front of the encoder."""

    width: int
    heads: int
    layers: int
    mlp: int
    patch: int
    """Numbers a patch: 16 x 16 x channels."""
    positions: int
    """Of the table in the checkpoint, class tokens and all."""


@dataclass(frozen=True, slots=True)
class ResamplerSizes:
    """Of the latents that sum up an image or a recording of the history."""

    width: int
    heads: int
    head_dim: int
    layers: int
    mlp: int
    latents: int
    attention: Literal["base", "cosine"] = "base"
    """"base": normalised queries and keys (large, xl); "cosine": likeness times a learned factor (xxl)."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a whole encoder."""

    vocabulary: int
    width: int
    heads: int
    head_dim: int
    layers: int
    mlp: int
    image: ViTSizes
    audio: ViTSizes
    image_history: ResamplerSizes
    audio_history: ResamplerSizes

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `sizes_from_json`."""
        return asdict(self)


def sizes_from_json(values: Mapping[str, Any]) -> Sizes:
    """What `Sizes.to_json` gave."""
    vits = {name: ViTSizes(**values[name]) for name in ("image", "audio")}
    resamplers = {name: ResamplerSizes(**values[name]) for name in ("image_history", "audio_history")}
    return Sizes(**{**values, **vits, **resamplers})


def stage_names(sizes: Sizes, modalities: Sequence[str] = ("image", "text", "audio")) -> tuple[str, ...]:
    """The stages of an encoder that serves these modalities, in run order."""
    names = ["text"] if "text" in modalities else []
    for kind, vit in (("image", sizes.image), ("audio", sizes.audio)):
        if kind in modalities:
            blocks = [f"{kind}.blocks.{index}" for index in range(vit.layers)]
            names += [f"{kind}.stem", *blocks, f"{kind}.top", f"{kind}.history"]
    return (*names, *(f"layers.{index}" for index in range(sizes.layers)))


def _published(width: int, heads: int, mlp: int, inner: ResamplerSizes, latents: tuple[int, int] = (32, 16)) -> Sizes:
    resamplers = [ResamplerSizes(**{**asdict(inner), "latents": count}) for count in latents]
    return Sizes(
        vocabulary=33_280,
        width=width,
        heads=heads,
        head_dim=width // heads,
        layers=24,
        mlp=mlp,
        image=ViTSizes(width=768, heads=12, layers=11, mlp=3072, patch=16 * 16 * 3, positions=1 + 14 * 14),
        audio=ViTSizes(width=768, heads=12, layers=11, mlp=3072, patch=16 * 16, positions=2 + 8 * 64),
        image_history=resamplers[0],
        audio_history=resamplers[1],
    )


PUBLISHED: Mapping[str, Sizes] = {
    "uio2-large": _published(1024, 16, 2816, ResamplerSizes(768, 12, 64, 2, 2048, 0)),
    "uio2-xl": _published(2048, 16, 5120, ResamplerSizes(1024, 16, 64, 2, 4096, 0)),
    "uio2-xxl": _published(3072, 24, 8192, ResamplerSizes(1024, 16, 64, 2, 4096, 0, "cosine")),
}
"""By the paper's table and the number of parameters in each part; where there are weights, their shapes decide."""
