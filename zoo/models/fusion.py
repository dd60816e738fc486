"""Backbones side by side: `a+b`, and one text backbone over the two sides of a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.catalog.spec import BackboneSpec, Modality, fingerprint
from zoo.errors import UsageError
from zoo.models.backbone import Backbone, Inputs, Processor, Stage
from zoo.models.features import Features, join

_ORDER: tuple[Modality, ...] = ("image", "text", "audio")


def fuse(*parts: Backbone) -> Backbone:
    """Several backbones as one: pooled vectors concatenated, modalities united.

    Raises:
        UsageError: fewer than two parts.
    """
    if len(parts) < 2:
        raise UsageError("a fused backbone needs at least two parts", help="join names with +, as in resnet18+gpt2")
    return Fused(parts)


class Fused(Backbone):
    """Backbones side by side on the same rows; each keeps its own preprocessing."""

    scales: Tensor
    """(parts,) what the features of each are multiplied by; ones, but where `balance` said otherwise."""

    def __init__(self, parts: Sequence[Backbone]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.register_buffer("scales", torch.ones(len(parts)))
        self.modalities = tuple(m for m in _ORDER if any(m in part.modalities for part in parts))
        self.dim = sum(part.dim for part in parts)
        self.name = "+".join(part.name for part in parts)
        known = [part.spec.params for part in parts]
        self.spec = BackboneSpec(
            source="fused",
            architecture="+".join(part.spec.name for part in parts),
            factory="zoo.models.fusion:fuse",
            modalities=self.modalities,
            family="fused",
            dim=self.dim,
            params=sum(n for n in known if n is not None) if None not in known else None,
        )

    def forward(self, batch: Inputs) -> Features:
        """Features of every part, joined."""
        found = [part(self._inputs(index, batch)) for index, part in enumerate(self.each)]
        return join([_scaled(each, scale) for each, scale in zip(found, self.scales, strict=True)])

    def balance(self, features: NDArray[np.float32]) -> None:
        """Give the features of every part a mean square of 1 on these rows.

        One part's can be seventy times another's (SqueezeNet's and MiniLM's are); a head that begins at random would
        learn from the larger alone, as each step changes every weight by about the same.

        Args:
            features: (N, D) of this backbone with scales of one.
        """
        ends = np.cumsum([part.dim for part in self.each])
        sizes = [float(np.sqrt(np.square(own, dtype=np.float64).mean())) for own in np.split(features, ends[:-1], 1)]
        self.scales.copy_(torch.tensor([1 / size if size > 0 else 1.0 for size in sizes]))

    def stages(self) -> Sequence[Stage]:
        """Of every part, `0.stem`, `0.layer1`, ..., `1.stem`, ...; each part is a branch of its own."""
        return [
            replace(stage, name=f"{index}.{stage.name}", branch=f"{index}.{stage.branch}".rstrip("."))
            for index, part in enumerate(self.each)
            for stage in part.stages()
        ]

    def processor(self, modality: Modality) -> Processor:
        """The processors of every part that takes this modality, side by side."""
        serving = {
            index: part.processor(modality) for index, part in enumerate(self.each) if modality in part.modalities
        }
        return _Side(serving)

    def check_row(self, row: Mapping[Modality, Any]) -> None:
        for part in self.each:
            part.check_row({modality: value for modality, value in row.items() if modality in part.modalities})

    def save_assets(self, folder: Path) -> None:
        for index, part in enumerate(self.each):
            part.save_assets(folder / str(index))

    @property
    def each(self) -> list[Backbone]:
        """The parts."""
        return [part for part in self.parts if isinstance(part, Backbone)]

    def _inputs(self, index: int, batch: Inputs) -> dict[Modality, dict[str, Tensor]]:
        prefix = f"{index}."
        own: dict[Modality, dict[str, Tensor]] = {}
        for modality, tensors in batch.items():
            mine = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            if mine:
                own[modality] = mine
        return own


def _scaled(features: Features, scale: Tensor) -> Features:
    return replace(features, pooled=features.pooled * scale, tokens=features.tokens * scale)


class _Side:
    """Processors of one modality side by side; tensors are named `<part>.<name>`."""

    def __init__(self, parts: Mapping[int, Processor]) -> None:
        self.parts = dict(parts)

    @property
    def key(self) -> str:
        return fingerprint({str(index): part.key for index, part in self.parts.items()})

    @property
    def channels(self) -> int:
        """Of images: those of every part, RGB where the parts differ."""
        found = {int(getattr(part, "channels", 3)) for part in self.parts.values()}
        return found.pop() if len(found) == 1 else 3

    def __call__(self, value: Any, draw: Any = None) -> dict[int, Any]:
        return {index: part(value, draw) for index, part in self.parts.items()}

    def length(self, example: Mapping[int, Any]) -> int:
        return max(part.length(example[index]) for index, part in self.parts.items())

    def collate(self, examples: Sequence[Mapping[int, Any]]) -> dict[str, Tensor]:
        return {
            f"{index}.{key}": tensor
            for index, part in self.parts.items()
            for key, tensor in part.collate([example[index] for example in examples]).items()
        }

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        done: dict[str, Tensor] = {}
        for index, part in self.parts.items():
            prefix = f"{index}."
            own = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            done |= {prefix + key: value for key, value in part.finish(own).items()}
        return done


class Paired(Backbone):
    """A text backbone over the two texts of a pair: pooled is [u, v, |u - v|, u * v], of width 4 D.

    The combination is that of InferSent (Conneau et al. 2017, https://arxiv.org/abs/1705.02364).
    """

    def __init__(self, single: Backbone) -> None:
        super().__init__()
        if "text" not in single.modalities:
            raise UsageError(f"{single.name} takes no text, and the data hold pairs of texts")
        self.single = single
        self.spec = single.spec
        self.weights = single.weights
        self.modalities = single.modalities
        self.dim = 4 * single.dim
        self.name = single.name

    def forward(self, batch: Inputs) -> Features:
        """Features of both sides; the tokens are those of the first side, then of the second."""
        sides = []
        for prefix in ("a.", "b."):
            text = {key[2:]: value for key, value in batch["text"].items() if key.startswith(prefix)}
            sides.append(self.single({**batch, "text": text}))
        u, v = sides[0].pooled, sides[1].pooled
        tokens = join(sides)
        pooled = torch.cat([u, v, (u - v).abs(), u * v], dim=1)
        return Features(pooled=pooled, tokens=tokens.tokens, mask=tokens.mask)

    def stages(self) -> Sequence[Stage]:
        return self.single.stages()

    def processor(self, modality: Modality) -> Processor:
        inner = self.single.processor(modality)
        return _Pair(inner) if modality == "text" else inner

    def check_row(self, row: Mapping[Modality, Any]) -> None:
        for side in (0, 1):
            self.single.check_row({**row, "text": row["text"][side]})

    def save_assets(self, folder: Path) -> None:
        self.single.save_assets(folder)


class _Pair:
    """One text processor over both sides of a pair; tensors are named `a.<name>` and `b.<name>`."""

    def __init__(self, single: Processor) -> None:
        self.single = single

    @property
    def key(self) -> str:
        return fingerprint(["pair", self.single.key])

    def __call__(self, value: tuple[str, str], draw: Any = None) -> tuple[Any, Any]:
        return self.single(value[0], draw), self.single(value[1], draw)

    def length(self, example: tuple[Any, Any]) -> int:
        return max(self.single.length(side) for side in example)

    def collate(self, examples: Sequence[tuple[Any, Any]]) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": tensor
            for index, name in enumerate("ab")
            for key, tensor in self.single.collate([example[index] for example in examples]).items()
        }

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        done: dict[str, Tensor] = {}
        for name in "ab":
            own = {key[2:]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
            done |= {f"{name}.{key}": value for key, value in self.single.finish(own).items()}
        return done
