"""The one interface of every backbone: inputs to Features, in ordered stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.catalog.spec import BackboneSpec, Modality, WeightsSpec
from zoo.errors import DataError, PluginError, UnknownNameError
from zoo.models.features import Features

Inputs = Mapping[Modality, Mapping[str, Tensor]]
"""One batch: {"image": {"pixels": (B, C, H, W) float, normalised}, "text": {"ids": (B, T), "mask": (B, T) bool},
"audio": {"samples": (B, T) float, "mask": (B, T) bool}}; what a backbone's own processors give, it takes."""


@dataclass(frozen=True)
class Stage:
    """An ordered part of a backbone.

    Together the stages hold every parameter exactly once, in the order in which they run.
    """

    name: str
    modules: tuple[nn.Module, ...]
    """In run order; everything that behaves differently in training (dropout, batch norm) belongs to one."""
    loose: tuple[nn.Parameter, ...] = ()
    """Parameters held by no module of any stage, such as a class token."""
    branch: str = ""
    """Stages of one branch run one after another; branches (towers, fused parts) run side by side."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter of this stage once."""
        seen: set[int] = set()
        owned = (p for module in self.modules for p in module.parameters())
        for parameter in (*owned, *self.loose):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield parameter


class Processor(Protocol):
    """Raw values of one modality to tensors, as the weights want them."""

    @property
    def key(self) -> str:
        """Fingerprint of everything that changes the output; part of cache keys."""

    def __call__(self, value: Any, draw: Any = None) -> Any:
        """One example, not yet batched.

        Args:
            value: a PIL image for "image"; a str or a pair of str for "text"; an `Audio` for "audio".
            draw: a `zoo.data.augment.Draw` in training, None in evaluation.
        """

    def length(self, example: Any) -> int:
        """Tokens of an example, for batches of like length; 1 where all are alike."""

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        """Examples to CPU tensors of one batch, still compact (uint8 pixels)."""

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """On the device: what `Backbone.forward` takes (float pixels, normalised)."""


class Backbone(nn.Module, ABC):
    """Inputs to Features. Subclasses set `spec` and `dim`, and implement `forward`, `stages` and `processor`."""

    spec: BackboneSpec
    weights: WeightsSpec | None = None
    """None: random weights."""
    dim: int
    """D of `Features.pooled`."""
    modalities: tuple[Modality, ...]
    """Those this instance serves; a dual encoder may serve one or both."""
    name: str = ""
    """As the user would type it to have the same backbone again."""
    settings: str = ""
    """What decides its features besides weights, preprocessing and the chosen pooling, such as the configuration in a
    folder that may be edited; features that are kept go by it."""

    def __init__(self) -> None:
        super().__init__()
        self._trainable: frozenset[str] | None = None
        self._keeps_statistics = False

    @abstractmethod
    def forward(self, batch: Inputs) -> Features:
        """Features of one batch; run with the modalities this backbone serves."""

    @abstractmethod
    def stages(self) -> Sequence[Stage]:
        """Stem to top; every parameter in exactly one."""

    @abstractmethod
    def processor(self, modality: Modality) -> Processor:
        """Raw values of `modality` to tensors."""

    def check_row(self, row: Mapping[Modality, Any]) -> None:
        """Refuse values that do not go together in one row, before anything is computed.

        Most backbones take one image a row; one that takes several says here which rows it takes.

        Args:
            row: a value for each modality; of several images a tuple.

        Raises:
            DataError: what is wrong with them, without the row's name.
        """
        image = row.get("image")
        if isinstance(image, tuple) and len(image) != 1:
            raise DataError(
                f"{len(image)} images, and {self.name or type(self).__name__} takes one a row",
                help="give one image a row, or choose a backbone that takes several, as Idefics does",
            )

    def save_assets(self, folder: Path) -> None:
        """Write what rebuilding needs besides the weights (configuration, tokenizer), if anything.

        A finished run keeps it, and passes the folder back as `LoadRequest.assets`.
        """

    def freeze_except(self, trainable: Iterable[str], *, keep_statistics: bool = False) -> Self:
        """Train only the named stages; all others get no gradient and stay in eval mode.

        Args:
            trainable: names of stages.
            keep_statistics: let batch norm normalise by its running statistics in training too, and leave them alone.

        Raises:
            UnknownNameError: no such stage.
        """
        names = frozenset(trainable)
        known = [stage.name for stage in self.stages()]
        for name in names - set(known):
            raise UnknownNameError("stage", name, known, help=f"the stages are {', '.join(known)}")
        for stage in self.stages():
            for parameter in stage.parameters():
                parameter.requires_grad_(stage.name in names)
        self._trainable = None if names == set(known) else names
        self._keeps_statistics = keep_statistics
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training mode for the trainable stages alone: `requires_grad=False` does not stop batch norm or dropout."""
        if self._trainable is None or not mode:
            super().train(mode)
        else:
            super().train(False)
            for stage in self.stages():
                if stage.name in self._trainable:
                    for module in stage.modules:
                        module.train(True)
            self.training = True
        if mode and self._keeps_statistics:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def check_stages(self) -> None:
        """Assert that the stages hold every parameter exactly once.

        Raises:
            PluginError: a parameter in no stage or in two.
        """
        names = {id(p): n for n, p in self.named_parameters()}
        owner: dict[int, str] = {}
        for stage in self.stages():
            for parameter in stage.parameters():
                if id(parameter) in owner:
                    twice = f"'{names.get(id(parameter))}' is in stages '{owner[id(parameter)]}' and '{stage.name}'"
                    raise PluginError(f"stages of {self.name or type(self).__name__}: {twice}")
                owner[id(parameter)] = stage.name
        missing = [name for key, name in names.items() if key not in owner]
        if missing:
            raise PluginError(
                f"stages of {self.name or type(self).__name__} leave out {len(missing)} parameters",
                details=missing[:10],
                help="put each module in a stage, and bare parameters in `Stage.loose`",
            )
