"""The pipeline of transformers, and sentence-transformers, with the weights of torchvision and open_clip."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESNETS: dict[str, dict[str, Any]] = {
    "resnet18": {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]},
    "resnet50": {"layer_type": "bottleneck", "depths": [3, 4, 6, 3], "hidden_sizes": [256, 512, 1024, 2048]},
}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
Encode = Callable[[Sequence[str]], Any]
"""Files to an array (N, D)."""


def pipeline(name: str, state: Mapping[str, Any], device: str, batch: int) -> Encode:
    """`image-feature-extraction` on one of `RESNETS` with torchvision's weights."""
    import numpy as np
    import transformers

    model = transformers.ResNetModel(transformers.ResNetConfig(embedding_size=64, **RESNETS[name]))
    model.load_state_dict(resnet_state(state))
    size = {"shortest_edge": 224}
    processor = transformers.ConvNextImageProcessor(size=size, crop_pct=0.875, image_mean=MEAN, image_std=STD)
    found = transformers.pipeline(
        "image-feature-extraction", model=model.eval(), image_processor=processor, device=device, pool=True
    )
    return lambda files: np.array(found(list(files), batch_size=batch), dtype=np.float32).reshape(len(files), -1)


def sentence_transformer(state: Mapping[str, Any], device: str, batch: int) -> Encode:
    """`SentenceTransformer.encode` on CLIP ViT-B/32 with open_clip's weights; its text tower is never run."""
    import transformers
    from PIL import Image
    from sentence_transformers import SentenceTransformer, models

    texts = {"vocab_size": 3, "num_hidden_layers": 1, "bos_token_id": 0, "eos_token_id": 1}
    config = transformers.CLIPConfig(vision_config=VISION, text_config=texts, projection_dim=512)
    whole = transformers.CLIPModel(config)
    whole.load_state_dict(clip_state(state), strict=False)
    with tempfile.TemporaryDirectory() as folder:
        whole.save_pretrained(folder)
        words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2}
        Path(folder, "vocab.json").write_text(json.dumps(words))
        Path(folder, "merges.txt").write_text("#version: 0.2\n")
        tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
        transformers.CLIPProcessor(transformers.CLIPImageProcessor(), tokenizer).save_pretrained(folder)
        found = SentenceTransformer(modules=[models.CLIPModel(folder)], device=device)
    return lambda files: found.encode([Image.open(file) for file in files], batch_size=batch)


VISION = {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "projection_dim": 512, "patch_size": 32}


def resnet_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """torchvision's tensors by the names of transformers, without the classifier."""
    top = {"conv1": "embedder.embedder.convolution", "bn1": "embedder.embedder.normalization"}
    found = {}
    for name, tensor in state.items():
        module, kind = name.rsplit(".", 1)
        if module in top:
            found[f"{top[module]}.{kind}"] = tensor
        elif module != "fc":
            stage, block, rest = module.split(".", 2)
            what = "convolution" if rest.startswith("conv") or rest == "downsample.0" else "normalization"
            where = "shortcut" if rest.startswith("downsample") else f"layer.{int(rest[-1]) - 1}"
            found[f"encoder.stages.{int(stage[-1]) - 1}.layers.{block}.{where}.{what}.{kind}"] = tensor
    return found


def clip_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """open_clip's tensors of an image tower by the names of transformers."""
    parts = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    parts["attn.out_proj"] = "self_attn.out_proj"
    top = {
        "class_embedding": "embeddings.class_embedding",
        "conv1.weight": "embeddings.patch_embedding.weight",
        "positional_embedding": "embeddings.position_embedding.weight",
    }
    top |= {f"ln_pre.{kind}": f"pre_layrnorm.{kind}" for kind in ("weight", "bias")}
    top |= {f"ln_post.{kind}": f"post_layernorm.{kind}" for kind in ("weight", "bias")}
    found = {"visual_projection.weight": state["proj"].T.contiguous()}
    for name, tensor in state.items():
        if name in top:
            found[f"vision_model.{top[name]}"] = tensor
        elif name.startswith("transformer.resblocks."):
            number, rest = name.removeprefix("transformer.resblocks.").split(".", 1)
            layer = f"vision_model.encoder.layers.{number}."
            if "in_proj" in rest:
                for one, share in zip("qkv", tensor.chunk(3), strict=True):
                    found[f"{layer}self_attn.{one}_proj.{rest.rsplit('_', 1)[1]}"] = share
            else:
                part, kind = rest.rsplit(".", 1)
                found[f"{layer}{parts[part]}.{kind}"] = tensor
    return found
