"""Small folders of Unified-IO 2 in the published layout, and a sentencepiece model in the place of LLaMA's."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from zoo_unified_io.encoder import UnifiedIO
from zoo_unified_io.sizes import ResamplerSizes, Sizes, ViTSizes

TINY = Sizes(
    vocabulary=1600,
    width=32,
    heads=2,
    head_dim=16,
    layers=2,
    mlp=48,
    image=ViTSizes(width=32, heads=2, layers=3, mlp=32, patch=768, positions=1 + 14 * 14),
    audio=ViTSizes(width=32, heads=2, layers=3, mlp=32, patch=256, positions=2 + 8 * 64),
    image_history=ResamplerSizes(width=32, heads=2, head_dim=16, layers=2, mlp=32, latents=4),
    audio_history=ResamplerSizes(width=32, heads=2, head_dim=16, layers=2, mlp=32, latents=2, attention="cosine"),
)

CONFIG = {
    "t5_config": {"emb_dim": 32, "num_heads": 2},
    "image_vit_cfg": {"emb_dim": 32, "num_heads": 2},
    "audio_vit_cfg": {"emb_dim": 32, "num_heads": 2},
}
"""The part of a published config.json that is read; everything else is told by the shapes of the weights."""

TEXTS = ("a red square on the left", "a blue square on the right", "what is in the picture?", "the sound of rain")


def tiny_state() -> dict[str, torch.Tensor]:
    """Random weights, with something of a decoder beside them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        state = {name: tensor.clone() for name, tensor in UnifiedIO(TINY).state_dict().items()}
        return {**state, "decoder.decoder_norm.scale": torch.ones(32), "image_token_embedder.weight": torch.ones(4, 32)}


def tiny_folder(folder: Path, *, pickled: bool = False, tokenizer: bool = True) -> Path:
    """config.json, weights and a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    if pickled:
        torch.save(tiny_state(), folder / "pytorch_model.bin")
    else:
        save_file(tiny_state(), folder / "model.safetensors")
    if tokenizer:
        tiny_tokenizer(folder / "tokenizer.model")
    return folder


def tiny_tokenizer(path: Path) -> Path:
    """A model as LLaMA's is made: <unk>, <s> and </s> first, bytes for what is unknown, spaces kept."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20),
        model_prefix=str(path.with_suffix("")),
        model_type="bpe",
        vocab_size=320,
        byte_fallback=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    path.with_suffix(".vocab").unlink()
    return path
