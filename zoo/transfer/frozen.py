"""Frozen backbones that give the same features sooner: batch norm folded, channels last, bfloat16 where it was chosen.

Nothing of this outlasts a batch: modules are given other tensors for as long as it takes, and then their own ones back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.errors import ZooError
from zoo.models.backbone import Backbone, Inputs
from zoo.models.taps import blank_inputs
from zoo.transfer.devices import takes_channels_last

SAME = 1e-5
"""Most by which folding may change features, in Euclidean norm by that of the features: rounding is below 3e-6."""
SAME_BF16 = 0.05
"""The same of weights in bfloat16, whose rounding is 0.4 % in each of many layers; greater where a model breaks."""
Give = Callable[[Inputs], Tensor]
"""Computes the features of a batch."""


Entry = tuple[MutableMapping[str, Any], str, Any]
"""A table of a module, a name in it, and what stands there for a while."""


@dataclass(frozen=True)
class Quick:
    """How a frozen backbone computes."""

    backbone: Backbone
    folded: int = 0
    """Batch norms that are part of the convolution before them."""
    channels_last: bool = False
    cast: bool = False
    """Whether weights and inputs are in bfloat16."""
    autocast: bool = False
    """Whether single operations are instead: some models break when all of them are."""
    entries: Sequence[Entry] = field(default=(), repr=False)

    @contextmanager
    def on(self, inputs: Inputs) -> Iterator[Inputs]:
        """The backbone computes so as long as this lasts, in eval mode and without gradients; then all is as it was.

        Args:
            inputs: of the batch; what this gives is what the backbone takes in their place.
        """
        device = next((each.device for each in self.backbone.parameters()), torch.device("cpu"))
        training = self.backbone.training
        before = [(table, name, table.get(name, _NOTHING)) for table, name, _ in self.entries]
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16) if self.autocast else nullcontext():
            try:
                self.backbone.eval()
                for table, name, value in self.entries:
                    table[name] = value
                yield self._rounded(inputs) if self.cast else inputs
            finally:
                for table, name, value in reversed(before):
                    if value is _NOTHING:
                        del table[name]
                    else:
                        table[name] = value
                self.backbone.train(training)

    def _rounded(self, inputs: Inputs) -> Inputs:
        return {
            modality: {key: each.bfloat16() if each.is_floating_point() else each for key, each in tensors.items()}
            for modality, tensors in inputs.items()
        }


def quick(backbone: Backbone, give: Give, *, bf16: bool = False) -> Quick:
    """The quickest way to compute features that are equal to rounding.

    Whatever changes those of a made picture by more than that is left out, so that what is done depends on the
    backbone alone: processes that share rows do the same.

    Args:
        backbone: on its device.
        give: what is computed with it.
        bf16: compute in bfloat16.
    """
    plain = Quick(backbone, autocast=bf16)
    convolutions = [each for each in backbone.modules() if _is_plain(each, nn.Conv2d)]
    # One convolution cuts the patches of a transformer, and takes next to no time.
    if _is_compiled(backbone) or (len(convolutions) < 2 and not bf16):
        return plain
    inputs = blank_inputs(backbone, noise=True)
    pairs: list[tuple[nn.Conv2d, nn.Module]] = []
    try:
        with Quick(backbone).on(inputs), _pairs_noted(backbone, pairs):
            wanted = give(inputs)
    except ZooError:  # said again, with more to say, where it is about rows
        return plain
    device = next((each.device for each in backbone.parameters()), torch.device("cpu"))
    last = len(convolutions) > 1 and takes_channels_last(backbone, device)
    for way in _ways(plain, len(pairs), last, bf16):
        found = replace(way, entries=_entries(backbone, pairs if way.folded else [], way))
        if _is_same(give, inputs, found, wanted):
            return found
    return plain


def _ways(plain: Quick, pairs: int, last: bool, bf16: bool) -> list[Quick]:
    """From the quickest on; those that do nothing left out."""
    found = [
        Quick(plain.backbone, folded, channels_last, cast, bf16 and not cast)
        for cast in ((True, False) if bf16 else (False,))
        for folded in dict.fromkeys((pairs, 0))
        for channels_last in dict.fromkeys((last, False))
    ]
    return [each for each in found if each != plain]


def _entries(backbone: Backbone, pairs: Sequence[tuple[nn.Conv2d, nn.Module]], way: Quick) -> list[Entry]:
    found: list[Entry] = []
    folded: dict[nn.Module, dict[str, Tensor]] = {}
    for convolution, norm in pairs:
        folded[convolution] = _folded(convolution, norm)
        found.append((norm.__dict__, "forward", _after(norm)))
    for module in backbone.modules():
        last = way.channels_last and isinstance(module, nn.Conv2d)
        new = folded.get(module, {})
        if not (new or last or way.cast):
            continue
        for table in (module._parameters, module._buffers):
            for name, own in table.items():
                tensor = new.get(name, own)
                if tensor is None or not tensor.is_floating_point():
                    continue
                changed = tensor.detach().to(torch.bfloat16 if way.cast else tensor.dtype)
                if last and tensor.ndim == 4:
                    changed = changed.contiguous(memory_format=torch.channels_last)
                found.append((table, name, nn.Parameter(changed, False) if table is module._parameters else changed))
    return found


def _is_same(give: Give, inputs: Inputs, way: Quick, wanted: Tensor) -> bool:
    try:
        with way.on(inputs) as taken:
            found = give(taken)
    except (RuntimeError, TypeError, ValueError):  # a view of what no longer lies so, a tensor made as float32
        return False
    if found.shape != wanted.shape:
        return False
    most = SAME if not (way.cast or way.autocast) else SAME_BF16
    apart = torch.linalg.vector_norm(found.float() - wanted.float())
    return bool(apart <= most * torch.linalg.vector_norm(wanted.float()))


@contextmanager
def _pairs_noted(backbone: Backbone, into: list[tuple[nn.Conv2d, nn.Module]]) -> Iterator[None]:
    """Afterwards: each convolution with the norm that takes just what it gave, where both run once."""
    gave: dict[nn.Module, list[Tensor]] = {}
    took: dict[nn.Module, list[Tensor]] = {}

    def note(table: dict[nn.Module, list[Tensor]], module: nn.Module, value: Any) -> None:
        table.setdefault(module, []).append(value)

    handles = []
    for module in backbone.modules():
        if _is_plain(module, nn.Conv2d):
            handles.append(module.register_forward_hook(lambda m, _, out: note(gave, m, out)))
        elif isinstance(module, _BatchNorm) and _is_foldable(module):
            handles.append(module.register_forward_pre_hook(lambda m, given: note(took, m, given[0])))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    makers = {id(out[0]): module for module, out in gave.items() if len(out) == 1}
    for norm, given in took.items():
        maker = makers.get(id(given[0]))
        if len(given) == 1 and isinstance(maker, nn.Conv2d):
            into.append((maker, norm))


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether it computes as its kind does, with weights of its own that nothing makes anew."""
    return (
        isinstance(module, kind)
        and type(module).forward is kind.forward
        and getattr(type(module), "_conv_forward", None) is getattr(kind, "_conv_forward", None)
        and "forward" not in module.__dict__
        and "weight" in module._parameters
        and not module._forward_pre_hooks
        and not module._forward_hooks
        and all(each.dtype == torch.float32 for each in module.parameters(recurse=False))
    )


def _is_foldable(norm: _BatchNorm) -> bool:
    known = type(norm).forward is _BatchNorm.forward or _has_activation(norm)
    return known and norm.running_mean is not None and not norm.training and "forward" not in norm.__dict__


def _has_activation(norm: nn.Module) -> bool:
    """As timm's BatchNormAct2d, which drops and activates after it has normalised."""
    return isinstance(getattr(norm, "drop", None), nn.Module) and isinstance(getattr(norm, "act", None), nn.Module)


def _after(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    """What is left of it."""
    if _has_activation(norm):
        act, drop = norm.act, norm.drop
        return lambda x: act(drop(x))  # type: ignore[operator]
    return lambda x: x


def _folded(convolution: nn.Conv2d, norm: Any) -> dict[str, Tensor]:
    """Weight and bias of the convolution with what the norm does after it, reckoned in float64."""
    mean, deviation = norm.running_mean.double(), (norm.running_var.double() + norm.eps).sqrt()
    scale = (1 if norm.weight is None else norm.weight.double()) / deviation
    shift = (0 if norm.bias is None else norm.bias.double()) - mean * scale
    bias = shift if convolution.bias is None else shift + convolution.bias.double() * scale
    weight = convolution.weight.double() * scale.view(-1, 1, 1, 1)
    return {"weight": weight.detach().float(), "bias": bias.detach().float()}


def _is_compiled(backbone: Backbone) -> bool:
    """Compiled code need not notice that tensors are others."""
    return any(
        isinstance(each, torch.jit.ScriptModule)
        or type(each).__name__ == "OptimizedModule"
        or getattr(each, "_compiled_call_impl", None) is not None
        for each in backbone.modules()
    )


_NOTHING: Mapping[str, Any] = {}
