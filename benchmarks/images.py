"""Photographs to normalised batches, beside the recipes of torchvision and timm.

    python benchmarks/images.py PHOTOS [SIDE] [--threads 2]

PHOTOS is a folder of JPEGs, of which the first 128 are taken. With SIDE they are enlarged first, so that the shorter
side has so many pixels, as those of cameras. Each side begins with files and ends with float tensors (B, 3, 224, 224)
on the CPU, 16 a batch. Peers get a worker process for each thread beyond the first, which lives from round to round.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import Run, Setting, main

COUNT, ROWS = 128, 16


def photos(setting: Setting) -> list[str]:
    """Paths; of enlarged copies where that is asked for."""
    paths = sorted(path for path in Path(setting.words[0]).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if len(setting.words) < 2:
        return list(map(str, paths[:COUNT]))
    from PIL import Image

    side, folder = int(setting.words[1]), Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = []
    for path in paths[: COUNT // 8]:
        image = Image.open(path).convert("RGB")
        ratio = side / min(image.size)
        size = (round(image.width * ratio), round(image.height * ratio))
        made.append(str(folder / f"{len(made)}.jpg"))
        image.resize(size, Image.Resampling.BICUBIC).save(made[-1], quality=90)
    return made


class Photos:
    """A dataset as users of DataLoader write it."""

    def __init__(self, paths: Sequence[str], transform: Callable[[Any], Any]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        from PIL import Image

        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def loaded(setting: Setting, transform: Callable[[Any], Any]) -> Run:
    """torch's DataLoader."""
    import torch
    from torch.utils.data import DataLoader

    workers = setting.threads - 1
    data: Any = Photos(photos(setting), transform)
    loader = DataLoader(data, batch_size=ROWS, num_workers=workers, persistent_workers=workers > 0)
    return lambda: {"pixels": torch.cat(list(loader)).numpy()}


def by_torchvision(setting: Setting) -> Run:
    from torchvision.models import ResNet18_Weights

    return loaded(setting, ResNet18_Weights.IMAGENET1K_V1.transforms())


def by_timm(setting: Setting) -> Run:
    """Its transform with torchvision's numbers; by default it would be bicubic."""
    from timm.data import create_transform

    return loaded(setting, create_transform(224, interpolation="bilinear", crop_pct=224 / 256))


def by_zoo(setting: Setting, *, fast: bool = False) -> Run:
    import torch

    from zoo.catalog.spec import ImagePreprocess
    from zoo.data.batches import Loader
    from zoo.data.transforms import ImageProcessor
    from zoo.data.types import Examples, ImageRef

    paths = photos(setting)
    examples = Examples({"image": [ImageRef(path, path) for path in paths]}, None, tuple(paths), tuple(paths))
    processors: Any = {"image": ImageProcessor(ImagePreprocess((224, 224), resize=256))}
    loader = Loader(examples, processors, batch_size=ROWS, threads=setting.threads, fast=fast)
    cpu = torch.device("cpu")
    return lambda: {"pixels": torch.cat([batch.to(cpu).inputs["image"]["pixels"] for batch in loader.epoch(0)]).numpy()}


def by_zoo_fast(setting: Setting) -> Run:
    return by_zoo(setting, fast=True)


def alike(outputs: Mapping[str, Mapping[str, Any]]) -> str:
    std = np.array([0.229, 0.224, 0.225], dtype=np.float32).reshape(1, 3, 1, 1)
    expected = next(iter(outputs.values()))["pixels"]
    said = []
    for name, each in outputs.items():
        levels = np.abs(each["pixels"] - expected) * std * 255
        share = float((levels > 1.01).mean())
        if name != "zoo --fast":
            # Where the sides are in a simple ratio, many values lie in the very middle between two levels.
            assert levels.max() < 2.01, (name, levels.max())
            assert share < 1e-4, (name, share)
        said.append(f"{name}: {levels.max():.0f} levels at most, {share:.1e} of values by more than 1")
    return "Off by, of 255: " + "; ".join(said) + "."


if __name__ == "__main__":
    main(
        "images",
        sides={"torchvision": by_torchvision, "timm": by_timm, "zoo": by_zoo, "zoo --fast": by_zoo_fast},
        agree=alike,
        goals={"zoo": 0.5},
        words=("PHOTOS", "SIDE"),
    )
