"""How each family of torchvision is cut into stages, and what comes after the last one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import MethodType

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layout:
    """A network without its classifier, as a chain of named stages."""

    stages: tuple[tuple[str, tuple[nn.Module, ...]], ...]
    """Run one after another; their last output is the spatial map."""
    head: tuple[str, ...]
    """Patterns of the names of tensors that belong to the classifier or to auxiliary heads."""
    after: tuple[nn.Module, ...] = ()
    """Applied to the pooled (B, C, 1, 1) map."""
    channels_last: bool = False
    """The map is (B, H, W, C)."""


class TransformInput(nn.Module):
    """ImageNet-normalised pixels to [-1, 1], as the published Inception and GoogLeNet weights expect."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to the same shape."""
        scale = x.new_tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) / 0.5
        shift = (x.new_tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) - 0.5) / 0.5
        return x * scale + shift


def resnet(model: nn.Module) -> Layout:
    """ResNet, ResNeXt and Wide ResNet."""
    stem = _children(model, "conv1", "bn1", "relu", "maxpool")
    model.fc = nn.Identity()
    return Layout((("stem", stem), *_named(model, "layer1", "layer2", "layer3", "layer4")), ("fc.*",))


def plain(model: nn.Module) -> Layout:
    """AlexNet, VGG and SqueezeNet: `features` cut after each max pooling."""
    model.classifier = nn.Identity()
    model.avgpool = nn.Identity()
    blocks: list[list[nn.Module]] = [[]]
    for layer in _sequence(model, "features"):
        blocks[-1].append(layer)
        if isinstance(layer, nn.MaxPool2d):
            blocks.append([])
    stages = [(f"block{i}", tuple(block)) for i, block in enumerate((b for b in blocks if b), 1)]
    return Layout(tuple(stages), ("classifier.*",))


def indexed(model: nn.Module) -> Layout:
    """MobileNet, EfficientNet: one stage for each entry of `features`."""
    model.classifier = nn.Identity()
    return Layout(_entries(model, "features"), ("classifier.*",))


def convnext(model: nn.Module) -> Layout:
    """ConvNeXt: the norm before its classifier is applied to the pooled map."""
    norm = _sequence(model, "classifier")[0]
    model.classifier = nn.Sequential(norm)
    return Layout((*_entries(model, "features"), ("norm", (norm,))), ("classifier.2.*",), after=(norm,))


def mnasnet(model: nn.Module) -> Layout:
    """MNASNet: convolutions, batch norms and blocks in one sequence, cut where a block ends."""
    model.classifier = nn.Identity()
    # torchvision's own loading wants a version that safetensors files and plain dictionaries do not carry.
    setattr(model, "_load_from_state_dict", MethodType(nn.Module._load_from_state_dict, model))  # noqa: B010
    layers = _sequence(model, "layers")
    blocks: list[list[nn.Module]] = [[]]
    for index, layer in enumerate(layers):
        # The stem is three convolutions with their norms; every stack stands alone; the top is one convolution.
        if isinstance(layer, nn.Sequential) or (index and isinstance(layers[index - 1], nn.Sequential)):
            blocks.append([])
        blocks[-1].append(layer)
    return Layout(tuple((f"layers{i}", tuple(b)) for i, b in enumerate(blocks)), ("classifier.*",))


def densenet(model: nn.Module) -> Layout:
    """DenseNet: stem, dense blocks and transitions, then norm and ReLU."""
    model.classifier = nn.Identity()
    children = dict(model.get_submodule("features").named_children())
    stem = tuple(children.pop(name) for name in ("conv0", "norm0", "relu0", "pool0"))
    norm = children.pop("norm5")
    blocks = tuple((name, (child,)) for name, child in children.items())
    model.relu = nn.ReLU()  # torchvision calls a function; a stage is made of modules that the model holds
    return Layout((("stem", stem), *blocks, ("norm", (norm, model.relu))), ("classifier.*",))


def regnet(model: nn.Module) -> Layout:
    """RegNet: stem and four blocks."""
    model.fc = nn.Identity()
    blocks = tuple((name, (child,)) for name, child in model.get_submodule("trunk_output").named_children())
    return Layout((("stem", _children(model, "stem")), *blocks), ("fc.*",))


def shufflenet(model: nn.Module) -> Layout:
    """ShuffleNetV2: stem, three stages, a last convolution."""
    model.fc = nn.Identity()
    stem = _children(model, "conv1", "maxpool")
    return Layout((("stem", stem), *_named(model, "stage2", "stage3", "stage4", "conv5")), ("fc.*",))


def inception(model: nn.Module) -> Layout:
    """Inception v3 and GoogLeNet: every child in order, without auxiliary heads."""
    model.fc = nn.Identity()
    skipped = {"AuxLogits", "aux1", "aux2", "avgpool", "dropout", "fc"}
    stages: list[tuple[str, tuple[nn.Module, ...]]] = []
    for name, child in model.named_children():
        if name in skipped:
            continue
        if stages and not any(True for _ in child.parameters()):
            stages[-1] = (stages[-1][0], (*stages[-1][1], child))
        else:
            stages.append((name, (child,)))
    first, modules = stages[0]
    model.transform = TransformInput()  # a part of the model, so that train() and eval() reach it too
    stages[0] = (first, (model.transform, *modules))
    return Layout(tuple(stages), ("fc.*", "AuxLogits.*", "aux1.*", "aux2.*"))


def swin(model: nn.Module) -> Layout:
    """Swin: patch embedding, blocks and mergings, then norm."""
    model.head = nn.Identity()
    norm = model.get_submodule("norm")
    return Layout((*_entries(model, "features"), ("norm", (norm,))), ("head.*",), channels_last=True)


def maxvit(model: nn.Module) -> Layout:
    """MaxViT: norm, dense and tanh come between the pooled map and the last layer."""
    layers = _sequence(model, "classifier")
    kept = tuple(layers[1:-1])
    model.classifier = nn.Sequential(*layers[:-1])
    blocks = tuple((f"block{i}", (child,)) for i, child in enumerate(_sequence(model, "blocks"), 1))
    stem = _children(model, "stem")
    return Layout((("stem", stem), *blocks, ("pre_logits", kept)), ("classifier.5.*",), after=kept)


LAYOUTS: dict[str, Callable[[nn.Module], Layout]] = {
    "alexnet": plain,
    "vgg": plain,
    "squeezenet": plain,
    "resnet": resnet,
    "densenet": densenet,
    "googlenet": inception,
    "inception": inception,
    "mobilenetv2": indexed,
    "mobilenetv3": indexed,
    "efficientnet": indexed,
    "mnasnet": mnasnet,
    "shufflenetv2": shufflenet,
    "regnet": regnet,
    "convnext": convnext,
    "swin_transformer": swin,
    "maxvit": maxvit,
}
"""By the name of torchvision's module; the vision transformer has a class of its own."""


def pool_map(layout: Layout, x: Tensor) -> Tensor:
    """(B, D) pooled features of the last map."""
    pooled = x.mean((1, 2)) if layout.channels_last else x.mean((2, 3), keepdim=True)
    for module in layout.after:
        pooled = module(pooled)
    return torch.flatten(pooled, 1)


def _children(model: nn.Module, *names: str) -> tuple[nn.Module, ...]:
    return tuple(model.get_submodule(name) for name in names)


def _named(model: nn.Module, *names: str) -> tuple[tuple[str, tuple[nn.Module, ...]], ...]:
    return tuple((name, (model.get_submodule(name),)) for name in names)


def _sequence(model: nn.Module, name: str) -> Sequence[nn.Module]:
    return list(model.get_submodule(name).children())


def _entries(model: nn.Module, name: str) -> tuple[tuple[str, tuple[nn.Module, ...]], ...]:
    entries: Iterable[tuple[str, nn.Module]] = model.get_submodule(name).named_children()
    return tuple((f"{name}.{index}", (child,)) for index, child in entries)
