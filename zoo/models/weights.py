"""Weights are hostile input: one way to fetch them, one way to read them, one way to load them."""

from __future__ import annotations

import fnmatch
import json
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.errors import WeightsError
from zoo.models.fetching import fetch, hub_folder

__all__ = ["fetch", "hub_folder", "load_state", "read_weights"]

_PREFIXES = ("module.", "model.", "_orig_mod.")
"""What DataParallel, Lightning and torch.compile put before every name."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a pickle read with `weights_only=True`, on the CPU.

    Raises:
        WeightsError: missing, empty, not a weights file, damaged, or a pickle that would run code.
    """
    path = Path(path)
    if path.is_dir():
        path = _in_folder(path)
    if _kind(path) == "safetensors":
        return _read_safetensors(path)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _not_loaded(path, error) from error
    return _tensors(value, path)


def load_state(
    module: nn.Module, state: Mapping[str, Tensor], *, optional: Sequence[str] = (), unused: Sequence[str] = ()
) -> None:
    """Load a state dict strictly; a common prefix such as "module." is taken off.

    Args:
        module: takes the tensors.
        state: as `read_weights` gave it.
        optional: patterns of names that may be missing, such as "fc.*"; with another shape they are left out too.
        unused: patterns of names that may be left over.

    Raises:
        WeightsError: names what is missing, left over, of another shape, or not finite.
    """
    own = module.state_dict()
    state = _without_prefix(dict(state), own)
    odd = [n for n, t in state.items() if n in own and own[n].shape != t.shape]
    for name in [n for n in odd if _matches(n, optional)]:
        del state[name]
        odd.remove(name)
    missing = [n for n in own if n not in state and not _matches(n, optional) and not n.endswith("num_batches_tracked")]
    left = [n for n in state if n not in own and not _matches(n, unused)]
    broken = [n for n, t in state.items() if n in own and t.is_floating_point() and not _finite(t)]
    problems = [
        *_listed("missing", missing, len(own)),
        *_listed("not of this backbone", left, len(state)),
        *[f"{n} has shape {tuple(state[n].shape)}, not {tuple(own[n].shape)}" for n in odd[:5]],
        *_listed("not finite", broken, len(state)),
    ]
    if problems:
        raise WeightsError(
            f"the weights do not fit {type(module).__name__}",
            details=problems,
            help="check that architecture and weights belong together; `zoo info NAME` shows the ones that do",
        )
    fitting = OrderedDict((name, tensor) for name, tensor in state.items() if name in own)
    # Some networks (MNASNet) refuse a state without the version of its layout; names and shapes are checked above.
    fitting._metadata = own._metadata  # type: ignore[attr-defined]
    module.load_state_dict(fitting, strict=False)


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _listed(what: str, names: Sequence[str], of: int) -> list[str]:
    if not names:
        return []
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return [f"{len(names)} of {of} tensors {what}: {shown}"]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _without_prefix(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    def known(names: Mapping[str, Tensor]) -> int:
        return sum(name in own for name in names)

    best = cut = state
    # One inside the other too, as in "module.model."; taken off only where more names are known then.
    while prefix := next((each for each in _PREFIXES if cut and all(name.startswith(each) for name in cut)), None):
        cut = {name.removeprefix(prefix): tensor for name, tensor in cut.items()}
        best = cut if known(cut) > known(best) else best
    return best


def _in_folder(folder: Path) -> Path:
    for name in (
        "model.safetensors",
        "open_clip_model.safetensors",
        "pytorch_model.bin",
        "open_clip_pytorch_model.bin",
    ):
        if (folder / name).is_file():
            return folder / name
    found = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin"), *folder.glob("*.pth"), *folder.glob("*.pt")])
    if len(found) == 1:
        return found[0]
    raise WeightsError(f"{folder} holds {len(found)} weight files", help="give the path of one of them")


def _kind(path: Path) -> Literal["safetensors", "pickle"]:
    """Which of the two it is by its first bytes; whatever else it is gets its name."""
    if not path.is_file():
        raise WeightsError(f"there are no weights at {path}", help="check the path")
    with path.open("rb") as file:
        head = file.read(256)
    if not head:
        raise WeightsError(f"{path} is empty", help="fetch it again")
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path} is a git-lfs pointer, not the weights", help="run  git lfs pull  where it came from"
        )
    if head.lstrip()[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError(
            f"{path} is an HTML page, not weights", help="fetch it again; the download was an error page"
        )
    # A length, then a JSON object. The suffix decides for what is cut short; nothing called so is ever unpickled.
    if path.suffix == ".safetensors" or (0 < int.from_bytes(head[:8], "little") < 100_000_000 and head[8:9] == b"{"):
        return "safetensors"
    if head.startswith((b"PK", b"\x80")):
        return "pickle"
    raise WeightsError(
        f"{path} is no weights file: it begins with {head[:12]!r}", help="give a safetensors file, or one of torch.save"
    )


def _not_loaded(path: Path, error: Exception) -> WeightsError:
    # torch's own message advises to switch the protection off.
    blocked = re.search(r"GLOBAL ([\w.]+)", str(error))
    if blocked is None or blocked[1].endswith("."):  # a name that is cut short itself
        return WeightsError(f"{path} is damaged or cut short, or not of torch.save", help="fetch it again")
    return WeightsError(
        f"{path} was refused: it is a pickle that calls {blocked[1]}",
        details=["only plain tensors are read from pickles, since anything else can run code"],
        help="where you trust it, load it and save  torch.save(model.state_dict(), 'weights.pt')",
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, ValueError, OSError) as error:
        raise WeightsError(f"{path} is damaged: {_first_line(error)}", help="fetch it again") from error


def _tensors(value: Any, path: Path) -> dict[str, Tensor]:
    for key in ("state_dict", "model", "model_state_dict", "module", "net"):
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            value = value[key]
    if not isinstance(value, Mapping):
        raise WeightsError(f"{path} holds a {type(value).__name__}, not a state dict", help="save model.state_dict()")
    tensors = {str(name): tensor for name, tensor in value.items() if isinstance(tensor, Tensor)}
    if not tensors:
        raise WeightsError(f"{path} holds no tensors", help="save model.state_dict()")
    return tensors


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else json.dumps(type(error).__name__)
