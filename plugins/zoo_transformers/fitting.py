"""Whether a file's tensors fit the model they are meant for; a tensor that is missing is an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import zoo
from zoo import LoadRequest, WeightsError
from zoo_transformers.folder import ModelFolder, open_folder

_UNUSED_ANYWAY = ("embeddings.mask_token", "mask_emb")
"""Of pretraining alone: no feature depends on them, and published files leave them out at times."""

_LEFT_OVER = (".position_ids", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")
_LEFT_OVER_PARTS = ("rotary_emb", "pooler", "relative_position_index", "position_ids")
"""Buffers that older versions saved; they hold nothing learned."""

_PREFIXES = ("module.", "_orig_mod.")


def set_aside(model: nn.Module) -> nn.Module:
    """The same model, in which what only pretraining uses is a buffer: as a parameter it would never get a gradient."""
    for name, parameter in list(model.named_parameters()):
        if name.endswith(_UNUSED_ANYWAY):
            path, _, own = name.rpartition(".")
            owner = model.get_submodule(path)
            delattr(owner, own)
            owner.register_buffer(own, parameter.data)
    return model


def state_of(request: LoadRequest, folder: ModelFolder) -> dict[str, Tensor]:
    """All tensors of the requested weights: those of the folder, or of another file or folder.

    Raises:
        WeightsError: none there, or damaged.
    """
    assert request.weights is not None
    origin = request.weights.origin
    files = folder.weight_files()
    if origin.startswith("file:") and (path := Path(origin.removeprefix("file:"))) != folder.path.resolve():
        inner = open_folder(path) if path.is_dir() else None
        files = [path] if inner is None else inner.weight_files()
    if not files:
        raise WeightsError(
            f"{folder.path} holds no weights (model.safetensors or pytorch_model.bin)",
            help=f"add them, or take random ones: {request.spec.name}@random",
        )
    state: dict[str, Tensor] = {}
    for file in files:
        state |= zoo.read_weights(file)
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def check_fit(model: nn.Module, told: Mapping[str, Any], request: LoadRequest) -> frozenset[str]:
    """The names that the file lacks and may lack (a pooler's), after everything else was found in order.

    Args:
        model: with the tensors in it.
        told: what `from_pretrained` tells of missing, unexpected and mismatched names.
        request: for the name in the error.

    Raises:
        WeightsError: names what is missing, left over inside the model, of another shape or not finite.
    """
    missing = sorted(str(name) for name in told["missing_keys"])
    mismatched = [each if isinstance(each, tuple) else (each,) for each in told["mismatched_keys"]]
    pooler = {name for name, _ in model.named_parameters() if _of_pooler(name)}
    absent = {name for name in missing if name in pooler}
    lost = [name for name in missing if name not in absent and name not in _UNUSED_ANYWAY]
    if absent and absent != pooler:
        lost += sorted(absent)
    left = _homeless(model, [str(name) for name in told["unexpected_keys"]])
    broken = [name for name, each in model.named_parameters() if not bool(torch.isfinite(each).all())]
    problems = [
        *_listed("missing", lost),
        *[f"{each[0]} has shape {tuple(each[1])}, not {tuple(each[2])}" for each in mismatched[:5] if len(each) == 3],
        *_listed("of another shape", [str(each[0]) for each in mismatched if len(each) != 3]),
        *_listed("without a place in this configuration", left),
        *_listed("not finite", broken),
    ]
    if problems:
        raise WeightsError(
            f"the weights do not fit {request.spec.name} ({type(model).__name__})",
            details=problems,
            help="check that config.json and the weights belong together, or fetch them again",
        )
    return frozenset(absent)


def _of_pooler(name: str) -> bool:
    return name.startswith("pooler.") or ".pooler." in name


def _homeless(model: nn.Module, unexpected: list[str]) -> list[str]:
    """Left-over tensors that lie inside the model itself, as of blocks beyond the last: not a source head's."""
    base = str(getattr(model, "base_model_prefix", ""))
    own = {name for name, child in model.named_children() if any(True for _ in child.parameters())}
    inside = []
    for name in unexpected:
        if name.endswith((*_LEFT_OVER, *_UNUSED_ANYWAY)) or any(part in name for part in _LEFT_OVER_PARTS):
            continue
        bare = name.removeprefix(f"{base}.") if base else name
        if bare.partition(".")[0] in own:
            inside.append(name)
    return inside


def _listed(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"{len(names)} tensors {what}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"]
