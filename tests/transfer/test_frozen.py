"""Frozen backbones compute quicker and give the same features; afterwards they are as they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.catalog.spec import ImagePreprocess
from zoo.models.backbone import Backbone, Inputs
from zoo.transfer.devices import use_bf16
from zoo.transfer.frozen import Quick, quick
from zoo.verbs.extract import extract


def lived_in(backbone: Backbone) -> Backbone:
    """With statistics as of training: those of a new norm are 0 and 1, which no folding can miss."""
    torch.manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.3, 3)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
    return backbone


@pytest.fixture(
    scope="module", params=["torchvision/resnet18", "timm/efficientnet_b0", "torchvision/shufflenet_v2_x0_5"]
)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return lived_in(zoo.load(request.param, weights="random"))


def pooled(backbone: Backbone, inputs: Inputs) -> Tensor:
    found: Tensor = backbone(inputs).pooled
    return found


def computed(way: Quick, inputs: Inputs) -> Tensor:
    with way.on(inputs) as taken:
        return pooled(way.backbone, taken)


def pictures(side: int = 64) -> Inputs:
    return {"image": {"pixels": torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))}}


def test_every_batch_norm_behind_a_convolution_is_folded_and_features_stay(backbone: Backbone) -> None:
    way = quick(backbone, lambda inputs: pooled(backbone, inputs))
    assert way.folded == sum(isinstance(each, nn.BatchNorm2d) for each in backbone.modules())
    assert way.channels_last
    plain, found = computed(Quick(backbone), pictures()), computed(way, pictures())
    assert torch.linalg.vector_norm(plain - found) < 1e-5 * torch.linalg.vector_norm(plain)


def test_afterwards_the_backbone_is_as_it_was_even_after_an_error(backbone: Backbone) -> None:
    backbone.train()
    before = {name: (id(each), each.stride()) for name, each in backbone.named_parameters()}
    values = {name: each.clone() for name, each in backbone.state_dict().items()}
    way = quick(backbone, lambda inputs: pooled(backbone, inputs))
    with pytest.raises(RuntimeError, match="expected input"), way.on(pictures()):
        backbone({"image": {"pixels": torch.zeros(1, 5, 64, 64)}})
    assert {name: (id(each), each.stride()) for name, each in backbone.named_parameters()} == before
    assert all(torch.equal(values[name], each) for name, each in backbone.state_dict().items())
    assert not any("forward" in module.__dict__ for module in backbone.modules())
    assert backbone.training
    assert torch.is_grad_enabled()
    backbone.eval()


class Odd(nn.Module):
    """A convolution whose output goes two ways, one that runs twice, and a layer that wants its input in one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.two_ways, self.norm = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)
        self.twice, self.shared = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:
        raw = self.two_ways(x)
        x = self.norm(raw) + raw
        x = self.shared(self.twice(self.shared(self.twice(x))))
        return x.view(len(x), 4, -1).mean(2)


def test_what_folding_or_another_layout_would_change_is_left_as_it_is() -> None:
    backbone = lived_in(zoo.wrap(Odd(), preprocess=ImagePreprocess((16, 16))))
    way = quick(backbone, lambda inputs: pooled(backbone, inputs))
    assert (way.folded, way.channels_last) == (0, False)
    assert torch.equal(computed(way, pictures(16)), computed(Quick(backbone), pictures(16)))


def test_a_stage_that_ends_before_a_norm_gives_what_it_gave() -> None:
    backbone = lived_in(zoo.load("torchvision/resnet18", weights="random"))
    digits = zoo.read_dataset("sklearn:digits").splits["val"].select(range(4))
    stage = backbone.stages()[0].name
    found = extract(backbone, digits, level=stage, cache=False, batch_size=4).features
    given: list[Tensor] = []
    handle = backbone.stages()[0].modules[-1].register_forward_hook(lambda m, i, out: given.append(out))
    extract(backbone, digits, cache=False, batch_size=4)
    handle.remove()
    torch.testing.assert_close(torch.from_numpy(found), given[-1].clone(), rtol=1e-4, atol=1e-5)


def test_features_in_bf16_are_close_have_a_key_of_their_own_and_are_said(backbone: Backbone) -> None:
    digits = zoo.read_dataset("sklearn:digits").splits["val"].select(range(4))
    full, half = (extract(backbone, digits, precision=each, batch_size=4) for each in ("fp32", "bf16"))
    assert full.key != half.key
    assert (full.precision, half.precision) == ("fp32", "bf16")
    assert extract(backbone, digits, batch_size=4).key == full.key
    one, other = torch.from_numpy(full.features), torch.from_numpy(half.features)
    assert torch.cosine_similarity(one, other).min() > 0.99
    assert next(backbone.parameters()).dtype == torch.float32


def test_a_precision_that_does_not_exist_is_refused() -> None:
    with pytest.raises(zoo.UsageError, match="No precision is named 'fp16'"):
        use_bf16("fp16", torch.device("cpu"))


def test_weights_that_break_in_bf16_are_computed_by_single_operations_in_it() -> None:
    class Table(nn.Module):
        """Adds what it makes itself, in float32, before a linear layer."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(48, 8)

        def forward(self, x: Tensor) -> Any:
            return self.linear(x.flatten(1) + torch.ones(48))

    backbone = zoo.wrap(Table(), preprocess=ImagePreprocess((4, 4)))
    way = quick(backbone, lambda inputs: pooled(backbone, inputs), bf16=True)
    assert (way.cast, way.autocast) == (False, True)
    assert computed(way, pictures(4)).dtype == torch.bfloat16
