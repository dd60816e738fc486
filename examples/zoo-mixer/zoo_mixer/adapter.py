"""The whole adapter: a network that knows nothing of zoo becomes a backbone."""

from __future__ import annotations

import zoo
from zoo import Backbone, Features, ImagePreprocess, ImageProcessor, Inputs, LoadRequest, Modality, Stage
from zoo_mixer.network import Mixer


class MixerBackbone(Backbone):
    """MLP-Mixer; pooled is the mean of the patches, as in the paper."""

    modalities = ("image",)

    def __init__(self, request: LoadRequest) -> None:
        super().__init__()
        spec, preprocess = request.spec, request.preprocess["image"]
        assert spec.dim is not None
        assert spec.image_size is not None
        assert isinstance(preprocess, ImagePreprocess)
        self.spec, self.dim, self.preprocess = spec, spec.dim, preprocess
        self.network = Mixer(spec.image_size, spec.options["patch"], spec.dim, spec.options["depth"])

    def forward(self, batch: Inputs) -> Features:
        tokens = self.network(batch["image"]["pixels"])
        side = int(tokens.shape[1] ** 0.5)
        return Features(pooled=tokens.mean(1), tokens=tokens, grid=(side, side))

    def stages(self) -> list[Stage]:
        *blocks, last = (Stage(f"block{i}", (block,)) for i, block in enumerate(self.network.blocks, 1))
        return [
            Stage("patches", (self.network.patches,)),
            *blocks,
            Stage(last.name, (*last.modules, self.network.norm)),
        ]

    def processor(self, modality: Modality) -> ImageProcessor:
        return ImageProcessor(self.preprocess)


def build(request: LoadRequest) -> MixerBackbone:
    """The backbone, with the weights of a file where `mixer-tiny@file.safetensors` named one."""
    backbone = MixerBackbone(request)
    if request.weights is not None:
        zoo.load_state(backbone.network, zoo.read_weights(zoo.fetch(request.weights, offline=request.offline)))
    return backbone
