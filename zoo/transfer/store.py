"""Where the tensors of many batches are kept while there is room: on the device, in memory, on disk."""

from __future__ import annotations

import shutil
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.transfer.stubs import mapped

GB = 1_000_000_000
SHARE = 0.25
"""Of what is free, that is taken unless more or less is asked for."""
DISK = 10.0
"""GB of disk that are taken at most unless more are asked for."""
Tier = Literal["device", "memory", "disk"]
TIERS: tuple[Tier, ...] = ("device", "memory", "disk")
_SAID = {"device": "on the GPU", "memory": "in memory", "disk": "on disk"}


@dataclass(frozen=True)
class Room:
    """Bytes that may be taken."""

    device: int = 0
    memory: int = 0
    disk: int = 0


def room_for(device: torch.device, memory: float | None, disk: float | None, folder: Path | None) -> Room:
    """What may be taken on this machine.

    Args:
        device: of the model; of a GPU's free memory a quarter is taken.
        memory: GB, as asked for; None: a quarter of what is free.
        disk: likewise; None: a quarter of what is free, 10 GB at most.
        folder: on the disk in question; None: nothing is written.
    """
    gpu = int(SHARE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0
    free = available_memory()
    main = int(SHARE * free) if memory is None else min(int(memory * GB), free)
    left = 0
    if folder is not None:
        unused = shutil.disk_usage(_existing(folder)).free
        left = min(int(SHARE * unused), int(DISK * GB)) if disk is None else min(int(disk * GB), unused)
    return Room(gpu, main, left)


def available_memory() -> int:
    """Bytes that this process can still have: of the machine, or of the control group that it is kept in."""
    import psutil

    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # not Linux, another layout, or no limit ("max")
        limit = int((group / "memory.max").read_text())
        free = min(free, max(limit - int((group / "memory.current").read_text()), 0))
    return free


@dataclass(frozen=True)
class _Leaf:
    """A tensor of a structure, by its place in the list of them, and how it lies."""

    index: int
    shape: torch.Size
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Entry:
    tree: Any
    """The structure, with leaves for tensors."""
    tier: Tier
    flat: tuple[Tensor, ...]
    """(N,) each; empty on disk."""


class Store:
    """Structures of tensors by key; what finds no room is not kept.

    Args:
        room: that may be taken.
        device: where they are wanted.
        folder: for what goes to disk; removed by `close`, and whatever a killed run left there at once.
    """

    def __init__(self, room: Room, device: torch.device, folder: Path | None) -> None:
        self.room = room if folder is not None else replace(room, disk=0)
        self.device = device
        self.folder = folder
        self.entries: dict[Hashable, _Entry] = {}
        self.used: dict[Tier, int] = dict.fromkeys(TIERS, 0)
        self.refused = 0
        """Structures that found no room."""
        self.close()

    def __contains__(self, key: Hashable) -> bool:
        return key in self.entries

    def keep(self, key: Hashable, value: Any) -> bool:
        """Keep a structure where there is room; whether there was any.

        Args:
            key: to find it again.
            value: of tensors that nobody else will change.
        """
        tensors: list[Tensor] = []

        def leaf(each: Tensor) -> _Leaf:
            dense = each if _is_dense(each) else each.contiguous()
            tensors.append(dense.as_strided((dense.numel(),), (1,)))
            return _Leaf(len(tensors) - 1, dense.shape, dense.stride())

        tree = mapped(value, leaf, Tensor)
        size = sum(each.numel() * each.element_size() for each in tensors)
        for tier in TIERS:
            if self.used[tier] + size <= getattr(self.room, tier) and self._put(key, tree, tier, tensors):
                self.used[tier] += size
                return True
        self.refused += 1
        return False

    def get(self, key: Hashable) -> Any:
        """A copy of a structure, on the device."""
        entry = self.entries[key]
        flat = self._read(key) if entry.tier == "disk" else entry.flat

        def tensor(each: _Leaf) -> Tensor:
            found = flat[each.index].to(self.device, non_blocking=True, copy=True)
            return found.as_strided(each.shape, each.stride)

        return mapped(entry.tree, tensor, _Leaf)

    def close(self) -> None:
        """Forget everything."""
        self.entries.clear()
        self.used = dict.fromkeys(TIERS, 0)
        self.refused = 0
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __str__(self) -> str:
        """Where how much lies: "12 MB in memory"."""
        kept = [f"{size(self.used[tier])} {_SAID[tier]}" for tier in TIERS if self.used[tier]]
        return ", ".join(kept) or "nothing"

    def _put(self, key: Hashable, tree: Any, tier: Tier, tensors: Sequence[Tensor]) -> bool:
        if tier == "disk":
            if not self._write(key, tensors):
                return False
            self.entries[key] = _Entry(tree, tier, ())
            return True
        target = self.device if tier == "device" else torch.device("cpu")
        pinned = tier == "memory" and self.device.type == "cuda"
        self.entries[key] = _Entry(tree, tier, tuple(_moved(each, target, pinned=pinned) for each in tensors))
        return True

    def _write(self, key: Hashable, tensors: Sequence[Tensor]) -> bool:
        from safetensors.torch import save_file

        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Not by way of `published`: nothing here outlives the run, and waiting for the disk takes longer.
            save_file({str(i): each.cpu() for i, each in enumerate(tensors)}, path)
        except Exception as error:
            path.unlink(missing_ok=True)
            if isinstance(error, ZooError):
                raise
            self.room = replace(self.room, disk=0)  # full after all
            return False
        return True

    def _read(self, key: Hashable) -> Mapping[int, Tensor]:
        from safetensors import safe_open

        # Mapped, not read: a page that is still in memory is not read again.
        with safe_open(self._path(key), framework="pt") as file:
            return {int(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no dictionary)

    def _path(self, key: Hashable) -> Path:
        assert self.folder is not None
        name = "-".join(map(str, key)) if isinstance(key, tuple) else str(key)
        return self.folder / f"{name}.safetensors"


def size(count: float) -> str:
    """Bytes for people: 12 MB."""
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 999.5:
            return f"{count:.2g} {unit}" if count < 10 else f"{count:.0f} {unit}"
    return f"{count / 1000:.2g} GB"


def _moved(tensor: Tensor, device: torch.device, *, pinned: bool) -> Tensor:
    if not pinned:
        return tensor.to(device)
    # The copies back run on the same stream, hence after this one.
    return torch.empty_like(tensor, device=device, pin_memory=True).copy_(tensor, non_blocking=True)


def _is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill one piece of memory without gaps, in whichever order."""
    expected = 1
    for length, step in sorted(zip(tensor.shape, tensor.stride(), strict=True), key=lambda pair: pair[1]):
        if length == 1:
            continue
        if step != expected:
            return False
        expected *= length
    return tensor.numel() > 0


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.resolve().parents) if path.exists())
