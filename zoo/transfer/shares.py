"""Tensors of which each process of a run keeps a share (FSDP), beside tensors that are whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def share(tensor: Tensor) -> Tensor:
    """What this process keeps of a tensor of a spread model; the tensor itself where it is whole."""
    kept: Any = tensor
    return kept.to_local() if is_shared(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The tensor with what the other processes keep of it, all of which ask for it too."""
    kept: Any = tensor
    return kept.full_tensor() if is_shared(tensor) else tensor


def shared_as(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor as the processes share another one of its shape."""
    if not is_shared(like) or is_shared(tensor):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    kept: Any = like
    # Every process has the whole and takes its own part of it.
    return distribute_tensor(tensor.to(kept.device), kept.device_mesh, kept.placements, src_data_rank=None)


def is_shared(tensor: Tensor) -> bool:
    """Whether it is spread over several processes."""
    return hasattr(tensor, "full_tensor")


def whole_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of an optimiser as one process would have it; see `whole`."""
    state = optimizer.state_dict()
    return {**state, "state": _state(state["state"], lambda _, value: whole(value))}


def load_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Give an optimiser the state that `whole_state` told, of however many processes."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def placed(index: int, value: Tensor) -> Tensor:
        own = parameters[index]
        return shared_as(value, own) if value.shape == own.shape else value

    # Which kernel does the step is settled by where the weights are now.
    groups = [
        {**saved, **{key: own[key] for key in ("fused", "foreach") if key in own}}
        for saved, own in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups, "state": _state(state["state"], placed)})


def _state(
    state: Mapping[int, Mapping[str, Any]], change: Callable[[int, Tensor], Tensor]
) -> dict[int, dict[str, Any]]:
    return {
        index: {key: change(index, each) if isinstance(each, Tensor) else each for key, each in values.items()}
        for index, values in state.items()
    }
