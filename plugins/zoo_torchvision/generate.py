"""Write `catalog.json` from the installed torchvision: `python -m zoo_torchvision.generate`."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import torch
import torchvision

from zoo import BackboneSpec, ImagePreprocess, LoadRequest
from zoo_torchvision.build import construct, make

TARGET = Path(__file__).parent / "catalog.json"


def generate() -> dict[str, Any]:
    """Every classification network with what its weights say of themselves."""
    names = torchvision.models.list_models(module=torchvision.models)
    return {"torchvision": torchvision.__version__.partition("+")[0], "architectures": {n: describe(n) for n in names}}


def describe(name: str) -> dict[str, Any]:
    """One architecture; dimension, parameters and stages are measured on the meta device."""
    enum = torchvision.models.get_model_weights(name)
    weights = sorted(enum, key=lambda each: each != enum.DEFAULT)
    rows = [_weights(each) for each in weights]
    size = rows[0]["preprocess"][0]
    image = ImagePreprocess(size=(size, size))
    spec = BackboneSpec("torchvision", name, "", ("image",), "", preprocess={"image": image})
    model = _without_memory(name, size)
    with torch.device("meta"):
        family = type(model).__module__.rpartition(".")[2]
        backbone = make(model, LoadRequest(spec, None, ("image",))).eval()
        dim = backbone({"image": {"pixels": torch.zeros(1, 3, size, size)}}).pooled.shape[1]
    return {
        "family": "vit" if family == "vision_transformer" else family.replace("_transformer", ""),
        "dim": dim,
        "params": sum(p.numel() for p in backbone.parameters()),
        "image_size": size,
        "stages": [stage.name for stage in backbone.stages()],
        "paper": _paper(name),
        "weights": rows,
    }


def _without_memory(name: str, size: int) -> torch.nn.Module:
    try:
        with torch.device("meta"):
            return construct(name, size)
    except NotImplementedError:  # RegNet computes its widths with tensors
        return construct(name, size).to("meta")


def _weights(weights: Any) -> dict[str, Any]:
    how = weights.transforms()
    digest = re.search(r"-([0-9a-f]{8})\.pth$", weights.url)
    tag = weights.name.lower()
    return {
        "tag": tag,
        "url": weights.url,
        "sha256": digest.group(1) if digest else None,
        "size": round(weights.meta["_file_size"] * 2**20),
        # SWAG's model card says so; torchvision states no licence for its other weights.
        "licence": "CC-BY-NC-4.0" if "swag" in tag else None,
        "trained_on": "swag + imagenet-1k" if "swag" in tag else "imagenet-1k",
        "metrics": {
            f"{data.lower()} {'top-1' if key == 'acc@1' else 'top-5'}": round(value / 100, 5)
            for data, values in (weights.meta.get("_metrics") or {}).items()
            for key, value in values.items()
            if value is not None and math.isfinite(value)
        },
        "preprocess": [how.crop_size[0], how.resize_size[0], how.interpolation.value, list(how.mean), list(how.std)],
    }


def _paper(name: str) -> str | None:
    text = torchvision.models.get_model_builder(name).__doc__ or ""
    found = re.search(r"https://arxiv\.org/(?:abs|pdf)/[\d.]+\d", text)
    return found.group(0) if found else None


if __name__ == "__main__":
    TARGET.write_text(json.dumps(generate(), indent=1) + "\n", encoding="utf-8")
    print(f"wrote {TARGET}")  # noqa: T201
