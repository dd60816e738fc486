"""Answers to every pixel or every word, moved and cut in step with their image or text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.spec import Modality
from zoo.data.augment import Draw
from zoo.data.boxes import Boxes, Frame
from zoo.data.decode import decode_mask
from zoo.data.masks import Mask
from zoo.data.tags import IGNORED, Tags, first_pieces
from zoo.data.types import Examples
from zoo.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Rows = NDArray[np.int64]
DrawOf = Callable[[int], Draw | None]


@runtime_checkable
class MovesMasks(Protocol):
    """A processor of images that can do to a mask what it does to its image."""

    def mask(self, value: Any, draw: Any = None) -> Tensor:
        """(H, W) uint8 class numbers of a PIL image of mode L, in step with `__call__`; 255 = ignored."""

    def whole(self) -> Any:
        """The same processor without cutting anything off."""

    def unmask(self, numbers: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
        """Class numbers of what `whole` gave, back at the (W, H) of the image."""


@runtime_checkable
class LocatesTokens(Protocol):
    """A processor of texts that knows where in the text each token stands."""

    def spans(self, value: str) -> Sequence[tuple[int, int]]:
        """(start, end) characters of each token that `__call__` gives; (0, 0) for special tokens."""


class AlignedTargets(Protocol):
    """Targets that have to be made with the inputs of their batch."""

    def __call__(self, rows: Rows, inputs: Mapping[Modality, Mapping[str, Tensor]], draw: DrawOf) -> Tensor:
        """Targets of these rows."""


def aligned_targets(examples: Examples, processors: Mapping[Modality, Any]) -> AlignedTargets | None:
    """What makes the targets of a batch; None where they are numbers that need no alignment."""
    targets = examples.targets
    if targets is None or targets.dtype != object or not len(targets):
        return None
    if isinstance(targets[0], Mask):
        return _Masks(targets, moves_masks(processors["image"]))
    if isinstance(targets[0], Boxes):
        return _Objects(targets)
    if isinstance(targets[0], Tags):
        return _Labels(targets, examples.inputs["text"], locates_tokens(processors["text"]))
    return None


def moves_masks(processor: Any) -> MovesMasks:
    """The processor, if it can move masks.

    Raises:
        UsageError: it cannot.
    """
    if isinstance(processor, MovesMasks):
        return processor
    raise UsageError(
        "the images of this backbone are prepared in a way that masks cannot follow",
        help="choose another backbone, such as torchvision/resnet18",
    )


def locates_tokens(processor: Any) -> LocatesTokens:
    """The processor, if it knows where its tokens stand.

    Raises:
        UsageError: it does not.
    """
    if isinstance(processor, LocatesTokens):
        return processor
    raise UsageError(
        "the tokenizer of this backbone does not say where in the text its tokens stand, so words have no token",
        help="choose one with a fast tokenizer of transformers, or starter/text-transformer",
    )


class _Masks:
    """(B, H, W) uint8."""

    def __init__(self, masks: NDArray[Any], processor: MovesMasks) -> None:
        self.masks = masks
        self.processor = processor

    def __call__(self, rows: Rows, inputs: Mapping[Modality, Mapping[str, Tensor]], draw: DrawOf) -> Tensor:
        import torch

        return torch.stack([self.processor.mask(decode_mask(self.masks[row].ref), draw(int(row))) for row in rows])


class _Objects:
    """(B, M, 5) float32: left, upper, right and lower of each object in pixels of the canvas, and its class index.

    Images with fewer objects than others are filled up with objects of class -1, which are none.
    """

    def __init__(self, boxes: NDArray[Any]) -> None:
        self.boxes = boxes

    def __call__(self, rows: Rows, inputs: Mapping[Modality, Mapping[str, Tensor]], draw: DrawOf) -> Tensor:
        import torch

        height, width = inputs["image"]["pixels"].shape[2:]
        frames = [Frame(*numbers) for numbers in inputs["image"]["frame"].tolist()]
        found = [
            self.boxes[row].trained.on_canvas(frame, (width, height)) for row, frame in zip(rows, frames, strict=True)
        ]
        targets = np.full((len(rows), max(map(len, found)), 5), -1.0, dtype=np.float32)
        for each, target in zip(found, targets, strict=True):
            target[: len(each), :4] = each.corners
            target[: len(each), 4] = each.labels
        return torch.from_numpy(targets)


class _Labels:
    """(B, T) int64: the label of a word at its first token, -100 at all others."""

    def __init__(self, tags: NDArray[Any], texts: Sequence[str], processor: LocatesTokens) -> None:
        self.labels = [
            _of_tokens(each.indices, text, processor.spans(text)) for each, text in zip(tags, texts, strict=True)
        ]

    def __call__(self, rows: Rows, inputs: Mapping[Modality, Mapping[str, Tensor]], draw: DrawOf) -> Tensor:
        import torch

        mask = inputs["text"]["mask"]
        targets = torch.full(mask.shape, IGNORED, dtype=torch.int64)
        # By the mask, so that it does not matter on which side the padding is.
        targets[mask] = torch.from_numpy(np.concatenate([self.labels[row] for row in rows]))
        return targets


def _of_tokens(tags: NDArray[np.int64], text: str, spans: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    labels = np.full(len(spans), IGNORED, dtype=np.int64)
    first = first_pieces(text, spans)
    labels[first[first >= 0]] = tags[first >= 0]
    return labels
