"""Which device and precision a run uses."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from zoo.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from zoo.models.backbone import Inputs

Key = TypeVar("Key")
PRECISIONS = ("auto", "fp32", "bf16")
BEHIND = 2
"""Batches that a card may be ahead of who takes what it made."""


def choose_device(name: str) -> torch.device:
    """ "auto" takes CUDA, then Apple's MPS, then the CPU; any torch device name is taken as it is.

    Raises:
        UsageError: no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"'{name}' is no device", help="use auto, cpu, cuda or cuda:1") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name} was asked for, and this machine shows {torch.cuda.device_count()} CUDA devices",
            help="`zoo doctor` says what torch sees; --device cpu runs without",
        )
    return device


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16: "auto" does so on GPUs that have it, never on a CPU (it is slower there).

    Raises:
        UnknownNameError: another precision than auto, fp32 and bf16.
    """
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS, help=f"use {', '.join(PRECISIONS)}")
    if precision == "bf16":
        return True
    return precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def takes_channels_last(model: nn.Module, device: torch.device) -> bool:
    """Whether convolutions may have their channels last, which is quicker.

    On a CPU the backward pass of a strided 1 x 1 convolution of 8 channels or fewer ends the process with a
    segmentation fault in that layout (seen with torch 2.11 and 2.15; 12 channels are well). peft's DoRA takes views of
    the weights of its convolutions that this layout does not have. Tensors of five dimensions, as convolutions over
    frames have them, have no such layout, and `Module.to` refuses the whole model for them.
    """
    if any(tensor.ndim == 5 for tensor in (*model.parameters(), *model.buffers())):
        return False
    if any("lora_magnitude_vector" in name and p.ndim == 4 for name, p in model.named_parameters()):
        return False
    if device.type != "cpu":
        return True
    convolutions = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    return not any(c.in_channels < 12 and c.kernel_size == (1, 1) and c.stride != (1, 1) for c in convolutions)


def channels_last(inputs: Inputs) -> Inputs:
    """Images with their channels last in memory, and everything else as it is."""
    return {
        modality: {
            key: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
            for key, value in tensors.items()
        }
        for modality, tensors in inputs.items()
    }


def sow(seed: int, device: torch.device) -> None:
    """Begin the chance of this device, and that of the CPU, anew.

    What `torch.manual_seed` does for them: that asks every kind of device, which for one that was never used takes
    longer than a step of a small network.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        getattr(torch, device.type).manual_seed(seed)


def fetched(made: Iterable[tuple[Key, Sequence[Tensor]]]) -> Iterator[tuple[Key, list[Tensor]]]:
    """Tensors on the CPU, in the order in which they are made.

    A card goes on with what comes next while they are copied; a CPU is waited for.
    """
    pending: deque[tuple[Key, list[Tensor], torch.cuda.Event | None]] = deque()

    def first() -> tuple[Key, list[Tensor]]:
        key, copies, event = pending.popleft()
        if event is not None:
            event.synchronize()
        return key, copies

    for key, tensors in made:
        event = None
        copies = [each.to("cpu", non_blocking=each.is_cuda) for each in tensors]
        if any(each.is_cuda for each in tensors):
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        pending.append((key, copies, event))
        while len(pending) > (0 if event is None else BEHIND):
            yield first()
    while pending:
        yield first()
