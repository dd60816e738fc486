"""Strategies that train a few of the backbone's own parameters: biases, or the scale and shift of normalisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from zoo.errors import UsageError
from zoo.transfer.strategies import ADAPTERS, HEAD, Inserted, Phase, StageRow


@dataclass(frozen=True)
class BitFit:
    """Train the head and the biases of the backbone; everything else stays frozen.

    Ben-Zaken et al. 2022, https://arxiv.org/abs/2106.10199.
    """

    name: ClassVar[str] = "bitfit"

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("bitfit", {ADAPTERS: 1.0, HEAD: 1.0}),)

    def adapt(self, backbone: Any, inputs: Any) -> Inserted:
        return _chosen(backbone, inputs, "biases", _biases)


@dataclass(frozen=True)
class NormTuning:
    """Train the head and the scale and shift of normalisation; running statistics of batch norm stay as they are.

    Frankle et al. 2021, https://arxiv.org/abs/2003.00152, for batch norm; the same for layer and group norm.
    """

    name: ClassVar[str] = "norm-tuning"

    def phases(self, stages: Sequence[StageRow]) -> tuple[Phase, ...]:
        return (Phase("norm-tuning", {ADAPTERS: 1.0, HEAD: 1.0}),)

    def adapt(self, backbone: Any, inputs: Any) -> Inserted:
        return _chosen(backbone, inputs, "normalisation", _norms)


@dataclass(frozen=True)
class _Own:
    """Parameters that were there before, and stay where they are."""

    layers: tuple[str, ...]
    parameters: tuple[Any, ...]

    def fold(self) -> None:
        """Nothing was inserted."""


def _chosen(backbone: Any, inputs: Any, what: str, find: Callable[[Any], Iterator[tuple[str, Any]]]) -> Inserted:
    """Those that these inputs run through: a joint model holds the towers of other inputs too."""
    from zoo.transfer.reached import run_through

    found = list(find(backbone))
    if found:
        live = run_through(backbone, inputs, [parameter for _, parameter in found])
        found = [each for each, used in zip(found, live, strict=True) if used]
    if not found:
        who = backbone.name or type(backbone).__name__
        raise UsageError(f"{who} has no {what} to train", help="use --strategy full or lora")
    names = dict.fromkeys(name.rpartition(".")[0] for name, _ in found)
    return _Own(tuple(names), tuple(parameter for _, parameter in found))


def _biases(backbone: Any) -> Iterator[tuple[str, Any]]:
    """By name: `bias`, `in_proj_bias` and the like, and shifts of normalisation, which are biases too."""
    for name, parameter in backbone.named_parameters():
        if "bias" in name.rpartition(".")[2] and parameter.ndim == 1:
            yield name, parameter


def _norms(backbone: Any) -> Iterator[tuple[str, Any]]:
    """The vectors of every module whose kind is a normalisation."""
    for path, module in backbone.named_modules():
        if "norm" in type(module).__name__.lower():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.ndim == 1:
                    yield f"{path}.{name}", parameter
