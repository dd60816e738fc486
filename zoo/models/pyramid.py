"""Spatial maps of several resolutions, taken from the stages of any image backbone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.errors import UnknownNameError, UsageError
from zoo.models.backbone import Backbone, Inputs
from zoo.models.features import Features
from zoo.models.taps import blank_inputs, noted

_PREFIX = 16
"""More tokens than this before the patches are no class and register tokens."""

Size = tuple[int, int]
Layout = Literal["NCHW", "NHWC", "patches", "tokens"]
"""How a stage lays out its output: a map with channels first or last; tokens on the grid of the features, after class
tokens; tokens on a grid of their own."""


@dataclass(frozen=True)
class _Level:
    """Where one map is taken."""

    name: str
    """Of the stage."""
    module: nn.Module | None
    """Its output is the map; None: the features' own map is."""
    layout: Layout
    size: Size
    """(H, W) of the map in the probe."""


@dataclass(frozen=True)
class MapShapes:
    """What a head has to know of the maps of a pyramid."""

    channels: tuple[int, ...]
    """C of each map, fine to coarse."""
    strides: tuple[int, ...]
    """Pixels of the input from one position of a map to the next."""
    size: tuple[int, int]
    """(H, W) of the input at the backbone's own image size."""


class Pyramid(nn.Module):
    """A backbone as maps of falling resolution, as segmentation and detection read them.

    The maps are the outputs of the stages, taken by hooks while the backbone runs as always: the last stage of each
    resolution, and for the coarsest the features' own map. A plain ViT has one resolution and so gives one map;
    with `levels` it gives the tokens of several depths.

    Args:
        backbone: of images, with a spatial grid. What is frozen in it stays so.
        levels: names of the stages to take instead.

    Raises:
        UnknownNameError: no such stage.
        UsageError: a backbone or a stage without a spatial map.
    """

    def __init__(self, backbone: Backbone, levels: Sequence[str] | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        probe = Probe(backbone)
        self._levels = probe.last_of_each() if levels is None else probe.named(levels)
        with torch.no_grad():
            maps = self(probe.inputs)
        self.levels: tuple[str, ...] = tuple(level.name for level in self._levels)
        """The stage of each map, fine to coarse."""
        self.channels: tuple[int, ...] = tuple(each.shape[1] for each in maps)
        """C of each map."""
        self.strides: tuple[int, ...] = tuple(probe.stride(level.size) for level in self._levels)
        """Pixels of the input from one position of a map to the next, at the backbone's own image size."""
        self.shapes = MapShapes(self.channels, self.strides, probe.size)
        """The same for a head."""

    def forward(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """The maps (B, C, H, W) of one batch, fine to coarse."""
        return self.features(inputs).maps

    def features(self, inputs: Inputs) -> Features:
        """The features of one batch with their `maps` and `size`."""
        taken: dict[nn.Module, Tensor] = {}
        with _outputs({level.module for level in self._levels if level.module is not None}, taken):
            features: Features = self.backbone(inputs)
        size = _size(inputs)
        maps = tuple(
            features.map() if level.module is None else as_map(taken[level.module], level.layout, features.grid, size)
            for level in self._levels
        )
        return replace(features, maps=maps, size=size)


class Probe:
    """What the stages of a backbone give for one grey image of its own size."""

    def __init__(self, backbone: Backbone) -> None:
        if "image" not in backbone.modalities:
            raise UsageError(
                f"{backbone.name} takes no images, and maps are made of images",
                help="`zoo list --modality image` shows those that do",
            )
        self.backbone = backbone
        self.inputs = blank_inputs(backbone)
        self.size = _size(self.inputs)
        self.stages = backbone.stages()
        self.shapes: list[tuple[nn.Module, Tensor]] = []
        was_training = backbone.training
        backbone.eval()
        with torch.no_grad(), noted({m for stage in self.stages for m in stage.modules}, self.shapes):
            self.features: Features = backbone(self.inputs)
        backbone.train(was_training)
        if self.features.grid is None:
            raise UsageError(
                f"the features of {backbone.name} have no spatial grid, and maps need one",
                help="choose a convolutional network or a vision transformer, such as torchvision/resnet18",
            )
        self.grid: Size = self.features.grid
        self.last = self._layout()

    def last_of_each(self) -> tuple[_Level, ...]:
        """The last stage of each resolution; the coarsest is the features' own map."""
        found: dict[int, _Level] = {}
        for stage in self.stages:
            level = self._level(stage.name, stage.modules)
            if level is not None and level.size != self.grid:
                found[self.stride(level.size)] = level
        top = [s.name for s in self.stages if (level := self._level(s.name, s.modules)) and level.size == self.grid]
        name = top[-1] if top else self.stages[-1].name
        found[self.stride(self.grid)] = _Level(name, None, self.last, self.grid)
        return tuple(found[stride] for stride in sorted(found))

    def named(self, names: Sequence[str]) -> tuple[_Level, ...]:
        """These stages, in run order."""
        known = {stage.name: stage.modules for stage in self.stages}
        for name in names:
            if name not in known:
                raise UnknownNameError("stage", name, known, help=f"the stages are {', '.join(known)}")
        levels = {name: self._level(name, modules) for name, modules in known.items() if name in names}
        for name, level in levels.items():
            if level is None:
                raise UsageError(
                    f"stage '{name}' of {self.backbone.name} gives no spatial map",
                    help=f"those that do are {', '.join(self._spatial())}",
                )
        return tuple(level for level in levels.values() if level is not None)

    def stride(self, size: Size) -> int:
        """Pixels a position: a power of two for maps that halve, the patch for those of one resolution."""
        exact = self.size[0] / size[0]
        hierarchical = any((level := self._level(s.name, s.modules)) and level.size != self.grid for s in self.stages)
        return 2 ** round(math.log2(exact)) if hierarchical else round(exact)

    def _spatial(self) -> list[str]:
        return [stage.name for stage in self.stages if self._level(stage.name, stage.modules) is not None]

    def _level(self, name: str, modules: Sequence[nn.Module]) -> _Level | None:
        """The last spatial output of these modules; None where all they give is pooled."""
        for module, out in reversed(self.shapes):
            if any(module is each for each in modules):
                for layout in self._readings(out):
                    if out.ndim == 3 or layout == self.last:
                        shape = as_map(out, layout, self.grid, self.size).shape
                        return _Level(name, module, layout, (shape[2], shape[3]))
        return None

    def _layout(self) -> Layout:
        """Whether maps have their channels first or last; where an output reads both ways, the others decide."""
        counts: dict[Layout, int] = {"NCHW": 0, "NHWC": 0}
        for _, out in self.shapes:
            readings = self._readings(out)
            if len(readings) == 1 and readings[0] in counts:
                counts[readings[0]] += 1
        return "NHWC" if counts["NHWC"] > counts["NCHW"] else "NCHW"

    def _readings(self, out: Tensor) -> list[Layout]:
        """How an output may be read as a map that is no smaller than that of the features."""
        if out.ndim == 4:
            sides: dict[Layout, Size] = {
                "NCHW": (out.shape[2], out.shape[3]),
                "NHWC": (out.shape[1], out.shape[2]),
            }
            return [layout for layout, side in sides.items() if self._fits(side)]
        if out.ndim != 3:
            return []
        if 0 <= out.shape[1] - math.prod(self.grid) <= _PREFIX:
            return ["patches"]
        return ["tokens"] if (side := proportional(out.shape[1], self.size)) and self._fits(side) else []

    def _fits(self, side: Size) -> bool:
        """Whether (H, W) has the proportions of the image, but for rounding, and at least the size of the grid."""
        large = side[0] >= self.grid[0] and side[1] >= self.grid[1]
        within = side[0] <= self.size[0] and side[1] <= self.size[1]
        return large and within and abs(side[0] - side[1] * self.size[0] / self.size[1]) <= 1


def as_map(out: Tensor, layout: Layout, grid: Size | None, size: Size) -> Tensor:
    """(B, C, H, W) of what a stage gave.

    Args:
        out: of the stage.
        layout: how it lies.
        grid: (H, W) of the patches, where the layout is that.
        size: (H, W) of the image.
    """
    if layout == "NCHW":
        return out
    if layout == "NHWC":
        return out.permute(0, 3, 1, 2)
    grid = grid if layout == "patches" else proportional(out.shape[1], size)
    if grid is None:
        raise UsageError(
            f"{out.shape[1]} tokens of a stage make no grid over an image of {size[0]} x {size[1]}",
            help="give images of the size that the backbone was made for",
        )
    # Class and register tokens stand before the patches.
    return out[:, out.shape[1] - math.prod(grid) :].transpose(1, 2).reshape(len(out), -1, *grid)


def proportional(count: int, size: Size) -> Size | None:
    """(H, W) with H * W == count and the image's own proportions."""
    height = round(math.sqrt(count * size[0] / size[1]))
    if height == 0 or count % height or height * size[1] != (count // height) * size[0]:
        return None
    return height, count // height


def _size(inputs: Inputs) -> Size:
    pixels = inputs["image"].get("pixels")
    if pixels is None or pixels.ndim != 4:
        raise UsageError(
            "this backbone does not take its images as one batch of pixels, and maps are made of such",
            help="choose a convolutional network or a vision transformer, such as torchvision/resnet18",
        )
    return pixels.shape[2], pixels.shape[3]


@contextmanager
def _outputs(modules: set[nn.Module], into: dict[nn.Module, Tensor]) -> Iterator[None]:
    """Keep the last output of each of these modules."""
    calls: list[tuple[nn.Module, Tensor]] = []
    with noted(modules, calls):
        yield
    into.update(calls)
