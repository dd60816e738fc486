"""torchvision's networks as backbones: run stage by stage, never through the model's own forward."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo import (
    Backbone,
    Features,
    ImagePreprocess,
    ImageProcessor,
    Inputs,
    LoadRequest,
    Modality,
    Pooling,
    Processor,
    Stage,
    fetch,
    load_state,
    pool,
    read_weights,
)
from zoo_torchvision.layouts import LAYOUTS, Layout, pool_map


def build(request: LoadRequest) -> Backbone:
    """The network that is asked for, random or with its weights, without its classifier."""
    preprocess = request.preprocess["image"]
    assert isinstance(preprocess, ImagePreprocess)
    model = construct(request.spec.architecture, preprocess.size[0])
    backbone = make(model, request)
    if request.weights is not None:
        state = renamed(read_weights(fetch(request.weights, offline=request.offline)))
        if request.image_size is not None and isinstance(backbone, VisionTransformer):
            state = backbone.with_positions(state, request.image_size)
        load_state(backbone.model, state, unused=backbone.head_names)
    return backbone


def construct(architecture: str, image_size: int) -> nn.Module:
    """torchvision's own network with random weights and no auxiliary heads, for square images of this size."""
    import torchvision

    options: dict[str, Any] = {}
    if architecture in ("inception_v3", "googlenet"):
        # Their own initialisation is slow and warns; the published weights replace it anyway.
        options = {"aux_logits": False, "init_weights": False}
    if architecture.startswith("vit_"):
        options = {"image_size": image_size}  # its position table is made for one size
    model: nn.Module = torchvision.models.get_model(architecture, weights=None, **options)
    return model


def make(model: nn.Module, request: LoadRequest) -> TorchvisionBackbone:
    """The backbone of a torchvision model; its classifier is taken off."""
    family = type(model).__module__.rpartition(".")[2]
    if family == "vision_transformer":
        return VisionTransformer(model, request)
    return Convolutional(model, request, LAYOUTS[family](model))


class TorchvisionBackbone(Backbone):
    """What all torchvision networks share."""

    head_names: tuple[str, ...]
    """Patterns of the tensors in a checkpoint that belong to the source head."""

    def __init__(self, model: nn.Module, request: LoadRequest, pooling: Pooling = "native") -> None:
        super().__init__()
        self.model = model
        self.spec = request.spec
        self.weights = request.weights
        self.modalities = ("image",)
        self.pooling: Pooling = pooling
        preprocess = request.preprocess["image"]
        assert isinstance(preprocess, ImagePreprocess)
        self.preprocess = preprocess

    def processor(self, modality: Modality) -> Processor:
        return ImageProcessor(self.preprocess)


class Convolutional(TorchvisionBackbone):
    """Networks that end in a spatial map: CNNs, Swin and MaxViT."""

    def __init__(self, model: nn.Module, request: LoadRequest, layout: Layout) -> None:
        super().__init__(model, request)
        places = {id(module): name for name, module in model.named_modules()}

        def paths(modules: Sequence[nn.Module]) -> tuple[str, ...]:
            return tuple(places[id(module)] for module in modules)

        # By name: what stands in a place may be replaced, as LoRA does it.
        self._stages = tuple((name, paths(modules)) for name, modules in layout.stages)
        self._after = paths(layout.after)
        self._layout = replace(layout, stages=(), after=())
        self.head_names = layout.head
        self.dim = request.spec.dim or _measure(self)

    @property
    def layout(self) -> Layout:
        """The stages with the modules that stand in their places now."""
        found = {path: self.model.get_submodule(path) for _, paths in self._stages for path in paths}
        stages = tuple((name, tuple(found[path] for path in paths)) for name, paths in self._stages)
        return replace(self._layout, stages=stages, after=tuple(found[path] for path in self._after))

    def forward(self, batch: Inputs) -> Features:
        x = batch["image"]["pixels"]
        layout = self.layout
        after = set(map(id, layout.after))
        for _, modules in layout.stages:
            for module in modules:
                if id(module) not in after:
                    x = module(x)
        spatial = x if not layout.channels_last else x.permute(0, 3, 1, 2)
        height, width = spatial.shape[2:]
        tokens = spatial.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, H*W, C)
        if self.pooling == "native" or self.pooling == "mean":
            pooled = pool_map(layout, x)
        else:
            pooled = pool(tokens, None, self.pooling)
        return Features(pooled=pooled, tokens=tokens, grid=(height, width))

    def stages(self) -> Sequence[Stage]:
        return [Stage(name, modules) for name, modules in self.layout.stages]


class VisionTransformer(TorchvisionBackbone):
    """ViT: patches with a class token; pooled is the class token after the last norm."""

    head_names = ("heads.*",)

    def __init__(self, model: nn.Module, request: LoadRequest) -> None:
        super().__init__(model, request)
        model.heads = nn.Identity()
        self.dim = int(model.hidden_dim)  # type: ignore[arg-type]

    def forward(self, batch: Inputs) -> Features:
        pixels = batch["image"]["pixels"]
        model: Any = self.model
        x = model._process_input(pixels)
        x = model.encoder(torch.cat([model.class_token.expand(len(x), -1, -1), x], dim=1))
        tokens = x[:, 1:]
        grid = (pixels.shape[2] // model.patch_size, pixels.shape[3] // model.patch_size)
        pooled = x[:, 0] if self.pooling == "native" or self.pooling == "cls" else pool(tokens, None, self.pooling)
        return Features(pooled=pooled, tokens=tokens, grid=grid)

    def with_positions(self, state: dict[str, Tensor], side: int) -> dict[str, Tensor]:
        """The weights with their table of positions resized to images of another size, bicubically."""
        from torchvision.models.vision_transformer import interpolate_embeddings

        model: Any = self.model
        found: dict[str, Tensor] = interpolate_embeddings(side, model.patch_size, OrderedDict(state))
        return found

    def stages(self) -> Sequence[Stage]:
        model: Any = self.model
        encoder = model.encoder
        stem = Stage("stem", (model.conv_proj, encoder.dropout), (model.class_token, encoder.pos_embedding))
        layers = [Stage(f"layer{i}", (layer,)) for i, layer in enumerate(encoder.layers, 1)]
        return [stem, *layers, Stage("norm", (encoder.ln,))]


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Old DenseNet files write `norm.1.weight` for what is now `norm1.weight`."""
    old = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$")
    return {old.sub(r"\1\2", name): tensor for name, tensor in state.items()}


def _measure(backbone: Convolutional) -> int:
    size = backbone.preprocess.size
    with torch.no_grad():
        return int(backbone.eval()({"image": {"pixels": torch.zeros(1, 3, *size)}}).pooled.shape[1])
