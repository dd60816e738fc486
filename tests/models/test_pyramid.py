"""One value for the maps of every image backbone: resolutions, channels, gradients and frozen stages."""

import pytest
import torch
from torch import nn

import zoo
from zoo.models.pyramid import Pyramid

PIXELS = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def maps_of(name: str) -> Pyramid:
    return Pyramid(zoo.load(f"{name}@random")).eval()


@pytest.mark.parametrize(
    ("name", "channels", "strides"),
    [
        ("torchvision/resnet18", (64, 128, 256, 512), (4, 8, 16, 32)),
        ("torchvision/mobilenet_v2", (16, 24, 32, 96, 1280), (2, 4, 8, 16, 32)),
        ("torchvision/vgg11", (64, 128, 256, 512, 512), (2, 4, 8, 16, 32)),
        ("torchvision/squeezenet1_1", (64, 128, 512), (4, 8, 16)),
        ("timm/swin_tiny_patch4_window7_224", (96, 192, 384, 768), (4, 8, 16, 32)),
    ],
)
def test_maps_fall_in_resolution_as_they_say(name: str, channels: tuple[int, ...], strides: tuple[int, ...]) -> None:
    pyramid = maps_of(name)
    assert (pyramid.channels, pyramid.strides) == (channels, strides)
    size = (224, 224) if "swin" in name else (64, 96)  # its windows are made for one size
    with torch.no_grad():
        maps = pyramid({"image": {"pixels": torch.rand(2, 3, *size)}})
    assert tuple(each.shape[1] for each in maps) == channels
    for each, stride in zip(maps, strides, strict=True):
        # Networks that pad less lose up to two positions at the border.
        assert size[0] // stride - 2 <= each.shape[2] <= -(-size[0] // stride)
        assert size[1] // stride - 2 <= each.shape[3] <= -(-size[1] // stride)


def test_maps_are_what_the_stages_give() -> None:
    pyramid = maps_of("torchvision/resnet18")
    model = pyramid.backbone.model
    assert isinstance(model, nn.Module)
    x = PIXELS
    with torch.no_grad():
        for name in ("conv1", "bn1", "relu", "maxpool"):
            x = model.get_submodule(name)(x)
        for name, found in zip(pyramid.levels, pyramid({"image": {"pixels": PIXELS}}), strict=True):
            x = model.get_submodule(name)(x)
            assert torch.equal(found, x)


def test_a_plain_vit_gives_its_one_grid() -> None:
    pyramid = maps_of("timm/vit_tiny_patch16_224")
    assert (pyramid.channels, pyramid.strides) == ((192,), (16,))
    inputs = {"image": {"pixels": torch.rand(1, 3, 224, 224)}}
    with torch.no_grad():
        assert torch.equal(pyramid(inputs)[0], pyramid.backbone(inputs).map())


def test_named_stages_give_their_own_maps() -> None:
    backbone = zoo.load("timm/vit_tiny_patch16_224@random").eval()
    pyramid = Pyramid(backbone, ["blocks.2", "blocks.11"])
    assert (pyramid.levels, pyramid.strides) == (("blocks.2", "blocks.11"), (16, 16))
    with torch.no_grad():
        inner, outer = pyramid({"image": {"pixels": torch.rand(1, 3, 224, 224)}})
    assert inner.shape == outer.shape == (1, 192, 14, 14)
    assert not torch.equal(inner, outer)


def test_gradients_reach_every_stage_that_is_not_frozen() -> None:
    backbone = zoo.load("torchvision/resnet18@random")
    pyramid = Pyramid(backbone)
    backbone.freeze_except(["layer3", "layer4"])
    sum(each.square().mean() for each in pyramid.train()({"image": {"pixels": PIXELS}})).backward()
    for stage in backbone.stages():
        with_gradient = [p.grad is not None for p in stage.parameters()]
        assert all(with_gradient) if stage.name in ("layer3", "layer4") else not any(with_gradient)


def test_frozen_stages_stay_as_they_were_in_training() -> None:
    backbone = zoo.load("torchvision/resnet18@random")
    pyramid = Pyramid(backbone)
    backbone.freeze_except(["layer4"])
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    pyramid.train()({"image": {"pixels": PIXELS}})
    changed = {
        name.split(".")[1] for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"layer4"}  # the statistics of its batch norms


def test_a_pyramid_leaves_no_hook_behind() -> None:
    backbone = zoo.load("torchvision/squeezenet1_1@random")
    Pyramid(backbone)({"image": {"pixels": PIXELS}})
    assert not any(module._forward_hooks for module in backbone.modules())


def test_a_stage_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(zoo.UnknownNameError, match=r"layer9.*"):
        Pyramid(zoo.load("torchvision/resnet18@random"), ["layer9"])


def test_a_backbone_without_a_grid_is_refused() -> None:
    with pytest.raises(zoo.UsageError, match="no spatial grid"):
        Pyramid(zoo.load("timm/pit_ti_224@random"))


def test_a_text_backbone_is_refused() -> None:
    with pytest.raises(zoo.UsageError, match="takes no images"):
        Pyramid(zoo.load("starter/bag-of-words"))
