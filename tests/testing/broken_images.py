"""An image backbone that keeps the contract, and one for each way to break it without a sound."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import Backbone, BackboneSpec, Features, ImagePreprocess, ImageProcessor, Inputs, LoadRequest, Modality, Stage


def spec(kind: type[Backbone], **changes: Any) -> BackboneSpec:
    told: dict[str, Any] = {
        "source": "broken",
        "architecture": kind.__name__,
        "factory": f"broken_images:{kind.__name__}",
        "modalities": ("image",),
        "family": "cnn",
        "dim": 8,
        "params": 1_440,
        "stages": ("stem", "middle", "top"),
        "image_size": 32,
        "preprocess": {"image": ImagePreprocess(size=(32, 32), fit="squash")},
        **changes,
    }
    return BackboneSpec(**told)


def block(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))


class Good(Backbone):
    modalities = ("image",)

    def __init__(self, request: LoadRequest) -> None:
        super().__init__()
        self.spec, self.dim = request.spec, 8
        self.preprocess = request.preprocess["image"]
        self.stem, self.middle, self.top = block(3), block(8), block(8)

    def forward(self, batch: Inputs) -> Features:
        return self.features(self.top(self.middle(self.stem(batch["image"]["pixels"]))))

    def features(self, found: Tensor) -> Features:
        grid = (found.shape[2], found.shape[3])
        return Features(found.mean((2, 3)), found.flatten(2).transpose(1, 2), grid=grid)

    def stages(self) -> list[Stage]:
        return [Stage("stem", (self.stem,)), Stage("middle", (self.middle,)), Stage("top", (self.top,))]

    def processor(self, modality: Modality) -> Any:
        return ImageProcessor(self.preprocess)


class FrozenNormDrifts(Good):
    def train(self, mode: bool = True) -> FrozenNormDrifts:
        nn.Module.train(self, mode)
        return self


class SourceHeadLeftOn(Good):
    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self.fc = nn.Linear(8, 10)

    def features(self, found: Tensor) -> Features:
        plain = super().features(found)
        return Features(self.fc(plain.pooled), plain.tokens, grid=plain.grid)

    def stages(self) -> list[Stage]:
        *below, top = super().stages()
        return [*below, Stage("top", (*top.modules, self.fc))]


class WrongDim(Good):
    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self.dim = 16


class AuxiliaryOutputs(Good):
    def forward(self, batch: Inputs) -> Any:
        found = super().forward(batch)
        return (found, found) if self.training else found


class DropoutAlwaysOn(Good):
    def features(self, found: Tensor) -> Features:
        return super().features(F.dropout(found, 0.1, training=True))


class BatchStatistics(Good):
    def features(self, found: Tensor) -> Features:
        plain = super().features(found)
        return Features(plain.pooled - plain.pooled.mean(0), plain.tokens, grid=plain.grid)


class Transposed(Good):
    def features(self, found: Tensor) -> Features:
        return super().features(found.transpose(2, 3).contiguous())


class NormalisesInPlace(Good):
    def forward(self, batch: Inputs) -> Features:
        batch["image"]["pixels"].mul_(0.5)
        return super().forward(batch)


class PlainTensor(Good):
    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self.scale = torch.full((8,), 0.5)

    def features(self, found: Tensor) -> Features:
        return super().features(found * self.scale.view(1, -1, 1, 1))


class RandomBufferNotSaved(Good):
    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self.register_buffer("projection", torch.randn(8, 8), persistent=False)

    def features(self, found: Tensor) -> Features:
        plain = super().features(found)
        return Features(plain.pooled @ self.projection, plain.tokens, grid=plain.grid)


class StateLeavesOut(Good):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        found = super().state_dict(*args, **kwargs)
        return {name: value for name, value in found.items() if "running" not in name}


class LeftOutOfStages(Good):
    def stages(self) -> list[Stage]:
        return super().stages()[:2]


class TwiceInStages(Good):
    def stages(self) -> list[Stage]:
        stem, middle, top = super().stages()
        return [stem, middle, Stage("top", (*top.modules, self.middle))]


class FreshModules(Good):
    def stages(self) -> list[Stage]:
        stem, *rest = super().stages()
        return [Stage("stem", (*stem.modules, nn.ReLU())), *rest]


class UpsideDown(Good):
    def stages(self) -> list[Stage]:
        stem, middle, top = super().stages()
        return [Stage("stem", top.modules), Stage("middle", middle.modules), Stage("top", stem.modules)]


class DeadParameter(Good):
    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self.top.add_module("unused", nn.Identity())
        self.top.unused.register_parameter("weight", nn.Parameter(torch.randn(4)))


class KeptOnTheSide(Good):
    def forward(self, batch: Inputs) -> Features:
        found = self.middle(self.stem(batch["image"]["pixels"]))
        return self.features(self.top(found) + self.middle.kept.mean())

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)

        class Keeping(nn.Sequential):
            def forward(self, x: Tensor) -> Tensor:
                self.kept = super().forward(x)
                return self.kept

        self.middle = Keeping(*self.middle)


class SeedsEverything(Good):
    def forward(self, batch: Inputs) -> Features:
        torch.manual_seed(0)
        return super().forward(batch)


class OwnRandomness(Good):
    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        draw = np.random.default_rng().standard_normal((8, 3, 3, 3)).astype(np.float32)
        self.stem[0].weight.data.copy_(torch.from_numpy(draw))


class OtherColours(Good):
    def processor(self, modality: Modality) -> ImageProcessor:
        return ImageProcessor(ImagePreprocess(size=(32, 32), fit="squash", mean=(0.5,) * 3, std=(0.5,) * 3))


class OtherSize(Good):
    def processor(self, modality: Modality) -> ImageProcessor:
        return ImageProcessor(ImagePreprocess(size=(24, 24), fit="squash"))


class Blind(Good):
    def features(self, found: Tensor) -> Features:
        plain = super().features(found)
        return Features(plain.pooled * 0 + 1, plain.tokens, grid=plain.grid)


class HalfPrecision(Good):
    def features(self, found: Tensor) -> Features:
        return super().features(found.half())


class NotANumber(Good):
    def features(self, found: Tensor) -> Features:
        return super().features(found.log())


class SortsItsRows(Good):
    def features(self, found: Tensor) -> Features:
        return super().features(found[found.mean((1, 2, 3)).argsort()])


class DependsOnTheFirstRow(Good):
    def features(self, found: Tensor) -> Features:
        plain = super().features(found)
        return Features(plain.pooled - plain.pooled[:1].mean(), plain.tokens, grid=plain.grid)


class GridOfAnotherSize(Good):
    def features(self, found: Tensor) -> Features:
        plain = super().features(found)
        return Features(plain.pooled, plain.tokens, grid=(7, 7))


class KeyChanges(Good):
    def processor(self, modality: Modality) -> ImageProcessor:
        class Changing(ImageProcessor):
            key = property(lambda self: str(id(self)))  # type: ignore[assignment]

        self.others = [*getattr(self, "others", ()), Changing(self.preprocess)]
        return self.others[-1]


class AugmentsInEvaluation(Good):
    def processor(self, modality: Modality) -> ImageProcessor:
        class Shifting(ImageProcessor):
            calls: Iterator[int]

            def __call__(self, value: Any, draw: Any = None) -> Tensor:
                found = super().__call__(value, draw)
                return found.roll(next(self.calls), 2)

        found = Shifting(self.preprocess)
        found.calls = itertools.count()
        return found


class CountsItsCalls(Good):
    def forward(self, batch: Inputs) -> Features:
        if not self.training:
            return super().forward(batch)
        self.calls = getattr(self, "calls", 0) + 1
        plain = super().forward(batch)
        return Features(plain.pooled / self.calls, plain.tokens, grid=plain.grid)


class WithoutGradients(Good):
    def forward(self, batch: Inputs) -> Features:
        with torch.no_grad():
            return super().forward(batch)


class ExportsSomethingElse(Good):
    def features(self, found: Tensor) -> Features:
        return super().features(found * 2 if torch.compiler.is_exporting() else found)


class SmallImagesOnly(Good):
    def processor(self, modality: Modality) -> ImageProcessor:
        class Picky(ImageProcessor):
            def __call__(self, value: Any, draw: Any = None) -> Tensor:
                assert min(value.size) > 8, "too small"
                return super().__call__(value, draw)

        return Picky(self.preprocess)


class StageNamedHead(Good):
    def stages(self) -> list[Stage]:
        *below, top = super().stages()
        return [*below, Stage("head", top.modules)]


class ServesMore(Good):
    modalities = ("image", "text")
