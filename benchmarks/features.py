"""Features of photographs from a folder of JPEGs, beside what people take for it.

    python benchmarks/features.py resnet18|resnet50|clip PHOTOS [--device cuda]

PHOTOS is a folder of JPEGs, of which the first 128 are taken; on a card they are taken again and again up to 4096.
`clip` is the image tower of CLIP ViT-B/32. Weights are random, the same on all sides, with statistics of batch norms
as of training, and are loaded before. Each side begins with files and ends with an array (N, D); zoo's cache of
features is off. `bare forward` has normalised batches in memory (with `--device cuda` on the card, in bf16) and runs a
network whose batch norms are folded, channels last: what no loader can beat. On a card there are sides that begin with
decoded crops, and with JPEGs that the card itself decodes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import MissingError, Run, Setting, main
from images import Photos

CPU_COUNT, CARD_COUNT = 128, 4096
PHOTOS = 128


def count(setting: Setting) -> int:
    return CPU_COUNT if setting.device == "cpu" else CARD_COUNT


def rows(setting: Setting) -> int:
    """A batch."""
    return 16 if setting.device == "cpu" else 128


def paths(setting: Setting) -> list[str]:
    root = Path(setting.words[1])
    some = sorted(path for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:PHOTOS]
    return [str(some[i % len(some)]) for i in range(count(setting) if setting.device != "cpu" else len(some))]


def is_clip(setting: Setting) -> bool:
    return setting.words[0] == "clip"


def network(setting: Setting) -> Any:
    """torchvision's or open_clip's module in eval mode; the same seed gives all sides the same weights."""
    import torch

    torch.manual_seed(0)
    if is_clip(setting):
        import open_clip

        return open_clip.create_model("ViT-B-32", pretrained=None).eval()
    import torchvision

    model = getattr(torchvision.models, setting.words[0])(weights=None).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.7, 1.5)
    return model


def features_of(model: Any, setting: Setting) -> Callable[[Any], Any]:
    """What computes (B, D) of pixels."""
    import torch

    if is_clip(setting):
        found: Callable[[Any], Any] = model.encode_image
        return found
    model.fc = torch.nn.Identity()
    return lambda pixels: model(pixels)


def recipe(setting: Setting) -> Callable[[Any], Any]:
    """The transforms that come with the weights."""
    if is_clip(setting):
        from open_clip.transform import image_transform

        found: Callable[[Any], Any] = image_transform(224, is_train=False)
        return found
    from torchvision.models import ResNet18_Weights

    made: Callable[[Any], Any] = ResNet18_Weights.IMAGENET1K_V1.transforms()
    return made


def loaded(setting: Setting, transform: Callable[[Any], Any], compute: Callable[[Any], Any]) -> Run:
    """DataLoader, inference_mode, and on a card bf16 autocast: as it is written by hand."""
    import torch
    from torch.utils.data import DataLoader

    workers = setting.threads - 1 if setting.device == "cpu" else 8
    data: Any = Photos(paths(setting), transform)
    cuda = setting.device != "cpu"
    loader = DataLoader(data, rows(setting), num_workers=workers, persistent_workers=workers > 0, pin_memory=cuda)

    def run() -> Mapping[str, Any]:
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=cuda):
            found = [compute(batch.to(setting.device, non_blocking=True)) for batch in loader]
            return {"features": torch.cat(found).float().cpu().numpy()}

    return run


def by_hand(setting: Setting) -> Run:
    """torchvision's or open_clip's own transforms and module."""
    return loaded(setting, recipe(setting), features_of(network(setting).to(setting.device), setting))


def by_timm(setting: Setting) -> Run:
    if is_clip(setting):
        raise MissingError("is measured on the residual networks")
    import timm
    from timm.data import create_transform

    model = timm.create_model(setting.words[0], num_classes=0)
    state = {name: each for name, each in network(setting).state_dict().items() if not name.startswith("fc.")}
    model.load_state_dict(state)
    transform = create_transform(224, interpolation="bilinear", crop_pct=224 / 256)
    return loaded(setting, transform, model.eval().to(setting.device))


def by_transformers(setting: Setting) -> Run:
    """Its processor and its model by hand, with the weights of open_clip under its own names."""
    if not is_clip(setting):
        raise MissingError("is measured on CLIP; its pipeline on the residual networks")
    import torch
    import transformers
    from hugging_face import clip_state

    config = transformers.CLIPVisionConfig(hidden_act="gelu", layer_norm_eps=1e-5, projection_dim=512)
    model = transformers.CLIPVisionModelWithProjection(config)
    model.load_state_dict(clip_state(network(setting).visual.state_dict()))
    processor = transformers.CLIPImageProcessor()
    cuda = setting.device != "cpu"
    model = model.eval().to(setting.device)
    files, size = paths(setting), rows(setting)

    def run() -> Mapping[str, Any]:
        from PIL import Image

        found = []
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=cuda):
            for start in range(0, len(files), size):
                images = [Image.open(path).convert("RGB") for path in files[start : start + size]]
                pixels = processor(images, return_tensors="pt")["pixel_values"].to(setting.device)
                found.append(model(pixel_values=pixels).image_embeds)
            return {"features": torch.cat(found).float().cpu().numpy()}

    return run


def by_pipeline(setting: Setting) -> Run:
    """transformers' `image-feature-extraction`."""
    if is_clip(setting):
        raise MissingError("is measured on the residual networks")
    from hugging_face import pipeline

    files, state = paths(setting), network(setting).state_dict()
    encode = pipeline(setting.words[0], state, setting.device, rows(setting))
    return lambda: {"features": encode(files)}


def by_sentence_transformers(setting: Setting) -> Run:
    if not is_clip(setting):
        raise MissingError("is measured on CLIP")
    from hugging_face import sentence_transformer

    files, state = paths(setting), network(setting).visual.state_dict()
    encode = sentence_transformer(state, setting.device, rows(setting))
    return lambda: {"features": encode(files)}


def bare(setting: Setting) -> Run:
    """The forward alone."""
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    model = network(setting)
    if not is_clip(setting):
        fuse(model, fuse_conv_bn_eval)
    compute = features_of(model.to(setting.device, memory_format=torch.channels_last), setting)
    if setting.device != "cpu":
        model.bfloat16()
    pixels = torch.stack([recipe(setting)(image) for image in opened(paths(setting)[:PHOTOS])])
    dtype = torch.float32 if setting.device == "cpu" else torch.bfloat16
    batches = [
        each.to(setting.device, dtype).contiguous(memory_format=torch.channels_last)
        for each in pixels.repeat(-(-count(setting) // PHOTOS), 1, 1, 1)[: len(paths(setting))].split(rows(setting))
    ]

    def run() -> Mapping[str, Any]:
        with torch.inference_mode():
            return {"features": torch.cat([compute(batch) for batch in batches]).float().cpu().numpy()}

    return run


def fuse(module: Any, fused: Callable[[Any, Any], Any]) -> None:
    """Each norm into the convolution that is registered before it, as residual networks of torchvision have them."""
    import torch

    before = None
    for name, child in list(module.named_children()):
        if isinstance(child, torch.nn.BatchNorm2d) and before is not None:
            setattr(module, before, fused(getattr(module, before), child))
            setattr(module, name, torch.nn.Identity())
        before = name if isinstance(child, torch.nn.Conv2d) else None
        fuse(child, fused)


def opened(files: Sequence[str]) -> list[Any]:
    from PIL import Image

    return [Image.open(path).convert("RGB") for path in files]


def backbone(setting: Setting) -> Any:
    """zoo's, with the same weights, through a file as a user's own weights would come."""
    import torch

    import zoo

    name = "open_clip/ViT-B-32" if is_clip(setting) else f"torchvision/{setting.words[0]}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.pt"
        torch.save(network(setting).state_dict(), file)
        return zoo.load(name, weights=str(file), towers=("image",))


def extracted(setting: Setting, images: Sequence[Any]) -> Run:
    import zoo
    from zoo.data.types import Examples

    names = tuple(map(str, range(len(images))))
    examples, given = Examples({"image": list(images)}, None, names, names), backbone(setting)
    return lambda: {"features": zoo.extract(given, examples, cache=False, device=setting.device).features}


def by_zoo(setting: Setting) -> Run:
    from zoo.data.types import ImageRef

    return extracted(setting, [ImageRef(path, path) for path in paths(setting)])


def on_card(setting: Setting) -> None:
    if setting.device == "cpu":
        raise MissingError("is of a card (--device cuda)")


def by_zoo_decoded(setting: Setting) -> Run:
    """From crops of 224 x 224 in memory."""
    on_card(setting)
    from zoo.data.types import ImageRef

    processor = backbone(setting).processor("image")
    crops = [np.ascontiguousarray(processor(each).permute(1, 2, 0)) for each in opened(paths(setting)[:PHOTOS])]
    images = [ImageRef(str(i), array=crops[i % len(crops)]) for i in range(len(paths(setting)))]
    return extracted(setting, images)


def by_card(setting: Setting) -> Run:
    """JPEGs decoded by the card, resized there, and the bare forward."""
    on_card(setting)
    import torch
    from torchvision.io import decode_jpeg, read_file
    from torchvision.transforms.v2 import functional as F

    model = network(setting).to(setting.device).bfloat16().to(memory_format=torch.channels_last)
    compute, files, size = features_of(model, setting), paths(setting), rows(setting)
    clip = is_clip(setting)
    how, side = (F.InterpolationMode.BICUBIC, 224) if clip else (F.InterpolationMode.BILINEAR, 256)
    normalize = recipe(setting).transforms[-1] if clip else recipe(setting)

    def run() -> Mapping[str, Any]:
        found = []
        with torch.inference_mode():
            for start in range(0, len(files), size):
                images = decode_jpeg([read_file(path) for path in files[start : start + size]], device=setting.device)
                crops = [F.center_crop(F.resize(each, [side], how, antialias=True), [224, 224]) for each in images]
                pixels = F.normalize(torch.stack(crops).float() / 255, list(normalize.mean), list(normalize.std))
                found.append(compute(pixels.bfloat16().contiguous(memory_format=torch.channels_last)))
            return {"features": torch.cat(found).float().cpu().numpy()}

    return run


def alike(outputs: Mapping[str, Mapping[str, Any]]) -> str:
    """Pixels may be a level apart, and bf16 has eight bits."""
    expected = next(iter(outputs.values()))["features"].astype(np.float64)
    limit = 0.9995 if "cuda" not in " ".join(sys.argv) else 0.99
    worst = {}
    for name, each in outputs.items():
        found = each["features"].astype(np.float64)
        cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
        worst[name] = float(cosine.min())
        # transformers cuts odd margins a pixel beside the others; on the same pixels all give the same.
        assert worst[name] > (0.98 if "transformers" in name else limit), (name, worst[name])
    said = ", ".join(f"{name} {value:.6f}" for name, value in list(worst.items())[1:])
    return f"Smallest cosine to the first side, of which {limit} is asked: {said}."


GOALS = {"resnet18": 0.63, "resnet50": 0.85, "clip": 0.95}

if __name__ == "__main__":
    model = next((word for word in sys.argv[1:] if word in GOALS), "resnet18")
    cuda = any(word.startswith("cuda") for word in sys.argv)
    peer = "open_clip" if model == "clip" else "torchvision"
    card = {"zoo, decoded crops": by_zoo_decoded, "decoded by the card": by_card} if cuda else {}
    main(
        f"features-{model}" + ("-cuda" if cuda else ""),
        sides={
            peer: by_hand,
            "timm": by_timm,
            "transformers": by_transformers,
            "transformers pipeline": by_pipeline,
            "sentence-transformers": by_sentence_transformers,
            "bare forward": bare,
            "zoo": by_zoo,
            **card,
        },
        agree=alike,
        goals={"zoo": GOALS[model]},
        words=("resnet18|resnet50|clip", "PHOTOS"),
    )
