"""A backbone for images of other channels than its weights were trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.catalog.spec import Modality
from zoo.data.transforms import ImageProcessor
from zoo.errors import UsageError
from zoo.models.backbone import Backbone, Inputs, Processor, Stage
from zoo.models.features import Features, Pooling
from zoo.models.taps import blank_inputs


class Channelled(Backbone):
    """A backbone whose first convolution takes images of N channels.

    Args:
        inner: the backbone as it was, which is changed.
        channels: of the images that it shall take.

    Raises:
        UsageError: it takes no images, or no convolution sees their pixels first.
    """

    def __init__(self, inner: Backbone, channels: int) -> None:
        super().__init__()
        name = inner.name or inner.spec.name
        processor = inner.processor("image") if "image" in inner.modalities else None
        if not isinstance(processor, ImageProcessor):
            raise UsageError(f"{name} takes no images whose channels could be changed", help="leave --channels out")
        before = len(processor.preprocess.mean)
        stem = _stem(inner, before, name)
        _widen(stem, channels)
        for module in inner.modules():
            # transformers compares the pixels with a number that it holds beside the convolution.
            if getattr(module, "num_channels", None) == before and any(each is stem for each in module.modules()):
                setattr(module, "num_channels", channels)  # noqa: B010
        self.inner = inner
        self.preprocess = processor.preprocess.in_channels(channels)
        self.name, self.weights, self.modalities, self.dim = inner.name, inner.weights, inner.modalities, inner.dim
        merged = inner.spec.preprocess_for(inner.weights)
        self.spec = replace(inner.spec, preprocess={**merged, "image": self.preprocess})
        self._check(channels)

    @property
    def pooling(self) -> Pooling:
        """As that of the backbone inside."""
        found: Pooling = getattr(self.inner, "pooling", "native")
        return found

    @pooling.setter
    def pooling(self, how: Pooling) -> None:
        if how != self.pooling and not hasattr(self.inner, "pooling"):
            raise UsageError(f"{self.name} offers no pooling '{how}'", help="leave --pooling at native")
        if hasattr(self.inner, "pooling"):
            setattr(self.inner, "pooling", how)  # noqa: B010  (declared by each adapter, not by the base)
        self.dim = self.inner.dim

    def forward(self, batch: Inputs) -> Features:
        """As the backbone inside."""
        found: Features = self.inner(batch)
        return found

    def stages(self) -> Sequence[Stage]:
        return self.inner.stages()

    def processor(self, modality: Modality) -> Processor:
        return ImageProcessor(self.preprocess) if modality == "image" else self.inner.processor(modality)

    def check_row(self, row: Mapping[Modality, Any]) -> None:
        self.inner.check_row(row)

    def save_assets(self, folder: Path) -> None:
        self.inner.save_assets(folder)

    def _check(self, channels: int) -> None:
        try:
            with torch.no_grad():
                self.eval()(blank_inputs(self))
        except (RuntimeError, ValueError, TypeError) as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise UsageError(
                f"{self.name or self.spec.name} does not run on images of {channels} channels: {why}",
                help="choose another backbone, or leave --channels out",
            ) from error


def adapted(weight: Tensor, channels: int) -> Tensor:
    """The weight (O, C, h, w) of a convolution for N input channels, from one for C.

    The channels are repeated in turn and scaled by C / N, so that activations keep their scale; for one channel they
    are summed, so that a grey image gives about what it gave as RGB. As in timm's `adapt_input_conv`.

    Reference: Wightman, https://github.com/huggingface/pytorch-image-models, `timm/models/_manipulate.py`.
    """
    before = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, math.ceil(channels / before), 1, 1)[:, :channels]
    return repeated * (before / channels)


def _stem(inner: Backbone, channels: int, name: str) -> nn.Conv2d:
    """The first convolution that sees C channels, in a dry run."""
    found: list[nn.Conv2d] = []

    def note(module: Any, given: Any) -> None:
        if not found and given and isinstance(given[0], Tensor) and given[0].ndim == 4:
            found.append(module)

    handles = [m.register_forward_pre_hook(note) for m in inner.modules() if isinstance(m, nn.Conv2d)]
    try:
        with torch.no_grad():
            inner.eval()(blank_inputs(inner))
    finally:
        for handle in handles:
            handle.remove()
    if not found or found[0].in_channels != channels or found[0].groups != 1:
        raise UsageError(
            f"no convolution of {name} sees the pixels first, so its channels cannot be changed",
            help="choose a convolutional network or a vision transformer, such as torchvision/resnet18",
        )
    return found[0]


def _widen(convolution: nn.Conv2d, channels: int) -> None:
    with torch.no_grad():
        convolution.weight = nn.Parameter(adapted(convolution.weight, channels).contiguous())
    convolution.in_channels = channels
