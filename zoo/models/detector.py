"""Detection: boxes and classes of objects, by torchvision's detector heads on the feature pyramid of any backbone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from zoo.catalog.spec import ImagePreprocess
from zoo.data.boxes import KEPT_AREA
from zoo.data.letterbox import LetterboxProcessor
from zoo.errors import UnknownNameError, UsageError
from zoo.models.backbone import Backbone, Inputs
from zoo.models.pyramid import Pyramid

DetectorKind = Literal["fcos", "retinanet", "faster-rcnn"]
"""FCOS (Tian et al. 2019, https://arxiv.org/abs/1904.01355), RetinaNet (Lin et al. 2017,
https://arxiv.org/abs/1708.02002), Faster R-CNN (Ren et al. 2015, https://arxiv.org/abs/1506.01497)."""

WIDTH = 256
"""Channels of the feature pyramid, as in the papers."""
FINEST = {"fcos": 8, "retinanet": 8, "faster-rcnn": 4}
"""The smallest stride that each reads, as in the papers: a finer one costs four times as much."""
MIN_SCORE = 0.05
"""Objects of a smaller score are not reported."""


@dataclass(frozen=True)
class DetectorOptions:
    """What rebuilds a detector head."""

    kind: DetectorKind
    classes: int
    levels: tuple[str, ...]
    """Stages whose maps are read, fine to coarse."""
    width: int = WIDTH


@dataclass(frozen=True)
class FoundBoxes:
    """The objects that were found in one image, greatest score first."""

    boxes: Tensor
    """(M, 4) left, upper, right, lower in pixels of the image before it was put on a canvas."""
    labels: Tensor
    """(M,) class indices."""
    scores: Tensor
    """(M,) in [0, 1]."""


@dataclass(frozen=True)
class TrueBoxes:
    """The objects that are in one image."""

    boxes: Tensor
    """(M, 4) as in `FoundBoxes`."""
    labels: Tensor
    """(M,) int64 class indices."""

    def to(self, device: torch.device) -> TrueBoxes:
        """On this device."""
        return TrueBoxes(self.boxes.to(device, non_blocking=True), self.labels.to(device, non_blocking=True))


class DetectorHead(nn.Module):
    """torchvision's feature pyramid network and detector head on the maps of a backbone.

    Args:
        options: kind, number of classes and width.
        channels: of each map, fine to coarse.
        strides: of each map.
    """

    def __init__(self, options: DetectorOptions, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.options = options
        self.stride = strides[-1]
        self.first_label = 1 if options.kind == "faster-rcnn" else 0  # class 0 of Faster R-CNN is the background
        self.net = _BUILD[options.kind](options, tuple(channels), tuple(strides))

    def forward(
        self, maps: Sequence[Tensor], size: tuple[int, int], truth: Sequence[TrueBoxes] | None = None
    ) -> dict[str, Tensor] | list[FoundBoxes]:
        """Losses by name in training, where `truth` is needed; otherwise what was found.

        Args:
            maps: (B, C, H, W) of each level, fine to coarse.
            size: (H, W) of the canvas, in which all boxes are given.
            truth: of each image.
        """
        from torchvision.models.detection.image_list import ImageList

        fpn: Any = self.net.backbone
        levels: dict[str, Tensor] = fpn(OrderedDict((str(i), each) for i, each in enumerate(maps)))
        # torchvision reads from the images no more than their size.
        canvas = ImageList(maps[0].new_empty((len(maps[0]), 0, *size)), [size] * len(maps[0]))
        targets = None
        if self.training:
            assert truth is not None, "in training a detector needs the true boxes"
            targets = [{"boxes": each.boxes, "labels": each.labels + self.first_label} for each in truth]
        if self.options.kind == "faster-rcnn":
            losses, found = _two_stages(self.net, canvas, levels, targets)
        else:
            losses, found = _one_stage(self.options.kind, self.net, canvas, list(levels.values()), targets)
        if self.training:
            return losses
        return [FoundBoxes(each["boxes"], each["labels"] - self.first_label, each["scores"]) for each in found]


class Detector(nn.Module):
    """A backbone that finds objects: `backbone` gives the maps, `head` the boxes.

    The stages of the backbone are frozen and trained as always: `detector.backbone.freeze_except(["layer4"])`.
    """

    def __init__(self, backbone: Backbone, options: DetectorOptions, classes: Sequence[str] = ()) -> None:
        super().__init__()
        self.backbone = backbone
        # Held aside: it is the same backbone, whose parameters must not be registered twice.
        object.__setattr__(self, "pyramid", _pyramid(backbone, options.levels))
        self.pyramid: Pyramid
        self.options = options
        self.classes = tuple(classes)
        self.head = DetectorHead(options, self.pyramid.channels, self.pyramid.strides)

    def forward(self, inputs: Inputs, truth: Sequence[TrueBoxes] | None = None) -> dict[str, Tensor] | list[FoundBoxes]:
        """Losses by name in training, where `truth` is needed; otherwise what was found in each image.

        Args:
            inputs: {"image": {"pixels": (B, C, H, W) normalised, "frame": (B, 4)}}. Where there is a frame, as
                `processor` gives it, all boxes are in pixels of the images before they were put on the canvas.
            truth: of each image.
        """
        image = dict(inputs["image"])
        frame = image.pop("frame", None)
        size = (image["pixels"].shape[2], image["pixels"].shape[3])
        image["pixels"] = _padded(image["pixels"], self.head.stride)
        maps = self.pyramid({"image": image})
        if truth is not None and frame is not None:
            truth = [_onto_canvas(each, numbers, size) for each, numbers in zip(truth, frame, strict=True)]
        found = self.head(maps, size, truth)
        if frame is None or isinstance(found, dict):
            return found  # type: ignore[no-any-return]
        return [_off_canvas(each, numbers) for each, numbers in zip(found, frame, strict=True)]

    def processor(self, side: int | None = None) -> LetterboxProcessor:
        """Images to the canvas that this detector reads, normalised as the backbone's weights want it.

        Args:
            side: pixels of the square canvas, rounded up to a multiple of the coarsest stride; the backbone's own
                image size if None.
        """
        preprocess = image_preprocess(self.backbone)
        return LetterboxProcessor(preprocess, canvas_side(side or max(preprocess.size), self.head.stride))


def detector(
    backbone: Backbone,
    classes: Sequence[str],
    *,
    kind: DetectorKind = "fcos",
    levels: Sequence[str] | None = None,
    width: int = WIDTH,
) -> Detector:
    """A detector of these classes on the feature pyramid of a backbone, its head untrained.

    Args:
        backbone: of images, with stages that give maps.
        classes: their names, in the order of the class indices.
        kind: fcos, retinanet or faster-rcnn.
        levels: names of the stages to read; those of stride 8 and more, for Faster R-CNN of stride 4 and more, if None.
        width: channels of the feature pyramid, 64 or more in steps of 32; less is faster and less accurate.

    Raises:
        UnknownNameError: no such kind or stage.
        UsageError: a backbone without maps, no class, or a width that cannot be.
    """
    if not classes:
        raise UsageError("a detector needs at least one class", help='name them: classes=["cat", "dog"]')
    return Detector(backbone, detector_options(backbone, len(classes), kind=kind, levels=levels, width=width), classes)


def detector_options(
    backbone: Backbone, classes: int, *, kind: str, levels: Sequence[str] | None = None, width: int = WIDTH
) -> DetectorOptions:
    """The options with nothing left open; raises what `detector` raises."""
    if kind not in get_args(DetectorKind):
        raise UnknownNameError(
            "detector", kind, get_args(DetectorKind), help=f"use {', '.join(get_args(DetectorKind))}"
        )
    if width < 64 or width % 32:
        # In a group of one channel a map of one position would be normed to nothing.
        groups = "the heads norm 32 groups of two channels or more"
        raise UsageError(f"a feature pyramid of {width} channels", help=f"give 64, 96, 128, ...: {groups}")
    pyramid = _pyramid(backbone, levels)
    names = pyramid.levels
    if levels is None:
        kept = [n for n, stride in zip(names, pyramid.strides, strict=True) if stride >= FINEST[kind]]
        names = tuple(kept) or names[-1:]
    return DetectorOptions(kind=kind, classes=classes, levels=tuple(names), width=width)  # type: ignore[arg-type]


def image_preprocess(backbone: Backbone) -> ImagePreprocess:
    """How the backbone's weights want their images.

    Raises:
        UsageError: it takes no images, or does not say how.
    """
    found = backbone.spec.preprocess_for(backbone.weights).get("image")
    if not isinstance(found, ImagePreprocess):
        raise UsageError(
            f"{backbone.name} does not say how its images are normalised",
            help="`zoo list --modality image` shows backbones of images",
        )
    return found


def canvas_side(side: int, stride: int) -> int:
    """The smallest multiple of the stride that is at least `side`."""
    return -(-side // stride) * stride


def _pyramid(backbone: Backbone, levels: Sequence[str] | None) -> Pyramid:
    """The maps of a backbone, which looks at one image to learn its shapes: in eval mode, or batch norm would drift."""
    was_training = backbone.training
    backbone.eval()
    pyramid = Pyramid(backbone, levels)
    backbone.train(was_training)
    return pyramid


def _one_stage(
    kind: str, net: Any, canvas: Any, levels: list[Tensor], targets: list[dict[str, Tensor]] | None
) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    outputs = net.head(levels)
    anchors = net.anchor_generator(canvas, levels)
    # Every position has the same number of anchors: one for FCOS, nine for RetinaNet.
    each = anchors[0].shape[0] // sum(level.shape[2] * level.shape[3] for level in levels)
    counts = [level.shape[2] * level.shape[3] * each for level in levels]
    if targets is not None:
        by_level = (counts,) if kind == "fcos" else ()
        return net.compute_loss(targets, outputs, anchors, *by_level), []
    split = {name: list(output.split(counts, dim=1)) for name, output in outputs.items()}
    return {}, net.postprocess_detections(split, [list(a.split(counts)) for a in anchors], canvas.image_sizes)


def _two_stages(
    net: Any, canvas: Any, levels: dict[str, Tensor], targets: list[dict[str, Tensor]] | None
) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    proposals, proposal_losses = net.rpn(canvas, levels, targets)
    found, losses = net.roi_heads(levels, proposals, canvas.image_sizes, targets)
    return {**losses, **proposal_losses}, found


def _build_fcos(options: DetectorOptions, channels: tuple[int, ...], strides: tuple[int, ...]) -> nn.Module:
    from torchvision.models.detection import FCOS
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    sizes = tuple((stride,) for stride in _with_two_coarser(strides))
    net: nn.Module = FCOS(
        _fpn(options.width, channels, coarser="convolutions"),
        options.classes,
        anchor_generator=AnchorGenerator(sizes, ((1.0,),) * len(sizes)),
        score_thresh=MIN_SCORE,
    )
    return net


def _build_retinanet(options: DetectorOptions, channels: tuple[int, ...], strides: tuple[int, ...]) -> nn.Module:
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    # As in the paper: anchors of four strides, in three sizes an octave.
    sizes = tuple(tuple(int(4 * s * 2 ** (i / 3)) for i in range(3)) for s in _with_two_coarser(strides))
    net: nn.Module = RetinaNet(
        _fpn(options.width, channels, coarser="convolutions"),
        options.classes,
        anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        score_thresh=MIN_SCORE,
    )
    return net


def _build_faster_rcnn(options: DetectorOptions, channels: tuple[int, ...], strides: tuple[int, ...]) -> nn.Module:
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.ops import MultiScaleRoIAlign

    sizes = tuple((8 * stride,) for stride in (*strides, 2 * strides[-1]))
    hidden, side = 4 * options.width, 7
    net: nn.Module = FasterRCNN(
        _fpn(options.width, channels, coarser="pooling"),
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        box_roi_pool=MultiScaleRoIAlign([str(i) for i in range(len(strides))], output_size=side, sampling_ratio=2),
        box_head=TwoMLPHead(options.width * side**2, hidden),
        box_predictor=FastRCNNPredictor(hidden, options.classes + 1),
        box_score_thresh=MIN_SCORE,
    )
    return net


_BUILD = {"fcos": _build_fcos, "retinanet": _build_retinanet, "faster-rcnn": _build_faster_rcnn}


def _fpn(width: int, channels: tuple[int, ...], *, coarser: Literal["convolutions", "pooling"]) -> nn.Module:
    from torchvision.ops import FeaturePyramidNetwork
    from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

    extra = LastLevelP6P7(channels[-1], width) if coarser == "convolutions" else LastLevelMaxPool()
    fpn: Any = FeaturePyramidNetwork(list(channels), width, extra_blocks=extra)
    fpn.out_channels = width  # where torchvision's detectors look for it
    return fpn  # type: ignore[no-any-return]


def _with_two_coarser(strides: tuple[int, ...]) -> tuple[int, ...]:
    return (*strides, 2 * strides[-1], 4 * strides[-1])


def _padded(pixels: Tensor, stride: int) -> Tensor:
    """Filled with the mean on the right and below to a multiple of the stride."""
    height, width = pixels.shape[2:]
    missing = (canvas_side(width, stride) - width, canvas_side(height, stride) - height)
    return nn.functional.pad(pixels, (0, missing[0], 0, missing[1])) if any(missing) else pixels


def _onto_canvas(truth: TrueBoxes, frame: Tensor, size: tuple[int, int]) -> TrueBoxes:
    """True boxes on the canvas; those of which a random crop left little are gone."""
    scale, shift = frame[[0, 2, 0, 2]], frame[[1, 3, 1, 3]]
    whole = _ordered(truth.boxes * scale + shift)
    limits = whole.new_tensor([size[1], size[0], size[1], size[0]])
    inside = torch.minimum(whole.clamp(min=0), limits)
    # Thinner than a pixel, a box has no place in any map.
    kept = (_area(inside) >= KEPT_AREA * _area(whole)) & ((inside[:, 2:] - inside[:, :2]) >= 1).all(1)
    return TrueBoxes(inside[kept], truth.labels[kept])


def _off_canvas(found: FoundBoxes, frame: Tensor) -> FoundBoxes:
    scale, shift = frame[[0, 2, 0, 2]], frame[[1, 3, 1, 3]]
    return FoundBoxes(_ordered((found.boxes - shift) / scale), found.labels, found.scores)


def _ordered(boxes: Tensor) -> Tensor:
    """Left before right, even where the frame mirrors."""
    first, last = boxes[:, :2], boxes[:, 2:]
    return torch.cat([torch.minimum(first, last), torch.maximum(first, last)], dim=1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
