"""A tiny Idefics with random weights, open gates and a word tokenizer, as `save_pretrained` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_transformers import WORDS
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import IdeficsConfig, IdeficsForVisionText2Text, IdeficsImageProcessor, PreTrainedTokenizerFast

SPECIAL = ("<unk>", "<s>", "</s>")
SIDE = 32
"""Of images, in pixels."""


def write_idefics(
    folder: Path,
    *,
    alpha: float = 0.7,
    side: str = "right",
    image_words: bool = True,
    head: bool = False,
    seed: int = 0,
    **changes: Any,
) -> Path:
    """config.json, model.safetensors, tokenizer and preprocessor_config.json.

    Args:
        folder: made here.
        alpha: of all gates; at 0, as fresh models have it, an image has no effect on any token.
        side: of padding.
        image_words: the tokenizer knows `<image>` and `<fake_token_around_image>`.
        head: with the language model's head, as published weights are.
        seed: of the weights.
        changes: to the configuration.
    """
    config = IdeficsConfig(**{**_sizes(), **changes})
    torch.manual_seed(seed)
    model = IdeficsForVisionText2Text(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Zero biases and unit norms would hide a missing term.
            parameter.add_(0.1 * torch.randn_like(parameter))
            if "alpha" in name:
                parameter.fill_(alpha)
    (model if head else model.model).save_pretrained(folder)
    tokenizer(side=side, image_words=image_words).save_pretrained(folder)
    IdeficsImageProcessor(image_size=SIDE).save_pretrained(folder)
    return folder


def tokenizer(*, side: str = "right", image_words: bool = True) -> PreTrainedTokenizerFast:
    """Words to ids; the two tokens of images come after all words, as in the published vocabulary."""
    words = Tokenizer(models.WordLevel(vocabulary(), unk_token="<unk>"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.add_special_tokens([AddedToken(each, normalized=False, special=True) for each in SPECIAL])
    if image_words:
        ours = ("<fake_token_around_image>", "<image>")
        words.add_special_tokens([AddedToken(each, normalized=False, special=True) for each in ours])
    named = {"unk_token": "<unk>", "pad_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, padding_side=side, model_max_length=48, **named)


def vocabulary() -> dict[str, int]:
    """Words to ids, without those of images."""
    return {word: index for index, word in enumerate((*SPECIAL, *WORDS))}


def _sizes() -> dict[str, Any]:
    return {
        "vocab_size": len(vocabulary()),
        "additional_vocab_size": 2,
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "cross_layer_interval": 2,
        "qk_layer_norms": True,
        "use_resampler": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "max_position_embeddings": 64,
        "vision_config": {
            "embed_dim": 24,
            "image_size": SIDE,
            "patch_size": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 40,
        },
        "perceiver_config": {
            "use_resampler": True,
            "resampler_n_latents": 5,
            "resampler_depth": 2,
            "resampler_n_heads": 2,
            "resampler_head_dim": 8,
            "qk_layer_norms_perceiver": True,
        },
    }
