"""Heads for pixels and tokens on real backbones with random weights."""

import pytest
import torch

import zoo
from zoo.models.backbone import Backbone
from zoo.models.dense_heads import SegmentHead, TokenHead
from zoo.models.features import Features
from zoo.models.heads import build_head
from zoo.models.pyramid import MapShapes, Pyramid


def answers(backbone: Backbone, size: tuple[int, int]) -> tuple[SegmentHead, torch.Tensor]:
    pyramid = Pyramid(backbone)
    head = build_head("segment", dim=1, token_dim=1, outputs=3, maps=pyramid.shapes)
    assert isinstance(head, SegmentHead)
    return head, head(pyramid.features({"image": {"pixels": torch.rand(2, 3, *size)}}))


@pytest.mark.parametrize(
    ("name", "size", "maps"),
    [
        ("torchvision/resnet18", (64, 96), 4),
        ("torchvision/mobilenet_v2", (64, 64), 4),
        ("torchvision/squeezenet1_1", (64, 64), 3),
        ("timm/vit_tiny_patch16_224", (224, 224), 1),
    ],
)
def test_every_pixel_has_its_logits(name: str, size: tuple[int, int], maps: int) -> None:
    head, out = answers(zoo.load(f"{name}@random"), size)
    assert out.shape == (2, 3, *size)
    assert len(head.lateral) == maps
    out.square().mean().backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_a_coarse_map_is_doubled_until_it_is_fine() -> None:
    vit = SegmentHead(MapShapes((192,), (16,), (224, 224)), 2)
    assert len(vit.refine) == 3  # 16, 8, 4
    assert len(SegmentHead(MapShapes((64, 128), (4, 8), (224, 224)), 2).refine) == 1


def test_small_images_keep_their_fine_maps() -> None:
    shapes = MapShapes((16, 32, 48), (1, 2, 4), (32, 32))
    assert SegmentHead(shapes, 2).first == 0
    assert SegmentHead(MapShapes(shapes.channels, shapes.strides, (224, 224)), 2).first == 2


def test_tokens_have_their_logits_each_from_itself() -> None:
    head = TokenHead(8, 3).eval()
    tokens = torch.rand(2, 5, 8)
    out = head(Features(pooled=tokens[:, 0], tokens=tokens))
    assert out.shape == (2, 5, 3)
    changed = tokens.clone()
    changed[:, 2] += 1
    moved = (head(Features(pooled=tokens[:, 0], tokens=changed)) != out).any(2)
    assert moved.nonzero()[:, 1].tolist() == [2, 2]
