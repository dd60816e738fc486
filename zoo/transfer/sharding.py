"""A model whose weights are spread over the processes of a run: each keeps a share, and has the rest while it needs it.

Zhao et al. 2023, "PyTorch FSDP", https://arxiv.org/abs/2304.11277, by `torch.distributed.fsdp.fully_shard`.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zoo.errors import UsageError
from zoo.models.backbone import Backbone, Inputs
from zoo.models.features import Features
from zoo.transfer.model import Model
from zoo.transfer.stubs import UnkeepableError, mapped
from zoo.transfer.team import Team

Held = TypeVar("Held", bound=nn.Module)
SMALL = 1 / 1000
"""Share of the weights below which a module is not worth a message of its own."""


def spread_model(model: Model, inputs: Inputs, team: Team, device: torch.device, *, bf16: bool) -> Model:
    """A copy of a model that keeps only a share of its weights here, to be trained by all processes together.

    It begins with the weights of the first process, which the model itself is given too.

    Args:
        model: whole, in every process; it stays as it is.
        inputs: a batch of one row, to see how the backbone runs.
        team: of the processes.
        device: of the copy.
        bf16: whether weights are gathered in bfloat16; gradients are summed in float32 in any case.

    Raises:
        UsageError: the model cannot be spread.
    """
    team.alike(model.state_dict().values())
    twin = _twin(model)
    names = {id(parameter): name for name, parameter in twin.named_parameters()}
    adapters = [names[id(parameter)] for parameter in twin.adapters]
    _spread(twin.backbone, [twin.head], inputs, team, device, bf16=bf16)
    twin.adapters = tuple(twin.get_parameter(name) for name in adapters)
    return twin


def spread_backbone(backbone: Backbone, inputs: Inputs, team: Team, device: torch.device, *, bf16: bool) -> Backbone:
    """A copy of a backbone that keeps only a share of its weights here, for a forward pass by all processes together.

    Args:
        backbone: whole, with the same weights in every process.
        inputs: a batch of one row.
        team: of the processes.
        device: of the copy.
        bf16: whether weights are gathered in bfloat16.

    Raises:
        UsageError: the backbone cannot be spread.
    """
    twin = _twin(backbone)
    _spread(twin, [], inputs, team, device, bf16=bf16)
    return twin


def units_of(backbone: Backbone, inputs: Inputs) -> tuple[nn.Module, ...]:
    """The modules of its stages that can be gathered one by one: what they hold is used nowhere but in their own call.

    A module that is called twice, that is looked into instead of called, or that shares a weight with another, is none;
    neither is one with next to no weights.

    Args:
        backbone: whole.
        inputs: a batch of one row, which goes through it.
    """
    modules = [module for stage in backbone.stages() for module in stage.modules if module is not backbone]
    owner: dict[int, int] = {}
    unfit: set[int] = set()
    for index, module in enumerate(modules):
        for parameter in module.parameters():
            if owner.setdefault(id(parameter), index) != index:
                unfit |= {index, owner[id(parameter)]}
    running: list[int] = []
    calls: Counter[int] = Counter()

    def begins(index: int) -> Callable[..., None]:
        def begin(*_: object) -> None:
            running.append(index)
            calls[index] += 1

        return begin

    def end(*_: object) -> None:
        running.pop()

    handles = [module.register_forward_pre_hook(begins(index)) for index, module in enumerate(modules)]
    handles += [module.register_forward_hook(end) for module in modules]
    try:
        with _undisturbed(backbone), _Reads(owner, running, unfit):
            backbone(inputs)
    finally:
        for handle in handles:
            handle.remove()
    least = SMALL * sum(p.numel() for p in backbone.parameters())
    return tuple(
        module
        for index, module in enumerate(modules)
        if calls[index] == 1 and index not in unfit and sum(p.numel() for p in module.parameters()) > least
    )


class _Reads(TorchFunctionMode):
    """While it lasts, modules whose parameters are used while they do not run are noted as unfit."""

    def __init__(self, owner: Mapping[int, int], running: list[int], unfit: set[int]) -> None:
        super().__init__()
        self.owner, self.running, self.unfit = owner, running, unfit

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") != "__get__":  # shape, dtype and device are those of the whole
            for each in _parameters_in((args, tuple(kwargs.values()))):
                index = self.owner.get(id(each))
                if index is not None and index not in self.running:
                    self.unfit.add(index)
        return func(*args, **kwargs)


def _parameters_in(value: Any) -> Iterator[nn.Parameter]:
    if isinstance(value, nn.Parameter):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _parameters_in(each)


def _twin(module: Held) -> Held:
    """A copy with the same weights in the same memory, and buffers of its own."""
    shared = {id(p): nn.Parameter(p.detach().contiguous(), p.requires_grad) for p in module.parameters()}
    try:
        return copy.deepcopy(module, shared)
    except Exception as error:
        raise _unfit(f"it cannot be copied ({error})") from error


def _spread(
    backbone: Backbone, heads: Iterable[nn.Module], inputs: Inputs, team: Team, device: torch.device, *, bf16: bool
) -> None:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = DeviceMesh.from_group(team.gradients, device.type)
    # Inputs are left as they are: autocast decides for each operation, as without.
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    here = _moved(inputs, next((p.device for p in backbone.parameters()), device))
    _show_features()
    roots = [backbone, *(head for head in heads if any(True for _ in head.parameters()))]
    try:
        for module in (*units_of(backbone, here), *roots):
            module.register_forward_hook(_no_views)
            # The roots too: what stays gathered after judging would be what an optimiser is given.
            fully_shard(module, mesh=mesh, reshard_after_forward=True, mp_policy=policy)
        backbone.check_stages()
        # Gathered once outside of inference mode, whose tensors no gradient could go through.
        with _undisturbed(backbone), torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            backbone(_moved(inputs, device))
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise _unfit(str(error).splitlines()[0]) from error


@cache
def _show_features() -> None:
    """Let torch see the tensors of `Features`, at which it waits for the backward pass to gather weights again.

    Older releases, such as 2.11, see none in a dataclass.
    """
    import torch.export

    torch.export.register_dataclass(Features)


def _no_views(_: nn.Module, _args: Any, output: Any) -> Any:
    """Copies of views: changed in place, they would lose the hook that gathers the weights for the backward pass."""
    if not torch.is_grad_enabled():
        return output
    try:
        return mapped(output, lambda each: each.clone() if each.requires_grad and each._is_view() else each, Tensor)
    except UnkeepableError:
        return output


def _unfit(why: str) -> UsageError:
    return UsageError(
        f"the weights of this backbone cannot be spread: {why}", help="leave --parallel fsdp out: ddp takes any"
    )


def _moved(inputs: Inputs, device: torch.device) -> Inputs:
    return {m: {key: value.to(device) for key, value in tensors.items()} for m, tensors in inputs.items()}


@contextmanager
def _undisturbed(backbone: Backbone) -> Iterator[None]:
    """In eval mode, with the caller's random state kept."""
    devices = [p.device for p in backbone.parameters() if p.device.type == "cuda"][:1]
    training = backbone.training
    with torch.random.fork_rng(devices=devices):
        backbone.eval()
        try:
            yield
        finally:
            backbone.train(training)
