"""Tiny dual encoders in open_clip's own folder format, one of each kind of tower."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from safetensors.torch import save_file
from timm.models import register_model
from tiny_transformers import WORDS, write_tokenizer

_VIT: dict[str, Any] = {"image_size": 32, "layers": 2, "width": 48, "head_width": 24, "patch_size": 8}
_TEXT: dict[str, Any] = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
_WORDS: dict[str, Any] = {**_TEXT, "vocab_size": 64, "hf_tokenizer_name": "words"}
_SIGLIP: dict[str, Any] = {**_WORDS, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
_OTHER: dict[str, Any] = {"embed_dim": 24, "vision_cfg": _VIT, "text_cfg": _TEXT}

TINY: dict[str, Mapping[str, Any]] = {
    "clip": _OTHER,
    "clip with quick gelu": {**_OTHER, "quick_gelu": True},
    "clip with a resnet": {**_OTHER, "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}},
    "clip on a timm network": {
        **_OTHER,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 64, "timm_model_name": "test_convnext", "timm_pool": "avg", "timm_proj": "linear",
        },
    },
    "clipa": {
        **_OTHER,
        "vision_cfg": {**_VIT, "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        "text_cfg": {
            **_WORDS, "tokenizer_kwargs": {"strip_sep_token": True}, "pool_type": "last", "no_causal_mask": True,
        },
    },
    "siglip": {
        **_OTHER,
        "embed_dim": 64,
        "custom_text": True,
        "init_logit_bias": -10,
        "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"},
        "text_cfg": {**_SIGLIP, "tokenizer_kwargs": {"clean": "canonicalize"}, "norm_kwargs": {"eps": 1e-6}},
    },
    "mobileclip": {
        **_OTHER,
        "embed_dim": 64,
        "custom_text": True,
        "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None},
        "text_cfg": {**_TEXT, "no_causal_mask": True},
    },
    "coca": {
        **_OTHER,
        "custom_text": True,
        "vision_cfg": {
            **_VIT, "attentional_pool": True, "attn_pooler_heads": 3, "attn_pooler_queries": 6, "output_tokens": True,
        },
        "text_cfg": {**_TEXT, "context_length": 15, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**_TEXT, "context_length": 15, "attn_pooler_heads": 2},
    },
    "metaclip worldwide": {**_OTHER, "text_cfg": {**_WORDS, "pool_type": "eos", "eos_id": 2}},
    "text projected with a bias": {**_OTHER, "text_cfg": {**_TEXT, "proj_bias": True}},
    "text without a projection": {**_OTHER, "text_cfg": {**_TEXT, "width": 24, "proj_type": "none"}},
    "roberta": {**_OTHER, "text_cfg": {**_WORDS, "hf_model_name": "roberta", "hf_pooler_type": "mean_pooler"}},
    "bert": {
        **_OTHER,
        "text_cfg": {**_WORDS, "hf_model_name": "bert", "hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"},
    },
    "mt5": {**_OTHER, "text_cfg": {**_WORDS, "hf_model_name": "mt5", "hf_pooler_type": "mean_pooler"}},
    "nllb": {
        **_OTHER,
        "text_cfg": {**_WORDS, "hf_model_name": "m2m_100", "hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"},
    },
}  # fmt: skip
"""`model_cfg` by what is peculiar about it."""

_EVA: dict[str, Any] = {**_OTHER, "custom_text": True}
KIN: dict[str, Mapping[str, Any]] = {
    "siglip2": {
        **TINY["siglip"],
        "text_cfg": {**TINY["siglip"]["text_cfg"], "act_kwargs": {"approximate": "tanh"}},
    },
    "eva01": {
        **_EVA,
        "vision_cfg": {"image_size": 28, "timm_model_name": "zoo_eva01", "timm_pool": "token", "timm_proj": None},
    },
    "eva02": {
        **_EVA,
        "vision_cfg": {"image_size": 32, "timm_model_name": "zoo_eva02", "timm_pool": "token", "timm_proj": None},
    },
}
"""More, which `test_open_clip_families.py` looks at: as published, but for their sizes."""


@register_model  # type: ignore[untyped-decorator]
def zoo_eva01(pretrained: bool = False, **given: Any) -> Any:
    """EVA of timm, small: its published ones begin at 5 million parameters."""
    size = {"img_size": 28, "embed_dim": 48, "depth": 2, "num_heads": 2}
    return timm.create_model("eva_giant_patch14_224", **size, **_of_towers(given))


@register_model  # type: ignore[untyped-decorator]
def zoo_eva02(pretrained: bool = False, **given: Any) -> Any:
    """The network of EVA02-B-16, small: rotary positions, SwiGLU and a norm inside its attention."""
    size = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 2, "ref_feat_shape": (4, 4)}
    return timm.create_model("eva02_base_patch16_clip_224", **size, **_of_towers(given))


def _of_towers(given: Mapping[str, Any]) -> dict[str, Any]:
    """What open_clip asks of a timm network, without what timm itself adds."""
    return {key: value for key, value in given.items() if not key.startswith(("pretrained", "cache"))}


_SMALL = {"vocab_size": 64, "pad_token_id": 0}
_BERT = {**_SMALL, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 19}
_FOREIGN: Mapping[str, Mapping[str, Any]] = {
    "roberta": {**_BERT, "max_position_embeddings": 40},
    "bert": {**_BERT, "max_position_embeddings": 40},
    "mt5": {**_SMALL, "d_model": 16, "d_kv": 8, "d_ff": 19, "num_layers": 2, "num_heads": 2},
    "m2m_100": {
        **_SMALL, "d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 19, "decoder_ffn_dim": 19, "max_position_embeddings": 40,
    },
}  # fmt: skip

SENTENCES = ("the cat sat on the mat", "a dog", " ".join(WORDS[:30]), "who knows what this is ?")
"""Of several lengths, one longer than any context."""


def write_folder(folder: Path, kind: str, *, preprocess: Mapping[str, Any] | None = None) -> Any:
    """The model of open_clip whose weights, configuration and tokenizer now lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(json.dumps((TINY | KIN)[kind]))
    foreign = config["text_cfg"].get("hf_model_name")
    if foreign:
        config["text_cfg"]["hf_model_name"] = str(write_text_model(folder / "language", foreign))
    if "hf_tokenizer_name" in config["text_cfg"]:
        write_tokenizer(folder)
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": dict(preprocess or {})})
    )
    model = tiny_model(config)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, weights_in(folder))
    return model


def weights_in(folder: Path) -> Path:
    return folder / "open_clip_model.safetensors"


def write_text_model(folder: Path, kind: str) -> Path:
    from transformers import AutoConfig

    AutoConfig.for_model(kind, **_FOREIGN[kind]).save_pretrained(folder)
    return folder


def tiny_model(config: Mapping[str, Any]) -> Any:
    """open_clip's own class with random weights, none of them at a default that would hide a fault."""
    torch.manual_seed(3)
    config = json.loads(json.dumps(config))
    foreign = "hf_model_name" in config["text_cfg"]
    if foreign:
        config["text_cfg"]["hf_model_pretrained"] = False
    custom = config.pop("custom_text", False) or foreign
    kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP if custom else open_clip.CLIP
    model = kind(**config)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-0.1, 0.1)
        if name.endswith("running_var"):
            buffer.uniform_(0.8, 1.2)
    for parameter in model.parameters():
        if parameter.ndim and (not parameter.any() or bool((parameter == 1).all())):
            torch.nn.init.normal_(parameter, mean=float(parameter.detach().flatten()[0]), std=0.1)
    return model.eval()


def encode(model: Any, *, pixels: Any = None, ids: Any = None) -> Any:
    """What open_clip gives, without scaling it to length one."""
    with torch.no_grad():
        if pixels is not None:
            return model.encode_image(pixels, normalize=False)
        return model.encode_text(ids, normalize=False)
