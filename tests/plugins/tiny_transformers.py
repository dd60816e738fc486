"""Folders as `save_pretrained` writes them: tiny models of real types with random weights, and a tokenizer each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

WORDS = (
    "the a cat dog sat on mat ran and very quickly into green garden where it found another of its kind what is this "
    "who knows not all but some that were here before us in winter . , ? !"
).split()
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
COUNTED_FROM_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Types whose first position is `pad_token_id + 1`; 1 in published weights."""
LEFT_PADDED = ("xlnet",)
WITHOUT_PADDING_TOKEN = ("openai-gpt", "gpt2", "llama")
AFTER_ONLY = ("xlnet",)
PLAIN = ("openai-gpt", "gpt2", "gpt_neox", "opt", "bloom", "qwen3", "mistral", "mamba")
ONE_END = ("t5", "mt5")

_ENCODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 2}
_LLAMA = {**_ENCODER, "num_key_value_heads": 1, "max_position_embeddings": 64}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4}

TEXT: Mapping[str, Mapping[str, Any]] = {
    "bert": {**_ENCODER, "max_position_embeddings": 64},
    "openai-gpt": {**_GPT, "n_positions": 64},
    "gpt2": {**_GPT, "n_positions": 64},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 37},
    "roberta": {**_ENCODER, "max_position_embeddings": 64, "type_vocab_size": 1},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 37, "max_position_embeddings": 64},
    "t5": _T5,
    "llama": _LLAMA,
    "albert": {**_ENCODER, "embedding_size": 16, "max_position_embeddings": 64},
    "electra": {**_ENCODER, "embedding_size": 16, "max_position_embeddings": 64},
    "xlm-roberta": {**_ENCODER, "max_position_embeddings": 64, "type_vocab_size": 1},
    "camembert": {**_ENCODER, "max_position_embeddings": 64, "type_vocab_size": 1},
    "mpnet": {**_ENCODER, "max_position_embeddings": 64},
    "deberta": {
        **_ENCODER, "max_position_embeddings": 64, "relative_attention": True, "pos_att_type": ["c2p", "p2c"],
        "position_biased_input": False, "type_vocab_size": 0,
    },
    "deberta-v2": {
        **_ENCODER, "max_position_embeddings": 64, "relative_attention": True, "pos_att_type": ["c2p", "p2c"],
        "position_biased_input": False, "type_vocab_size": 0, "position_buckets": 16, "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
    },
    "modernbert": {**_ENCODER, "max_position_embeddings": 64, "local_attention": 8, "num_hidden_layers": 3},
    "mt5": _T5,
    "convbert": {**_ENCODER, "embedding_size": 16, "max_position_embeddings": 64},
    "fnet": {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 37, "max_position_embeddings": 64},
    "nystromformer": {**_ENCODER, "max_position_embeddings": 64},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "bart": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 37, "decoder_ffn_dim": 37,
             "max_position_embeddings": 64},
    "gpt_neox": {**_ENCODER, "max_position_embeddings": 64},
    "opt": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 37,
            "word_embed_proj_dim": 32, "max_position_embeddings": 64},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2},
    "qwen3": {**_LLAMA, "head_dim": 16},
    "mistral": _LLAMA,
}  # fmt: skip
"""Sizes by model type; everything else as transformers has it."""

_VIT = {**_ENCODER, "image_size": 32, "patch_size": 8}
IMAGE: Mapping[str, Mapping[str, Any]] = {
    "vit": _VIT,
    "deit": _VIT,
    "beit": {**_VIT, "use_relative_position_bias": True},
    "dinov2": {**_VIT, "mlp_ratio": 2},
    "dinov2_with_registers": {**_VIT, "mlp_ratio": 2, "num_register_tokens": 2},
    "vit_mae": _VIT,
    "vit_msn": _VIT,
    "clip_vision_model": _VIT,
    "siglip_vision_model": _VIT,
    "swin": {
        "image_size": 32,
        "patch_size": 4,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "window_size": 4,
    },
    "convnext": {"depths": [1, 1, 1, 1], "hidden_sizes": [4, 8, 8, 16], "image_size": 32},
    "convnextv2": {"depths": [1, 1, 1, 1], "hidden_sizes": [4, 8, 8, 16], "image_size": 32},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "mobilenet_v2": {"image_size": 32, "depth_multiplier": 0.35},
}


def write_folder(folder: Path, family: str, *, seed: int = 0, **changes: Any) -> Path:
    """A tiny model of `family` with its tokenizer; `changes` go into its configuration."""
    write_model(folder, family, seed=seed, **changes)
    if family in TEXT:
        write_tokenizer(folder, family)
    return folder


def write_model(folder: Path, family: str, *, seed: int = 0, **changes: Any) -> Path:
    """config.json and model.safetensors, every parameter away from its uninformative first value."""
    ids = vocabulary(family)
    known = {"pad_token_id": ids["[PAD]"], "bos_token_id": ids["[CLS]"], "eos_token_id": ids["[SEP]"]}
    told = {**known, "vocab_size": len(ids)} if family in TEXT else {}
    config = AutoConfig.for_model(family, **{**told, **(TEXT | IMAGE)[family], **changes})
    torch.manual_seed(seed)
    model = AutoModel.from_config(config).eval()
    with torch.no_grad():
        # Zero biases and unit norms would hide a missing term.
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path, family: str = "bert", *, side: str | None = None, max_length: int = 32) -> Path:
    """A word tokenizer with the special tokens that texts of `family` come with."""
    ids = vocabulary(family)
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    template = _template(family)
    if template is not None:
        special = [(token, ids[token]) for token in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = processors.TemplateProcessing(*template, special_tokens=special)
    named = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    if family not in WITHOUT_PADDING_TOKEN:
        named["pad_token"] = "[PAD]"
    side = side or ("left" if family in LEFT_PADDED else "right")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, padding_side=side, model_max_length=max_length, **named
    ).save_pretrained(folder)
    return folder


def write_pooling(folder: Path, *modes: str, normalise: bool = False, max_length: int | None = None) -> Path:
    """What sentence-transformers puts beside a model."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalise else [])]
    listing = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listing))
    (folder / "1_Pooling").mkdir()
    known = ("cls_token", "mean_tokens", "max_tokens", "lasttoken", "weightedmean_tokens")
    pooling = {f"pooling_mode_{mode}": mode in modes for mode in known}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **pooling}))
    if max_length is not None:
        told = {"max_seq_length": max_length, "do_lower_case": False}
        (folder / "sentence_bert_config.json").write_text(json.dumps(told))
    return folder


def vocabulary(family: str) -> dict[str, int]:
    """Words to ids."""
    special = ("[CLS]", "[PAD]", *SPECIAL[2:]) if family in COUNTED_FROM_PADDING else SPECIAL
    return {word: index for index, word in enumerate((*special, *WORDS))}


def upstream(folder: Path) -> Any:
    """The same folder as transformers opens it; of encoder-decoders the encoder."""
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    return model.get_encoder() if model.config.is_encoder_decoder else model


def _template(family: str) -> tuple[str, str] | None:
    if family in PLAIN:
        return None
    if family == "llama":
        return "[CLS] $A", "[CLS] $A [CLS]:1 $B:1"
    if family in AFTER_ONLY:
        return "$A [SEP] [CLS]:2", "$A [SEP] $B:1 [SEP]:1 [CLS]:2"
    if family in ONE_END:
        return "$A [SEP]", "$A [SEP] $B:1 [SEP]:1"
    return "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"
