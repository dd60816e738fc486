"""The encoder in ordered parts: embedders, the blocks of each ViT, histories, layers."""

from __future__ import annotations

from collections.abc import Iterator

from zoo import Stage
from zoo_unified_io.encoder import HistoryEmbedder, PatchEmbedder, TextEmbedder, UnifiedIO
from zoo_unified_io.vit import AudioViT, ImageViT


def stages_of(network: UnifiedIO) -> Iterator[Stage]:
    """Every parameter in one stage, in run order.

    They are no branches, though the ViTs run side by side: "the last stages" are those of the encoder, which all
    modalities go through.
    """
    embedders = network.input_embedders
    if "text" in embedders:
        text = embedders["text"]
        assert isinstance(text, TextEmbedder)
        yield Stage("text", (network.text_token_embedder, text))
    for kind in ("image", "audio"):
        if kind in embedders:
            embedder, history = embedders[kind], embedders[f"{kind}_history"]
            assert isinstance(embedder, PatchEmbedder)
            assert isinstance(history, HistoryEmbedder)
            yield from _patch_stages(kind, embedder)
            parts = (history.pre_projection, history.resampler.perceiver, history.post_projection)
            yield Stage(f"{kind}.history", parts, (history.modality_embedding,))
    *below, top = network.encoder.layers
    for index, layer in enumerate(below):
        yield Stage(f"layers.{index}", (layer,))
    # The last norm alone would be a stage of a thousand numbers.
    yield Stage(f"layers.{len(below)}", (top, network.encoder.encoder_norm))


def _patch_stages(kind: str, embedder: PatchEmbedder) -> Iterator[Stage]:
    vit = embedder.vit
    if isinstance(vit, ImageViT):
        yield Stage(f"{kind}.stem", (vit.embedding, vit.pre_ln), (vit.class_embedding, vit.positional_embedding))
    else:
        assert isinstance(vit, AudioViT)
        yield Stage(f"{kind}.stem", (vit.embedding,), (vit.cls_token, vit.dist_token, vit.positional_embedding))
    for index, block in enumerate(vit.transformer.resblocks):
        yield Stage(f"{kind}.blocks.{index}", (block,))
    yield Stage(f"{kind}.top", (embedder.projection,), (embedder.modality_embedding,))
