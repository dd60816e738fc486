"""LoRA by peft: which layers take it on any backbone, and back to the plain architecture with what was learned."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from zoo.errors import UsageError
from zoo.models.backbone import Backbone, Inputs
from zoo.transfer.reached import backward

SCALE = 2.0
"""alpha / rank."""
_ATTENTION = frozenset("qkv qkv_proj q_proj k_proj v_proj query key value q k v in_proj c_attn".split())
"""What makers of transformers call the layers that make queries, keys and values."""


@dataclass(frozen=True)
class Adapters:
    """Low-rank layers beside the frozen ones."""

    backbone: Backbone
    layers: tuple[str, ...]
    """Names of the layers that have them."""
    parameters: tuple[nn.Parameter, ...]
    """What was inserted."""

    def fold(self) -> None:
        """Add what was learned to the layers themselves, and take the adapters out: the architecture is plain again."""
        for parent, name, layer in list(_wrapped(self.backbone)):
            _take_out(parent, name, layer, merge=True)


def insert(
    backbone: Backbone, inputs: Inputs, *, rank: int, lengths: bool = False, layers: Sequence[str] | None = None
) -> Adapters:
    """Put low-rank adapters on every layer that takes them and passes them a gradient.

    Linear layers and attention, all of them (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314); convolutions
    where there is nothing else. An adapter that the network would never run through, as on the output projection of
    torch's attention, which reads its weight directly, is taken out again.

    Args:
        backbone: changed in place; its own parameters stay as they are.
        inputs: a batch of one row, to see where gradients arrive.
        rank: of the update of each layer.
        layers: names of those that get one; None: as many as can.
        lengths: train the length of each output's weights apart (DoRA), save in torch's attention, where peft has none.

    Raises:
        UsageError: no layer of this backbone can take one.

    Reference: Hu et al. 2021, "LoRA", https://arxiv.org/abs/2106.09685
    """
    failure: Exception | None = None
    for targets in _choices(backbone) if layers is None else (_Targets(list(layers), []),):
        try:
            _inject(backbone, targets, rank, lengths)
            _remove_dead(backbone, inputs)
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            failure = error
            # Some networks look into a layer instead of calling it; peft refuses some forms of attention.
            for parent, name, layer in list(_wrapped(backbone)):
                _take_out(parent, name, layer, merge=False)
            continue
        left = tuple(name for name, module in backbone.named_modules() if _is_adapter(module))
        if left:
            return Adapters(backbone, left, tuple(p for name, p in backbone.named_parameters() if _is_inserted(name)))
    raise UsageError(
        f"{backbone.name or type(backbone).__name__} has no layer that LoRA can adapt",
        help="use --strategy full or partial",
    ) from failure


def attention_layers(backbone: nn.Module) -> list[str]:
    """The layers that make queries, keys and values: linear ones by name, and torch's own attention whole.

    Raises:
        UsageError: there is no attention.
    """
    found = [name for name in _linear(backbone) if name.rpartition(".")[2] in _ATTENTION]
    found += [name for name, module in backbone.named_modules() if isinstance(module, nn.MultiheadAttention)]
    if not found:
        raise UsageError(
            f"{getattr(backbone, 'name', '') or type(backbone).__name__} has no attention to adapt",
            help="use --strategy lora, flyp or full",
        )
    return found


@dataclass(frozen=True)
class _Targets:
    """What is to have an adapter, by name."""

    layers: list[str]
    weights: list[str]
    """Of recurrent layers, which hold several in one layer."""


def _choices(backbone: nn.Module) -> Iterator[_Targets]:
    """What to adapt, the best choice first: all, numbered blocks alone, and convolutions."""
    linear, recurrent = _linear(backbone), _recurrent(backbone)
    blocks = [name for name in linear if any(part.isdecimal() for part in name.split("."))]
    choices = (_Targets(linear, recurrent), _Targets(blocks, []), _Targets(_convolutions(backbone), []))
    yield from (each for each in choices if each.layers or each.weights)


def _recurrent(backbone: nn.Module) -> list[str]:
    """Weight matrices of recurrent layers."""
    layers = [(name, module) for name, module in backbone.named_modules() if isinstance(module, nn.RNNBase)]
    return [f"{name}.{own}" for name, layer in layers for own, p in layer.named_parameters() if p.ndim == 2]


def _linear(backbone: nn.Module) -> list[str]:
    """Linear layers and torch's own attention, which holds its projections as one."""
    from transformers.pytorch_utils import Conv1D

    attention = [name for name, module in backbone.named_modules() if isinstance(module, nn.MultiheadAttention)]
    inside = tuple(f"{name}." for name in attention)
    linear = [name for name, module in backbone.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    return [*attention, *(name for name in linear if not name.startswith(inside))]


def _convolutions(backbone: nn.Module) -> list[str]:
    """Convolutions over all channels: one for each channel has no low rank."""
    return [name for name, m in backbone.named_modules() if isinstance(m, nn.Conv2d) and m.groups == 1]


def _inject(backbone: nn.Module, targets: _Targets, rank: int, lengths: bool) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    layers = targets.layers
    attention = {name for name, module in backbone.named_modules() if isinstance(module, nn.MultiheadAttention)}
    passes = [(list(layers), False)]
    if lengths:
        passes = [([n for n in layers if n in attention], False), ([n for n in layers if n not in attention], True)]
    if targets.weights and not layers:
        passes = [([], False)]
    for number, (names, dora) in enumerate(each for each in passes if each[0] or targets.weights):
        config = LoraConfig(
            r=rank,
            lora_alpha=round(SCALE * rank),
            lora_dropout=0.0,
            target_modules=names,
            target_parameters=targets.weights if number == 0 else None,
            use_dora=dora,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that it set fan_in_fan_out, as it should
            inject_adapter_in_model(config, backbone)
    for module in backbone.modules():
        if _holds_attention(module):
            module.register_forward_pre_hook(_keep)
            module.register_forward_hook(_put_back)


def _keep(layer: Any, _: Any) -> None:
    """peft adds the update to the weights of torch's attention and takes it off again, which rounds: the frozen weights
    would drift with every step, and a resumed run would not have drifted alike."""
    attention = layer.get_base_layer()
    out = attention.out_proj.get_base_layer()
    layer.kept = ((attention, "in_proj_weight", attention.in_proj_weight), (out, "weight", out.weight))


def _put_back(layer: Any, _: Any, output: Any) -> None:
    """The very parameters that were there before the forward pass."""
    for owner, name, weight in layer.kept:
        delattr(owner, name)
        owner.register_parameter(name, weight)
    del layer.kept


def _holds_attention(module: nn.Module) -> bool:
    """Whether this is peft's layer around torch's attention."""
    from peft.tuners.lora.layer import MultiheadAttention

    return isinstance(module, MultiheadAttention)


def _remove_dead(backbone: Backbone, inputs: Inputs) -> None:
    """One backward pass; adapters without a gradient go."""
    with backward(backbone, inputs):
        for parent, name, layer in list(_wrapped(backbone)):
            added = [p for n, p in layer.named_parameters() if _is_inserted(n)]
            if all(parameter.grad is None for parameter in added):
                _take_out(parent, name, layer, merge=False)


def _take_out(parent: nn.Module, name: str, layer: Any, *, merge: bool) -> None:
    """The layer itself where its adapter stood; torch's attention has a way of its own, for all inside of it."""
    if getattr(parent, name) is not layer:
        return
    if _holds_attention(layer):
        plain = layer.unload_and_optionally_merge_module(merge=merge, safe_merge=False, adapter_names=None)
        setattr(parent, name, plain)
        return
    while _is_adapter(layer):  # one around the other, where a layer holds several weights
        if merge:
            layer.merge(safe_merge=False)
        layer = layer.base_layer
    setattr(parent, name, layer)


def _wrapped(backbone: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """Each adapted layer with its parent and its name there."""
    for parent in backbone.modules():
        if not _is_adapter(parent):
            yield from ((parent, name, child) for name, child in parent.named_children() if _is_adapter(child))


def _is_adapter(module: nn.Module) -> bool:
    from peft.tuners.lora import LoraLayer

    return isinstance(module, LoraLayer)


def _is_inserted(name: str) -> bool:
    """By name: peft takes the weights of torch's attention out and in, so they are not the same objects afterwards."""
    return ".lora_" in f".{name}"
