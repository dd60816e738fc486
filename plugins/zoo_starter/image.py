"""Image backbones that need no download: a small CNN that knows letters, and raw pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from zoo import (
    Backbone,
    Features,
    ImagePreprocess,
    ImageProcessor,
    Inputs,
    LoadRequest,
    Modality,
    Pooling,
    Stage,
    UsageError,
)


class GridBackbone(Backbone):
    """Blocks that make a map; pooled natively by averaging it to a coarse grid and laying the cells side by side."""

    modalities: tuple[Modality, ...] = ("image",)
    pooling: Pooling = "native"
    blocks: nn.ModuleList
    cells: tuple[int, int]
    """(H, W) of the coarse grid."""

    def __init__(self, request: LoadRequest) -> None:
        super().__init__()
        self.spec, self.weights = request.spec, request.weights
        preprocess = request.preprocess["image"]
        assert isinstance(preprocess, ImagePreprocess)
        self.preprocess = preprocess

    def stages(self) -> Sequence[Stage]:
        return [Stage(f"block{i}", (block,)) for i, block in enumerate(self.blocks, 1)]

    def processor(self, modality: Modality) -> ImageProcessor:
        if modality != "image":
            raise UsageError(
                f"{self.spec.name} takes images, not {modality}", help=f"`zoo list --modality {modality}` shows others"
            )
        return ImageProcessor(self.preprocess)

    def forward(self, batch: Inputs) -> Features:
        x = batch["image"]["pixels"]
        for block in self.blocks:
            x = block(x)
        tokens = x.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, H*W, C)
        pooled = self.summary(x) if self.pooling == "native" else zoo.pool(tokens, None, self.pooling)
        return Features(pooled=pooled, tokens=tokens, grid=(x.shape[2], x.shape[3]))

    def summary(self, x: Tensor) -> Tensor:
        """(B, C * cells) of a (B, C, H, W) map: where a stroke is says as much as that it is there."""
        return F.adaptive_avg_pool2d(x, self.cells).flatten(1)


class GlyphCNN(GridBackbone):
    """Four blocks of convolution, batch norm and ReLU, halving the map between them: 32 x 32 to 4 x 4."""

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        widths: Sequence[int] = request.spec.options["widths"]
        before = (1, *widths[:-1])
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Identity() if i == 0 else nn.MaxPool2d(2),
                nn.Conv2d(c_in, c_out, 3, padding=1, bias=False),
                nn.BatchNorm2d(c_out),
                nn.ReLU(),
            )
            for i, (c_in, c_out) in enumerate(zip(before, widths, strict=True))
        )
        self.cells = (2, 2)
        self.dim = widths[-1] * 4


class Pixels(GridBackbone):
    """The image itself, made small: a floor without parameters."""

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self.blocks = nn.ModuleList([nn.Identity()])
        self.cells = self.preprocess.size
        self.dim = len(self.preprocess.mean) * self.cells[0] * self.cells[1]


def build_glyph_cnn(request: LoadRequest) -> GlyphCNN:
    """`starter/glyph-cnn`."""
    backbone = GlyphCNN(request)
    if request.weights is not None and request.assets is None:
        zoo.load_state(backbone, zoo.read_weights(zoo.fetch(request.weights, offline=request.offline)))
    return backbone


def build_pixels(request: LoadRequest) -> Pixels:
    """`starter/pixels`."""
    return Pixels(request)
