"""Tiny timm models in timm's own folder format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf


@dataclass(frozen=True)
class Tiny:
    """An architecture made small, and what its features should look like."""

    architecture: str
    size: int
    prefix: int = 0
    """Tokens before the patches: class, distillation and register tokens."""
    args: dict[str, Any] = field(default_factory=dict)


_VIT: dict[str, Any] = {"img_size": 64, "embed_dim": 48, "depth": 3, "num_heads": 3}

TINY = {
    "vit with a class token": Tiny("vit_tiny_patch16_224", 64, 1, _VIT),
    "vit with class and register tokens": Tiny("vit_small_patch14_reg4_dinov2", 64, 5, {**_VIT, "patch_size": 16}),
    "vit with registers and no class token": Tiny("vit_little_patch16_reg4_gap_256", 64, 4, _VIT),
    "vit pooled by attention": Tiny("vit_base_patch16_siglip_224", 64, 0, _VIT),
    "vit without a class token": Tiny("vit_base_patch16_siglip_gap_224", 64, 0, _VIT),
    "vit with rotary positions": Tiny("vit_small_patch16_dinov3", 64, 5, {"embed_dim": 48, "depth": 2, "num_heads": 3}),
    "eva": Tiny("eva02_tiny_patch14_224", 56, 1, {"img_size": 56, "embed_dim": 48, "depth": 2, "num_heads": 3}),
    "beit": Tiny("beit_base_patch16_224", 64, 1, _VIT),
    "deit with a distillation token": Tiny("deit_tiny_distilled_patch16_224", 64, 2, _VIT),
    "swin": Tiny(
        "swin_tiny_patch4_window7_224",
        56,
        args={"img_size": 56, "embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 2)},
    ),
    "swin v2": Tiny(
        "swinv2_tiny_window8_256",
        64,
        args={"img_size": 64, "embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 2)},
    ),
    "resnet": Tiny("resnet18", 64, args={"layers": (1, 1, 1, 1), "channels": (16, 16, 32, 48)}),
    "resnet pooled by attention": Tiny("resnet50_clip", 64, args={"img_size": 64}),
    "convnext": Tiny("convnext_tiny", 64, args={"dims": (16, 16, 32, 48), "depths": (1, 1, 1, 1)}),
    "mobilenet with a dense layer after its pooling": Tiny("mobilenetv3_small_050", 64),
    "efficientnet": Tiny("test_efficientnet", 64),
    "nfnet": Tiny("test_nfnet", 64),
    "vgg with dense layers after its pooling": Tiny("vgg11", 64, args={"mlp_ratio": 0.02}),
    "gated mlp": Tiny("gmlp_ti16_224", 64, args={"img_size": 64}),
    "convolutions, then attention": Tiny("mobilevit_xxs", 64),
    "vit on a convolutional stem": Tiny("vit_tiny_r_s16_p8_224", 64, 1, {**_VIT, "embed_dim": 48}),
    "levit": Tiny("levit_128s", 224),
    "a class token by itself": Tiny("cait_xxs24_224", 64, 1, {**_VIT, "num_heads": 3}),
}
"""By what is peculiar about it."""


def tiny_model(tiny: Tiny, classes: int = 7) -> Any:
    """A model of timm's with random weights and running statistics that are no default."""
    torch.manual_seed(3)
    model = timm.create_model(tiny.architecture, num_classes=classes, **tiny.args)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-0.1, 0.1)
        if name.endswith("running_var"):
            buffer.uniform_(0.8, 1.2)
    # Some layers start at zero, and would hide a fault in what comes before them.
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return model.eval()


def write_folder(folder: Path, tiny: Tiny, classes: int = 7) -> Any:
    """The model whose weights and configuration now lie in `folder`, as timm writes them for the hub."""
    model = tiny_model(tiny, classes)
    model.pretrained_cfg["input_size"] = (3, tiny.size, tiny.size)
    save_for_hf(model, folder, model_args=tiny.args, safe_serialization=True)
    return model
