"""The published models as specifications, and how their inputs look. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo import AudioPreprocess, BackboneSpec, ImagePreprocess, Modality, TextPreprocess, WeightsSpec
from zoo_unified_io.sizes import PUBLISHED, stage_names

SOURCE = "unified_io"
FACTORY = "zoo_unified_io.backbone:build"
MODALITIES: tuple[Modality, ...] = ("image", "text", "audio")
PAPER = "https://arxiv.org/abs/2312.17172"
TOKENIZER = "tokenizer.model"
"""Of LLaMA; gated, so that the user brings it."""
LONGEST_TEXT = 512
"""Tokens."""
SEGMENT = 4.08
"""Seconds of a recording that become one spectrogram."""
FRAMES = 8
"""Images or segments of the history at most: the vocabulary has a name for each of so many."""

PREPROCESS: Mapping[Modality, Any] = {
    "image": ImagePreprocess(
        size=(384, 384),
        fit="pad",
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
    ),
    "text": TextPreprocess(tokenizer=TOKENIZER, max_length=LONGEST_TEXT),
    "audio": AudioPreprocess(
        rate=16_000, seconds=SEGMENT * (FRAMES + 1), kind="log-mel", bins=128, window=1024, hop=256
    ),
}

_PARAMS = {"uio2-large": 527_653_632, "uio2-xl": 1_445_624_576, "uio2-xxl": 3_045_282_112}
"""Of everything in front of the decoder; a test counts them."""


def listed() -> list[BackboneSpec]:
    """Large, XL and XXL."""
    return [
        BackboneSpec(
            source=SOURCE,
            architecture=name,
            factory=FACTORY,
            modalities=MODALITIES,
            family="unified_io",
            dim=sizes.width,
            params=_PARAMS[name],
            weights=(WeightsSpec(tag="", origin=f"hub:allenai/{name}", licence="Apache-2.0"),),
            image_size=384,
            context_length=LONGEST_TEXT,
            stages=stage_names(sizes),
            preprocess=PREPROCESS,
            paper=PAPER,
            options={"sizes": sizes.to_json()},
        )
        for name, sizes in PUBLISHED.items()
    ]
