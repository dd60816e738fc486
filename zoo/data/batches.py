"""Examples to batches: decoded in threads, of like length, in an order that only (seed, epoch) decides."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.catalog.spec import AudioPreprocess, Modality
from zoo.data.aligned import aligned_targets
from zoo.data.audio import seconds_of
from zoo.data.augment import Augment, Draw
from zoo.data.decode import Reach, decoded
from zoo.data.types import Examples

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from zoo.models.backbone import Processor

CHUNK = 50
"""Training batches that are sorted by length together: long enough for little padding, short enough for chance."""
FRAMES = 50
"""A second of sound, as speech models count: so that its length compares with that of a text."""
ENOUGH = 1 / 8
"""Share of its positions that a batch needs to be worth its overhead."""
SPARE = 0.02
"""Padding for each real position that is worth a larger batch."""
AHEAD = 4
"""Batches prepared ahead."""
Place = tuple[int, int]
"""A batch by its view and its index in it: with views, the same place is always the same batch."""


@dataclass
class Batch:
    """Rows on their way to a model."""

    inputs: dict[Modality, dict[str, Tensor]]
    targets: Tensor | None
    rows: Tensor
    """(B,) index of each row in its `Examples`; stays on the CPU."""
    processors: Mapping[Modality, Processor]
    finished: bool = False
    place: Place | None = None
    """Where epochs repeat themselves."""
    recorded: Any = None
    """What is known of this batch from an earlier epoch, for whoever recorded it."""
    whole: int | None = None
    """Rows of the batch that these are a share of; None: all of them are here."""
    idle: bool = False
    """Whether there were too few rows for all processes: this one keeps step with a row that does not count."""

    def to(self, device: torch.device) -> Batch:
        """On the device, converted there to what a backbone takes."""
        moved: dict[Modality, dict[str, Tensor]] = {
            modality: {key: tensor.to(device, non_blocking=True) for key, tensor in tensors.items()}
            for modality, tensors in self.inputs.items()
        }
        if not self.finished:
            moved = {modality: self.processors[modality].finish(tensors) for modality, tensors in moved.items()}
        targets = None if self.targets is None else self.targets.to(device, non_blocking=True)
        return replace(self, inputs=moved, targets=targets, finished=True)


def _all(processor: Processor, values: Sequence[Any]) -> list[Any]:
    """Each value as the processor makes it, with its `many` if it has one."""
    many: Callable[[Sequence[Any]], list[Any]] | None = getattr(processor, "many", None)
    return [processor(value) for value in values] if many is None else many(values)


def channels_of(processor: Any) -> int:
    """The channels in which it takes images."""
    return int(getattr(processor, "channels", 3))


def reach_of(processor: Any, *, fast: bool) -> Reach | None:
    """How large it wants images, where they may be decoded at less than their size."""
    return getattr(processor, "reach", None) if fast else None


def packed(lengths: Sequence[int], rows: int, positions: int) -> list[int]:
    """Where batches of rows of these lengths end, but for the last one.

    A batch is full where another row would make it more than `rows` rows or `positions` positions with padding; and, as
    soon as it has `ENOUGH` of these, where more than `SPARE` of its real ones would be padding.

    Args:
        lengths: ascending.
        rows: a batch at most.
        positions: likewise; a longer row is a batch by itself.
    """
    ends, start, real = [], 0, 0
    for end, length in enumerate(lengths):
        padded = (end + 1 - start) * length
        enough = (end - start) * lengths[end - 1] >= ENOUGH * positions
        full = end - start == rows or padded > positions or (enough and padded > (1 + SPARE) * (real + length))
        if full and end > start:
            ends.append(end)
            start, real = end, 0
        real += length
    return ends


class Loader:
    """Batches of examples, every row exactly once an epoch.

    Args:
        examples: the rows.
        processors: one for each modality that is wanted.
        batch_size: rows a batch.
        train: shuffle and augment.
        seed: with the epoch it decides order and augmentation.
        augment: of training images.
        threads: that decode and transform.
        share: which share of each batch to prepare, and of how many, where several processes share a batch.
        fast: decode large JPEGs at a half, a quarter or an eighth of their size, where they are to be as small as that.
        pinned: put batches where a card takes them from while it computes.
        positions: padded ones a batch at most, in evaluation order: short texts then come in more rows than long ones,
            up to `batch_size`. None: always `batch_size` rows.
    """

    def __init__(
        self,
        examples: Examples,
        processors: Mapping[Modality, Processor],
        *,
        batch_size: int,
        train: bool = False,
        seed: int = 0,
        augment: Augment | None = None,
        threads: int = 2,
        share: tuple[int, int] = (0, 1),
        positions: int | None = None,
        fast: bool = False,
        pinned: bool = False,
    ) -> None:
        self.examples = examples
        self.processors = dict(processors)
        self.batch_size = batch_size
        self.train = train
        self.seed = seed
        self.augment = augment or Augment()
        self.threads = max(threads, 1)
        self.share = share
        self.positions = positions
        self.fast = fast
        self.pinned = pinned
        # Texts are turned into ids once: that tells their length, and later epochs need not do it again.
        self.ready: dict[Modality, list[Any]] = {
            modality: _all(processor, examples.inputs[modality])
            for modality, processor in self.processors.items()
            if modality == "text"
        }
        self.aligned = aligned_targets(examples, self.processors)
        self.lengths = self._lengths()

    def __len__(self) -> int:
        if self.positions is not None and not self.train:
            return len(self.order(0))
        whole, rest = divmod(len(self.examples), self.batch_size)
        return whole + (rest > 0 and not self._joins(whole, rest))

    def _joins(self, whole: int, rest: int) -> bool:
        """Whether the last, short batch goes to the one before: batch norm cannot train on a single row."""
        return self.train and rest == 1 and whole > 0

    @property
    def draws(self) -> bool:
        """Whether inputs change by chance from epoch to epoch."""
        return self.train and self.augment != Augment() and "image" in self.processors

    @property
    def padding(self) -> float:
        """Positions computed for each real one, in evaluation order; 1 where nothing is padded."""
        computed, real = self.counts
        return computed / real if real else 1.0

    @property
    def counts(self) -> tuple[int, int]:
        """Positions computed, in evaluation order, and real ones among them."""
        computed = sum(len(rows) * int(self.lengths[rows].max()) for rows in self._sorted())
        return computed, int(self.lengths.sum())

    def order(self, epoch: int) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
        """The rows of each batch of this epoch."""
        count = len(self.examples)
        if not self.train:
            return self._sorted()
        rng = np.random.default_rng((self.seed, epoch))
        rows = rng.permutation(count)
        alike = bool((self.lengths == self.lengths[:1]).all())
        batches = []
        for start in range(0, count, CHUNK * self.batch_size):
            chunk = rows[start : start + CHUNK * self.batch_size]
            if not alike:
                chunk = chunk[np.argsort(self.lengths[chunk], kind="stable")]
            batches += [chunk[i : i + self.batch_size] for i in range(0, len(chunk), self.batch_size)]
        if self._joins(*divmod(count, self.batch_size)):
            single = batches.pop()
            batches[-1] = np.concatenate([batches[-1], single])
        return batches if alike else [batches[i] for i in rng.permutation(len(batches))]

    def _sorted(self) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
        """The rows of each batch, the shortest first; whole batches of them taken by themselves are the same ones."""
        rows = np.argsort(self.lengths, kind="stable")
        if self.positions is None:
            return [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        ends = packed(self.lengths[rows].tolist(), self.batch_size, self.positions)
        return np.split(rows, ends) if len(rows) else []

    def places(self, epoch: int, views: int | None = None, group: int = 1) -> list[Place]:
        """The view and the index of each batch of this epoch, in order; see `epoch`."""
        count = len(self)
        if views is None:
            return [(epoch, index) for index in range(count)]
        shuffled = np.random.default_rng((self.seed, epoch, views)).permutation(-(-count // group))
        members = (range(int(each) * group, min((int(each) + 1) * group, count)) for each in shuffled)
        return [(epoch % views, index) for indices in members for index in indices]

    def epoch(
        self,
        number: int,
        start: int = 0,
        *,
        views: int | None = None,
        group: int = 1,
        ready: Callable[[Place], Batch | None] = lambda place: None,
    ) -> Iterator[Batch]:
        """The batches of one epoch, from the `start`-th on: a resumed epoch goes on where it stopped.

        Args:
            number: of the epoch.
            start: batches to leave out.
            views: every epoch consists of the batches of epoch `number % views`, rows, padding and augmentation
                alike, in an order of its own; None: every epoch draws its own batches.
            group: neighbours that stay together in that order, as they make one step.
            ready: a batch that need not be made, or None; asked a few batches ahead, once an epoch for each place.
        """
        order = self.order(number if views is None else number % views)
        upcoming = deque(self.places(number, views, group)[start:])
        # What only has to be put together takes no longer than handing it to a thread and back.
        at_once = self.ready.keys() == self.processors.keys() and self.aligned is None and not self.pinned
        with ThreadPoolExecutor(self.threads, thread_name_prefix="zoo-loader") as pool:
            pending: deque[Batch | Future[Batch]] = deque()
            try:
                while upcoming or pending:
                    while upcoming and len(pending) < (1 if at_once else AHEAD):
                        view, index = upcoming.popleft()
                        known = ready((view, index))
                        if known is None and at_once:
                            known = self._batch(order[index], view, index)
                        pending.append(known or pool.submit(self._batch, order[index], view, index))
                    first = pending.popleft()
                    yield first if isinstance(first, Batch) else first.result()
            finally:
                for each in pending:
                    if isinstance(each, Future):
                        each.cancel()

    def _batch(self, whole: np.ndarray[Any, np.dtype[np.int64]], epoch: int, index: int) -> Batch:
        import torch

        rank, size = self.share
        idle = rank >= len(whole)
        # Every so many rows: those of a sorted batch are of like length, and so are then the shares.
        rows = whole[:1] if idle else whole[rank::size]
        inputs: dict[Modality, dict[str, Tensor]] = {}
        for modality, processor in self.processors.items():
            if modality in self.ready:
                values = [self.ready[modality][row] for row in rows]
            else:
                column = self.examples.inputs[modality]
                values = [self._one(processor, column[row], epoch, int(row)) for row in rows]
            tensors = processor.collate(values)
            inputs[modality] = {name: each.pin_memory() for name, each in tensors.items()} if self.pinned else tensors
        targets = None
        if self.aligned is not None:
            targets = self.aligned(rows, inputs, lambda row: self._draw(epoch, row))
        elif self.examples.targets is not None:
            targets = torch.from_numpy(np.ascontiguousarray(self.examples.targets[rows]))
        targets = targets.pin_memory() if self.pinned and targets is not None else targets
        kept = torch.from_numpy(np.ascontiguousarray(rows))
        count = None if size == 1 else len(whole)
        return Batch(inputs, targets, kept, self.processors, place=(epoch, index), whole=count, idle=idle)

    def _one(self, processor: Processor, value: Any, epoch: int, row: int) -> Any:
        reach = reach_of(processor, fast=self.fast)
        return processor(decoded(value, channels_of(processor), reach), self._draw(epoch, row))

    def _draw(self, epoch: int, row: int) -> Draw | None:
        return Draw(self.augment, self.seed, epoch, row) if self.train else None

    def _lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        found = np.ones(len(self.examples), dtype=np.int64)
        for modality, values in self.ready.items():
            processor = self.processors[modality]
            found = np.maximum(found, np.asarray([processor.length(value) for value in values], dtype=np.int64))
        longest: np.ndarray[Any, np.dtype[np.int64]] = np.maximum(found, self._durations())
        return longest

    def _durations(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Of recordings that are padded to the longest of their batch: frames by what their headers say."""
        preprocess = getattr(self.processors.get("audio"), "preprocess", None)
        if not isinstance(preprocess, AudioPreprocess) or preprocess.padded:
            return np.ones(len(self.examples), dtype=np.int64)
        with ThreadPoolExecutor(self.threads) as pool:
            seconds = [
                min(each, preprocess.seconds or each) for each in pool.map(seconds_of, self.examples.inputs["audio"])
            ]
        return np.array([max(math.ceil(each * FRAMES), 1) for each in seconds], dtype=np.int64)
