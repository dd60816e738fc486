"""Networks of torchvision, and where their own forward pass shows what zoo returns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
import zoo_torchvision
from torch import Tensor, nn
from zoo_torchvision.build import construct, make
from zoo_torchvision.listing import read

from zoo import Backbone, Catalog, Features, LoadRequest

CATALOG = Catalog.of({"torchvision": zoo_torchvision})
ROWS = read()["architectures"]
CLOSE = 1e-5
"""Relative to the largest value: the same float32 operations, but a mean may be summed in another order."""


@dataclass(frozen=True)
class Case:
    """Where torchvision's own forward pass shows what zoo returns."""

    name: str
    size: int
    tokens: str
    """The output of this module is the last map or the tokens."""
    before: str | None
    """The input of this module is the pooled vector; None: torchvision has none, and it is the mean of the map."""


CASES = [
    Case("alexnet", 96, "features", None),
    Case("vgg11", 64, "features", None),
    Case("vgg11_bn", 64, "features", None),
    Case("resnet18", 64, "layer4", "fc"),
    Case("resnet50", 64, "layer4", "fc"),
    Case("resnext50_32x4d", 64, "layer4", "fc"),
    Case("wide_resnet50_2", 64, "layer4", "fc"),
    Case("inception_v3", 299, "Mixed_7c", "fc"),
    Case("googlenet", 64, "inception5b", "fc"),
    Case("mobilenet_v2", 64, "features", "classifier"),
    Case("mobilenet_v3_small", 64, "features", "classifier"),
    Case("squeezenet1_0", 64, "features", None),
    Case("squeezenet1_1", 64, "features", None),
    Case("densenet121", 64, "features", "classifier"),
    Case("efficientnet_b0", 64, "features", "classifier"),
    Case("efficientnet_v2_s", 64, "features", "classifier"),
    Case("convnext_tiny", 64, "features", "classifier.2"),
    Case("regnet_x_400mf", 64, "trunk_output", "fc"),
    Case("regnet_y_400mf", 64, "trunk_output", "fc"),
    Case("shufflenet_v2_x0_5", 64, "conv5", "fc"),
    Case("mnasnet0_5", 64, "layers", "classifier"),
    Case("vit_b_32", 224, "encoder", "heads"),
    Case("swin_t", 64, "norm", "head"),
    Case("swin_v2_t", 64, "norm", "head"),
    Case("maxvit_t", 224, "blocks.3", "classifier.5"),
]
FAMILIES = {ROWS[case.name]["family"]: case for case in reversed(CASES)}


def upstream(name: str, size: int = 64) -> nn.Module:
    """torchvision's own network as its weights enums build it, with seeded weights and lively statistics."""
    options = {}
    if name in ("inception_v3", "googlenet"):
        options = {"transform_input": True, "aux_logits": True, "init_weights": False}
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, **options)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        # With means of 0 and variances of 1 the signal dies out on the way, and any two features would agree.
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            model.train()(torch.randn(4, 3, size, size))
        for norm in norms:
            norm.running_mean += 0.1 * torch.randn_like(norm.running_mean)
    return model.eval()


@contextmanager
def seen(model: nn.Module, case: Case) -> Iterator[dict[str, Tensor]]:
    found: dict[str, Tensor] = {}

    def output(_: nn.Module, __: Any, out: Tensor) -> None:
        found["tokens"] = out

    def first_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found["pooled"] = inputs[0]

    handles = [model.get_submodule(case.tokens).register_forward_hook(output)]
    if case.before is not None:
        handles.append(model.get_submodule(case.before).register_forward_pre_hook(first_input))
    yield found
    for handle in handles:
        handle.remove()


def reference(model: nn.Module, case: Case, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pooled (B, D) and tokens (B, T, D') out of torchvision's own forward pass."""
    with torch.no_grad(), seen(model, case) as found:
        model(pixels)
    tokens = found["tokens"]
    if case.name.startswith("vit"):
        return found["pooled"], tokens[:, 1:]  # the class token is no patch
    if case.name.startswith("swin"):
        return found["pooled"], tokens.flatten(1, 2)
    return found["pooled"].flatten(1) if case.before else tokens.mean((2, 3)), tokens.flatten(2).transpose(1, 2)


def pixels_for(case: Case, count: int = 2) -> Tensor:
    return torch.randn(count, 3, case.size, case.size, generator=torch.Generator().manual_seed(1))


def run(backbone: Backbone, pixels: Tensor) -> Features:
    with torch.no_grad():
        return backbone({"image": {"pixels": pixels}})


def blank(name: str, size: int | None = None) -> Backbone:
    """The backbone without memory for its weights."""
    spec = CATALOG.backbones[f"torchvision/{name}"]
    with torch.device("meta"):
        return make(construct(name, size or spec.image_size or 224), LoadRequest(spec, None, ("image",)))


def close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=CLOSE, atol=CLOSE * float(theirs.abs().max()))
