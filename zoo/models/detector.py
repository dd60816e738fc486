"""Detection: boxes and classes of objects, by torchvision's detector heads on the feature pyramid of any backbone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.catalog.spec import ImagePreprocess
from zoo.data.boxes import Boxes, Frame
from zoo.data.letterbox import LetterboxProcessor, whole_strides
from zoo.errors import UnknownNameError, UsageError
from zoo.models.backbone import Backbone, Inputs
from zoo.models.features import Features
from zoo.models.heads import Head, LossHead
from zoo.models.pyramid import MapShapes, Pyramid

DetectorKind = Literal["fcos", "retinanet", "faster-rcnn"]
"""FCOS (Tian et al. 2019, https://arxiv.org/abs/1904.01355), RetinaNet (Lin et al. 2017,
https://arxiv.org/abs/1708.02002), Faster R-CNN (Ren et al. 2015, https://arxiv.org/abs/1506.01497)."""

WIDTH = 256
"""Channels of the feature pyramid, as in the papers; of narrow backbones fewer."""
FINEST: Mapping[str, int] = {"fcos": 8, "retinanet": 8, "faster-rcnn": 4}
"""The smallest stride that each reads, as in the papers: a finer one costs four times as much."""
MIN_SCORE = 0.05
"""Objects of a smaller score are not reported."""
MOST = 100
"""Objects that are reported of one image."""


@dataclass(frozen=True)
class FoundBoxes:
    """The objects that were found in one image, greatest score first."""

    boxes: Tensor
    """(M, 4) left, upper, right, lower in pixels of the input."""
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


class DetectorHead(LossHead):
    """torchvision's feature pyramid network and detector head on the maps of a backbone.

    Args:
        kind: fcos, retinanet or faster-rcnn.
        classes: how many.
        channels: of each map, fine to coarse.
        strides: of each map.
        width: channels of the feature pyramid.
        dropout: of whole channels of the feature pyramid.
    """

    def __init__(
        self,
        kind: DetectorKind,
        classes: int,
        channels: Sequence[int],
        strides: Sequence[int],
        width: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.levels = len(channels)
        self.first_label = 1 if kind == "faster-rcnn" else 0  # class 0 of Faster R-CNN is the background
        self.dropout = nn.Dropout2d(dropout)
        self.net = _BUILD[kind](classes, tuple(channels), tuple(strides), width)

    def forward(self, features: Features) -> Tensor:
        """(B, 100, 6) what was found: left, upper, right, lower, class index, score; class -1 = nothing more."""
        found = self.find(features)
        packed = features.maps[-1].new_full((len(found), MOST, 6), -1.0)
        for row, each in enumerate(found):
            packed[row, : len(each.labels)] = torch.cat([each.boxes, each.labels[:, None], each.scores[:, None]], dim=1)
        return packed

    def loss(self, features: Features, targets: Tensor) -> Tensor:
        """The sum of all losses; targets are (B, M, 5) left, upper, right, lower, class index; class -1 = nothing."""
        truth = [TrueBoxes(row[row[:, 4] >= 0, :4], row[row[:, 4] >= 0, 4].long()) for row in targets]
        return torch.stack([loss.float() for loss in self.losses(features, truth).values()]).sum()

    def losses(self, features: Features, truth: Sequence[TrueBoxes]) -> dict[str, Tensor]:
        """Scalars by torchvision's names; the head must be in training mode, the boxes in pixels of the input."""
        assert self.training, "losses are those of training"
        targets = [{"boxes": each.boxes, "labels": each.labels + self.first_label} for each in truth]
        return self._run(features, targets)[0]

    def find(self, features: Features) -> list[FoundBoxes]:
        """What is in each image, in pixels of the input, whatever mode the head is in."""
        was_training = self.training
        self.eval()
        found = self._run(features, None)[1]
        self.train(was_training)
        return [FoundBoxes(each["boxes"], each["labels"] - self.first_label, each["scores"]) for each in found]

    def _run(
        self, features: Features, targets: list[dict[str, Tensor]] | None
    ) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        from torchvision.models.detection.image_list import ImageList

        assert features.size is not None
        maps = features.maps[-self.levels :]
        fpn: Any = self.net.backbone
        pyramid: dict[str, Tensor] = fpn(OrderedDict((str(i), each) for i, each in enumerate(maps)))
        levels = {name: self.dropout(each) for name, each in pyramid.items()}
        # torchvision reads from the images no more than their size.
        canvas = ImageList(maps[0].new_empty((len(maps[0]), 0, *features.size)), [features.size] * len(maps[0]))
        if self.kind == "faster-rcnn":
            return _two_stages(self.net, canvas, levels, targets)
        return _one_stage(self.kind, self.net, canvas, list(levels.values()), targets)


class Detector(nn.Module):
    """A backbone that finds objects: `backbone` gives the maps, `head` the boxes.

    The stages of the backbone are frozen and trained as always: `detector.backbone.freeze_except(["layer4"])`.
    """

    def __init__(self, backbone: Backbone, head: DetectorHead, pyramid: Pyramid, classes: Sequence[str]) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        # Held aside: it is the same backbone, whose parameters must not be registered twice.
        object.__setattr__(self, "pyramid", pyramid)
        self.pyramid: Pyramid
        self.classes = tuple(classes)

    def forward(self, inputs: Inputs, truth: Sequence[TrueBoxes] | None = None) -> dict[str, Tensor] | list[FoundBoxes]:
        """Losses by name with `truth`, as in training; without it what was found in each image.

        Args:
            inputs: {"image": {"pixels": (B, C, H, W) normalised}}.
            truth: of each image; boxes are in pixels of the input.
        """
        pixels = inputs["image"]["pixels"]
        size = (pixels.shape[2], pixels.shape[3])
        filled = {**inputs["image"], "pixels": _filled(pixels, self.pyramid.strides[-1])}
        features = replace(self.pyramid.features({"image": filled}), size=size)
        return self.head.find(features) if truth is None else self.head.losses(features, truth)

    def predict(self, images: Sequence[Any], *, side: int | None = None) -> list[Boxes]:
        """What is in each PIL image, in its own pixels; the model keeps the mode it was in.

        Args:
            images: of any size.
            side: pixels of the square canvas on which each is put whole.
        """
        processor = self.processor(side)
        batch = processor.collate([processor(image) for image in images])
        device = next(self.parameters()).device
        was_training = self.training
        self.eval()
        with torch.inference_mode():
            inputs = processor.finish({name: tensor.to(device) for name, tensor in batch.items()})
            found = self({"image": inputs})
        self.train(was_training)
        return [
            Boxes(
                corners=each.boxes.cpu().numpy(),
                labels=each.labels.cpu().numpy(),
                names=self.classes,
                size=image.size,
                scores=each.scores.cpu().numpy(),
            ).off_canvas(Frame(*frame))
            for each, image, frame in zip(found, images, batch["frame"].tolist(), strict=True)
        ]

    def processor(self, side: int | None = None) -> LetterboxProcessor:
        """Images to the canvas that this detector reads, normalised as the backbone's weights want it.

        Args:
            side: pixels of the square canvas, rounded up to a multiple of the coarsest stride; the backbone's own
                image size if None.
        """
        return letterbox(self.backbone, side or max(self.pyramid.shapes.size), self.pyramid.strides[-1])


def detector(
    backbone: Backbone,
    classes: Sequence[str],
    *,
    kind: DetectorKind = "fcos",
    levels: Sequence[str] | None = None,
    width: int | None = None,
) -> Detector:
    """A detector of these classes on the feature pyramid of a backbone, its head untrained.

    Args:
        backbone: of images, with stages that give maps.
        classes: their names, in the order of the class indices.
        kind: fcos, retinanet or faster-rcnn.
        levels: names of the stages to read; those of stride 8 and more, for Faster R-CNN of stride 4 and more, if None.
        width: channels of the feature pyramid, 64 or more in steps of 32; 256, or fewer for a narrow backbone, if
            None. Fewer are faster and find less.

    Raises:
        UnknownNameError: no such kind or stage.
        UsageError: a backbone without maps, no class, or a width that cannot be.
    """
    if not classes:
        raise UsageError("a detector needs at least one class", help='name them: classes=["cat", "dog"]')
    if kind not in _BUILD:
        raise UnknownNameError("detector", kind, _BUILD, help=f"use {', '.join(_BUILD)}")
    was_training = backbone.training
    backbone.eval()  # the pyramid looks at one image to learn its shapes, and batch norm must not drift
    pyramid = Pyramid(backbone, levels)
    backbone.train(was_training)
    finest = FINEST[kind] if levels is None else 0
    head = _head(kind, pyramid.shapes, len(classes), finest=finest, width=width)
    return Detector(backbone, head, pyramid, classes)


def fcos(maps: MapShapes, outputs: int, dropout: float) -> Head:
    """The head `fcos`."""
    return _catalogued("fcos", maps, outputs, dropout)


def retinanet(maps: MapShapes, outputs: int, dropout: float) -> Head:
    """The head `retinanet`."""
    return _catalogued("retinanet", maps, outputs, dropout)


def faster_rcnn(maps: MapShapes, outputs: int, dropout: float) -> Head:
    """The head `faster-rcnn`."""
    return _catalogued("faster-rcnn", maps, outputs, dropout)


def letterbox(backbone: Backbone, side: int, stride: int) -> LetterboxProcessor:
    """Whole images on a square canvas of at least this side, a multiple of the stride, as the weights want them.

    Raises:
        UsageError: the backbone does not say how its images are normalised.
    """
    preprocess = backbone.spec.preprocess_for(backbone.weights).get("image")
    if not isinstance(preprocess, ImagePreprocess):
        raise UsageError(
            f"{backbone.name} does not say how its images are normalised",
            help="`zoo list --modality image` shows backbones of images",
        )
    return LetterboxProcessor(preprocess, whole_strides(side, stride))


def _catalogued(kind: DetectorKind, maps: MapShapes, outputs: int, dropout: float) -> Head:
    return _head(kind, maps, outputs, finest=FINEST[kind], width=None, dropout=dropout)


def _head(
    kind: DetectorKind, maps: MapShapes, classes: int, *, finest: int, width: int | None, dropout: float = 0.0
) -> DetectorHead:
    if width is None:
        width = min(max(max(maps.channels) // 64 * 32, 64), WIDTH)
    elif width < 64 or width % 32:
        # In a group of one channel a map of one position would be normed to nothing.
        groups = "the heads norm 32 groups of two channels or more"
        raise UsageError(f"a feature pyramid of {width} channels", help=f"give 64, 96, 128, ...: {groups}")
    read = max(sum(stride >= finest for stride in maps.strides), 1)
    return DetectorHead(kind, classes, maps.channels[-read:], maps.strides[-read:], width, dropout)


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


def _build_fcos(classes: int, channels: tuple[int, ...], strides: tuple[int, ...], width: int) -> nn.Module:
    from torchvision.models.detection import FCOS
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    sizes = tuple((stride,) for stride in _with_two_coarser(strides))
    net: nn.Module = FCOS(
        _fpn(width, channels, coarser="convolutions"),
        classes,
        anchor_generator=AnchorGenerator(sizes, ((1.0,),) * len(sizes)),
        score_thresh=MIN_SCORE,
        detections_per_img=MOST,
    )
    return net


def _build_retinanet(classes: int, channels: tuple[int, ...], strides: tuple[int, ...], width: int) -> nn.Module:
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    # As in the paper: anchors of four strides, in three sizes an octave.
    sizes = tuple(tuple(int(4 * s * 2 ** (i / 3)) for i in range(3)) for s in _with_two_coarser(strides))
    net: nn.Module = RetinaNet(
        _fpn(width, channels, coarser="convolutions"),
        classes,
        anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        score_thresh=MIN_SCORE,
        detections_per_img=MOST,
    )
    return net


def _build_faster_rcnn(classes: int, channels: tuple[int, ...], strides: tuple[int, ...], width: int) -> nn.Module:
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.ops import MultiScaleRoIAlign

    sizes = tuple((8 * stride,) for stride in (*strides, 2 * strides[-1]))
    hidden, side = 4 * width, 7
    net: nn.Module = FasterRCNN(
        _fpn(width, channels, coarser="pooling"),
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        box_roi_pool=MultiScaleRoIAlign([str(i) for i in range(len(strides))], output_size=side, sampling_ratio=2),
        box_head=TwoMLPHead(width * side**2, hidden),
        box_predictor=FastRCNNPredictor(hidden, classes + 1),
        box_score_thresh=MIN_SCORE,
        box_detections_per_img=MOST,
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


def _filled(pixels: Tensor, stride: int) -> Tensor:
    """With the mean on the right and below, up to a multiple of the stride."""
    height, width = pixels.shape[2:]
    right, below = -width % stride, -height % stride
    return nn.functional.pad(pixels, (0, right, 0, below)) if right or below else pixels
