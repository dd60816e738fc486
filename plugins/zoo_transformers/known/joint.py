"""Backbones of images and text together."""

from __future__ import annotations

from collections.abc import Iterator

from zoo_transformers.known.entry import Entry

_SEEING = {
    "embed_dim": 1280,
    "image_size": 224,
    "patch_size": 14,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "intermediate_size": 5120,
}
_RESAMPLER = {
    "use_resampler": True,
    "resampler_n_latents": 64,
    "resampler_depth": 6,
    "resampler_n_heads": 16,
    "resampler_head_dim": 96,
    "qk_layer_norms_perceiver": True,
}


def joint() -> Iterator[Entry]:
    """Idefics, an open Flamingo: a CLIP ViT-H that sees and a LLaMA that reads."""
    both = {
        "additional_vocab_size": 2,
        "cross_layer_interval": 4,
        "qk_layer_norms": True,
        "use_resampler": True,
        "vision_config": _SEEING,
        "perceiver_config": _RESAMPLER,
    }
    small = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    large = {"hidden_size": 8192, "intermediate_size": 22016, "num_hidden_layers": 80, "num_attention_heads": 64}
    trained = "OBELICS, LAION, Wikipedia, PMD"
    for size, sizes in (("9b", small), ("80b", large)):
        yield Entry(f"HuggingFaceM4/idefics-{size}", "idefics", {**sizes, **both}, "other", trained)
        instructed = f"{trained}, instructions"
        yield Entry(f"HuggingFaceM4/idefics-{size}-instruct", "idefics", {**sizes, **both}, "other", instructed)
