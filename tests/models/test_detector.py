"""Detection on the feature pyramid of a backbone: what is learned, what stays frozen, where boxes lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from shapes import CLASSES, Picture, pictures
from torch.utils.data import DataLoader

import zoo
from zoo.data.augment import Draw, recipe
from zoo.data.boxes import Boxes, Frame
from zoo.data.letterbox import LetterboxProcessor
from zoo.models.detector import Detector, DetectorKind, TrueBoxes, detector
from zoo.models.pyramid import Pyramid
from zoo.transfer.precision import Evaluated


def precision(model: Detector, side: int, rows: Sequence[Picture]) -> float:
    """mAP at IoU 0.5."""
    pytest.importorskip("pycocotools")
    found = model.predict([image for image, _ in rows], side=side)
    return Evaluated(found, [true for _, true in rows]).metrics()["map_50"] or 0.0


def train(model: Detector, side: int, rows: Sequence[Picture], *, epochs: int, lr: float) -> list[float]:
    """The mean loss of each epoch, in batches of 8."""
    processor = model.processor(side)
    examples = [processor(image) for image, _ in rows]
    truth = []
    for (_, frame), (_, boxes) in zip(examples, rows, strict=True):
        placed = boxes.on_canvas(Frame(*frame.tolist()), (processor.side, processor.side))
        truth.append(TrueBoxes(torch.from_numpy(placed.corners), torch.from_numpy(placed.labels)))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    order = torch.Generator().manual_seed(0)
    means = []
    for _ in range(epochs):
        model.train()
        total = 0.0
        for picked in DataLoader(range(len(rows)), 8, shuffle=True, generator=order):  # type: ignore[arg-type]
            inputs = processor.finish(processor.collate([examples[i] for i in picked]))
            losses = model({"image": inputs}, [truth[i] for i in picked])
            loss = torch.stack(list(losses.values())).sum()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            total += float(loss.detach()) * len(picked)
        means.append(total / len(rows))
    return means


@pytest.mark.parametrize(
    ("name", "levels"), [("resnet18", ["layer1", "layer2"]), ("mobilenet_v2", ["features.3", "features.6"])]
)
def test_a_detector_learns_to_find_shapes_it_has_not_seen(name: str, levels: list[str]) -> None:
    torch.manual_seed(0)
    model = detector(zoo.load(f"torchvision/{name}@random"), CLASSES, width=64, levels=levels)
    rows, unseen = pictures(32), pictures(12, seed=1)
    before = precision(model, 64, unseen)
    losses = train(model, 64, rows, epochs=4, lr=3e-3)
    assert losses[-1] < 0.7 * losses[0]
    assert precision(model, 64, unseen) > before + 0.25


class Whole(torch.nn.Module):
    """Maps and feature pyramid together, as torchvision's detectors want their backbone."""

    def __init__(self, pyramid: Pyramid, fpn: Any, levels: int) -> None:
        super().__init__()
        self.maps = [pyramid]  # in a list, or its modules would be registered again
        self.fpn = fpn
        self.levels = levels

    def forward(self, pixels: torch.Tensor) -> Any:
        maps = self.maps[0]({"image": {"pixels": pixels}})[-self.levels :]
        return self.fpn({str(i): each for i, each in enumerate(maps)})


@pytest.mark.parametrize("kind", ["fcos", "retinanet", "faster-rcnn"])
def test_a_detector_says_what_torchvision_says_and_all_of_it_learns(kind: DetectorKind) -> None:
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    torch.manual_seed(0)
    model = detector(zoo.load("torchvision/resnet18@random"), CLASSES, kind=kind, width=64)
    pixels = torch.randn(2, 3, 64, 64)
    first = 1 if kind == "faster-rcnn" else 0
    truth = [
        TrueBoxes(torch.tensor([[8.0, 8.0, 40.0, 44.0]]), torch.tensor([1])),
        TrueBoxes(torch.zeros(0, 4), torch.zeros(0).long()),
    ]
    torch.manual_seed(1)  # Faster R-CNN draws its proposals
    losses = model.train()({"image": {"pixels": pixels}}, truth)
    assert isinstance(losses, dict)
    torch.autograd.backward(torch.stack(list(losses.values())).sum())
    assert [n for n, p in model.head.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    found = model.eval()({"image": {"pixels": pixels}})

    net: Any = model.head.net
    net.backbone = Whole(model.pyramid, net.backbone, model.head.levels)
    # Without resizing it draws no random number of its own.
    net.transform = GeneralizedRCNNTransform(64, 64, [0.0] * 3, [1.0] * 3, fixed_size=(64, 64), _skip_resize=True)
    for each, own in zip(net.eval()(list(pixels)), found, strict=True):
        torch.testing.assert_close(own.boxes, each["boxes"])
        assert own.labels.tolist() == (each["labels"] - first).tolist()
        torch.testing.assert_close(own.scores, each["scores"])
    torch.manual_seed(1)
    model.train()
    expected = net(list(pixels), [{"boxes": t.boxes, "labels": t.labels + first} for t in truth])
    torch.testing.assert_close(losses, dict(expected))


def test_training_leaves_frozen_stages_as_they_are_to_the_last_bit() -> None:
    torch.manual_seed(0)
    backbone = zoo.load("torchvision/resnet18@random").train()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    model = detector(backbone, CLASSES, width=64)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())  # batch norm too
    backbone.freeze_except(["layer4"])
    train(model, 64, pictures(8), epochs=2, lr=1e-2)
    moved = {name for name, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[1] for name in moved} == {"layer4"}
    assert any("running_mean" in name for name in moved)


def test_levels_are_those_of_the_papers_and_weights_are_held_once() -> None:
    backbone = zoo.load("torchvision/resnet18@random")
    model = detector(backbone, CLASSES)
    assert model.pyramid.strides[-model.head.levels :] == (8, 16, 32)
    faster = detector(backbone, CLASSES, kind="faster-rcnn", width=64)
    assert faster.pyramid.strides[-faster.head.levels :] == (4, 8, 16, 32)
    count = sum(tensor.numel() for tensor in backbone.state_dict().values())
    assert sum(t.numel() for n, t in model.state_dict().items() if n.startswith("backbone.")) == count
    assert all(name.startswith(("backbone.", "head.")) for name in model.state_dict())


def test_boxes_follow_the_image_through_every_change_and_back() -> None:
    image = Image.new("RGB", (90, 60), (0, 0, 0))
    ImageDraw.Draw(image).rectangle((30, 20, 49, 39), fill=(255, 255, 255))
    boxes = Boxes(np.array([[30, 20, 50, 40]], dtype=np.float32), np.array([0]), CLASSES, image.size)
    processor = LetterboxProcessor(zoo.ImagePreprocess(size=(64, 64)), 96)
    for draw in [None, *(Draw(recipe("flip=0.5,crop=0.6"), 0, 0, row) for row in range(12))]:
        pixels, numbers = processor(image, draw)
        frame = Frame(*numbers.tolist())
        ys, xs = np.nonzero(pixels[0].numpy() > 127)
        there = boxes.on_canvas(frame, (96, 96)).corners[0]
        # A pixel on either side for the resampling.
        np.testing.assert_allclose([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], there, atol=1.5)
        back = frame.back(frame.forth(boxes.corners))
        np.testing.assert_allclose(back, boxes.corners, atol=1e-3)


def test_objects_of_which_a_crop_leaves_little_are_not_learned() -> None:
    boxes = Boxes(np.array([[0, 0, 40, 40], [30, 30, 60, 60]], dtype=np.float32), np.array([0, 1]), CLASSES, (80, 80))
    placed = boxes.on_canvas(Frame.of_box((32, 32, 64, 64), (64, 64)), (64, 64))
    assert placed.labels.tolist() == [1]
    np.testing.assert_allclose(placed.corners, [[0, 0, 56, 56]])


def test_an_image_has_the_same_boxes_whatever_is_beside_it() -> None:
    torch.manual_seed(0)
    model = detector(zoo.load("torchvision/resnet18@random"), CLASSES, width=64)
    for name, layer in model.head.named_modules():
        if name.endswith("cls_logits"):
            torch.nn.init.normal_(layer.weight, std=0.2)  # so that an untrained head says something
    images = [image for image, _ in pictures(4)]
    together = model.predict(images, side=64)
    assert sum(map(len, together)) > 0
    for image, each in zip(images, together, strict=True):
        alone = model.predict([image], side=64)[0]
        # Convolutions over a batch add in another order.
        np.testing.assert_allclose(alone.corners, each.corners, atol=1e-2)
        assert each.scores is not None
        assert (np.diff(each.scores) <= 0).all()
        assert (each.corners >= 0).all()
        assert (each.corners[:, 2:] <= np.array(image.size)).all()
    with torch.inference_mode():
        odd = model({"image": {"pixels": torch.randn(1, 3, 50, 70)}})[0].boxes
    assert float(odd[:, [0, 2]].max()) <= 70
    assert float(odd[:, [1, 3]].max()) <= 50


def test_what_cannot_be_a_detector_is_refused() -> None:
    backbone = zoo.load("torchvision/resnet18@random")
    with pytest.raises(zoo.UnknownNameError, match="No detector is named 'yolo'"):
        detector(backbone, CLASSES, kind="yolo")  # type: ignore[arg-type]
    with pytest.raises(zoo.UsageError, match="a feature pyramid of 48 channels"):
        detector(backbone, CLASSES, width=48)
    with pytest.raises(zoo.UsageError, match="at least one class"):
        detector(backbone, ())
    with pytest.raises(zoo.UnknownNameError, match="No stage is named 'layer9'"):
        detector(backbone, CLASSES, levels=["layer9"])
    with pytest.raises(zoo.UsageError, match="takes no images"):
        detector(zoo.load("starter/bag-of-words"), CLASSES)
