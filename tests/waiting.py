"""What a card would have to be waited for, counted on any device."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

READS = {f"aten::{name}" for name in ("_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "masked_select")}
"""What gives Python a value of a tensor, or makes a shape of one."""


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes each of them while it lasts."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().partition(".")[0]
        self.found += [name] if name in READS else []
        return func(*args, **(kwargs or {}))
