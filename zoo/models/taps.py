"""What the parts of a backbone give while it runs, taken by hooks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from zoo.catalog.spec import Modality
from zoo.data.batches import channels_of
from zoo.data.planes import Planes
from zoo.models.backbone import Backbone, Inputs


@contextmanager
def noted(modules: Collection[nn.Module], into: list[tuple[nn.Module, Tensor]]) -> Iterator[None]:
    """Note each tensor that these modules give, in the order of the calls."""

    def note(module: nn.Module, _: Any, out: Any) -> None:
        if (tensor := first_tensor(out)) is not None:
            into.append((module, tensor))

    handles = [module.register_forward_hook(note) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_tensor(out: Any) -> Tensor | None:
    """The output proper of what a module returned: hidden states stand before attention weights and caches."""
    first = out[0] if isinstance(out, tuple | list) and out else out
    if isinstance(first, Mapping):
        first = next(iter(first.values()), None)
    return first if isinstance(first, Tensor) else None


def blank_inputs(backbone: Backbone, rows: int = 1, *, noise: bool = False) -> Inputs:
    """Made inputs of every modality on the backbone's device: grey images, texts of rising length, silence.

    Args:
        backbone: that takes them.
        rows: of the batch.
        noise: images of noise, the same each time.
    """
    device = next((p.device for p in backbone.parameters()), torch.device("cpu"))
    found: dict[Modality, dict[str, Tensor]] = {}
    for modality in backbone.modalities:
        processor = backbone.processor(modality)
        channels = channels_of(processor)
        make = _noisy if noise and modality == "image" else _blank
        values = [processor(make(modality, row, channels)) for row in range(rows)]
        tensors = processor.finish(processor.collate(values))
        found[modality] = {key: tensor.to(device) for key, tensor in tensors.items()}
    return found


def _blank(modality: Modality, row: int, channels: int) -> Any:
    if modality == "image":
        from PIL import Image

        if channels in (1, 3):
            return Image.new("RGB", (64, 64), (128, 128, 128))
        return Planes((Image.new("L", (64, 64), 128),) * channels)
    if modality == "text":
        return " ".join(["a"] * (5 + 3 * row))
    import numpy as np

    from zoo.data.audio import Audio

    return Audio(np.zeros(16_000 + 4_000 * row, dtype=np.float32), 16_000)


def _noisy(_: Modality, row: int, channels: int) -> Any:
    import numpy as np
    from PIL import Image

    planes = np.random.default_rng(row).integers(0, 256, (channels, 64, 64), dtype=np.uint8)
    pictures = tuple(Image.fromarray(plane) for plane in planes)
    if channels in (1, 3):
        return pictures[0] if channels == 1 else Image.merge("RGB", pictures)
    return Planes(pictures)
