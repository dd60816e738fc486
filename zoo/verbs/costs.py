"""What a backbone costs: operations, time and memory, measured on real rows."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import torch

from zoo.data.batches import Loader
from zoo.data.types import Examples
from zoo.models.backbone import Backbone
from zoo.transfer.timing import timed_pass

TIMED_ROWS = 64
SAMPLED_SECONDS = 0.02
"""Between two looks at the memory of the process."""


@dataclass
class Meter:
    """What was used while it ran."""

    seconds: float = 0.0
    peak: int | None = None
    """Bytes: of the device on CUDA; on a CPU what the process took beyond what it held at the beginning."""


@contextmanager
def metered(device: torch.device) -> Iterator[Meter]:
    """Seconds and peak memory of whatever runs inside."""
    meter, started = Meter(), time.perf_counter()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        try:
            yield meter
        finally:
            meter.peak = torch.cuda.max_memory_allocated(device)
            meter.seconds = time.perf_counter() - started
        return
    import psutil

    process, over = psutil.Process(), threading.Event()
    _give_back()
    before = process.memory_info().rss
    meter.peak = 0

    def look() -> None:
        while not over.wait(SAMPLED_SECONDS):
            meter.peak = max(meter.peak or 0, process.memory_info().rss - before)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield meter
    finally:
        over.set()
        watcher.join()
        meter.peak = max(meter.peak or 0, process.memory_info().rss - before)
        meter.seconds = time.perf_counter() - started


def _give_back() -> None:
    """Hand memory that nothing holds back to the system, or the next to take it would seem to need none."""
    import ctypes

    gc.collect()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def flops_of(backbone: Backbone, row: Examples, device: torch.device) -> int | None:
    """Multiplications and additions of one forward pass of one row; None where torch counts none.

    Those of matrix products, convolutions and attention, which torch knows; what is left out is small beside them.
    """
    from torch.utils.flop_counter import FlopCounterMode

    processors = {m: backbone.processor(m) for m in backbone.modalities}
    batch = next(iter(Loader(row, processors, batch_size=1).epoch(0))).to(device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone.to(device).eval()(batch.inputs)
    return counter.get_total_flops() or None


def ms_per_row(backbone: Backbone, rows: Examples, device: torch.device) -> float:
    """Milliseconds of decoding, preprocessing and the forward pass, in batches of up to 32."""
    count = min(len(rows), TIMED_ROWS)
    sample = rows.select(np.linspace(0, len(rows) - 1, count).astype(np.int64))
    processors = {m: backbone.processor(m) for m in backbone.modalities}
    return 1000 * timed_pass(backbone, sample, processors, device, batch_size=min(32, count)).seconds
