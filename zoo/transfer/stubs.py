"""Modules that answer with what they returned before, and values that stand for tensors nobody reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from types import UnionType
from typing import Any

import torch
from torch import Tensor, nn

Calls = dict[int, list[Any]]
"""What each module returned at each of its calls, by its index."""


@dataclass(frozen=True)
class Ghost:
    """The shape of a tensor that was not kept, as what reads it would only have thrown it away."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> Ghost:
        """For this tensor."""
        return cls(tuple(tensor.shape), tensor.dtype, tensor.device)

    def tensor(self) -> Tensor:
        """One NaN in the memory of one number: whatever does read it spoils what it makes, and that shows."""
        return torch.full((), float("nan"), dtype=self.dtype, device=self.device).expand(self.shape)


class UnkeepableError(TypeError):
    """A module returned something that is neither a tensor nor a collection of tensors."""


def mapped(value: Any, change: Callable[[Any], Any], leaf: type | UnionType = Tensor | Ghost) -> Any:
    """The same structure with every leaf inside changed.

    Args:
        value: tensors in collections of any depth.
        change: one leaf.
        leaf: what is changed.

    Raises:
        UnkeepableError: something else is inside, such as a cache of keys and values.
    """
    if isinstance(value, leaf):
        return change(value)
    if isinstance(value, Ghost):
        return value
    if value is None or isinstance(value, bool | int | float | str | torch.Size | torch.dtype | torch.device):
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(each, change, leaf) for each in value))
    if isinstance(value, list | tuple):
        return type(value)(mapped(each, change, leaf) for each in value)
    if isinstance(value, dict):
        copy = type(value)()  # outputs of transformers are dictionaries that want no arguments
        for key, each in value.items():
            copy[key] = mapped(each, change, leaf)
        return copy
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: mapped(getattr(value, f.name), change, leaf) for f in fields(value) if f.init})
    raise UnkeepableError(type(value).__name__)


def tensors_in(value: Any) -> list[Tensor]:
    """Every tensor of a structure."""
    found: list[Tensor] = []
    mapped(value, found.append, Tensor)
    return found


def ghosted(value: Any) -> Any:
    """The structure with ghosts in place of floating-point tensors; masks and indices are small, and are looked at."""
    return mapped(value, lambda each: Ghost.of(each) if isinstance(each, Tensor) and _floats(each) else copied(each))


def copied(value: Any) -> Any:
    """The structure with a copy of each tensor, laid out alike: what follows may change it in place."""
    return mapped(value, lambda each: each.detach().clone() if isinstance(each, Tensor) else each)


def embodied(value: Any) -> Any:
    """The structure with tensors again in place of ghosts."""
    return mapped(value, lambda each: each.tensor() if isinstance(each, Ghost) else each)


def _floats(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


@contextmanager
def recording(modules: Sequence[nn.Module], kept: Collection[int] | None, into: Calls) -> Iterator[None]:
    """While this lasts, note what these modules return.

    Args:
        modules: to listen to.
        kept: index of those whose outputs are copied, of all others only the shapes; None: all are copied.
        into: where it goes. A module with an output that depends on trained parameters ends with no entry: what it
            says will change.

    Raises:
        UnkeepableError: by the module's own call.
    """
    moving: set[int] = set()

    def note(index: int, output: Any) -> None:
        if any(tensor.requires_grad for tensor in tensors_in(output)):
            moving.add(index)
        keep = kept is None or index in kept
        into.setdefault(index, []).append(copied(output) if keep else ghosted(output))

    def listener(index: int) -> Callable[..., None]:
        return lambda _module, _args, output: note(index, output)

    handles = [module.register_forward_hook(listener(index)) for index, module in enumerate(modules)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for index in moving:
            into.pop(index, None)


@contextmanager
def standing_in(modules: Sequence[nn.Module], calls: Mapping[int, Sequence[Any]]) -> Iterator[None]:
    """While this lasts, the modules that were noted answer with what they returned before, and compute nothing.

    Args:
        modules: as they were recorded.
        calls: of some of them; given away, as what follows may change tensors in place.
    """

    def answering(outputs: Sequence[Any]) -> Callable[..., Any]:
        upcoming = iter(outputs)
        return lambda *_args, **_named: embodied(next(upcoming))

    before = {index: modules[index].__dict__.get("forward") for index in calls}
    for index, outputs in calls.items():
        modules[index].forward = answering(outputs)
    try:
        yield
    finally:
        for index, forward in before.items():
            if forward is None:
                del modules[index].forward
            else:
                modules[index].forward = forward
