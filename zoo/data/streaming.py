"""Rows to batches while they come, so that memory does not grow with their number."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from zoo.catalog.spec import Modality
from zoo.data.batches import AHEAD, channels_of, reach_of
from zoo.data.decode import decoded
from zoo.data.identity import identities
from zoo.data.rows import Row
from zoo.errors import DataError

if TYPE_CHECKING:
    from zoo.models.backbone import Processor

T = TypeVar("T")

CHUNK_ROWS = 1024
"""Rows that are sorted by the length of their texts together, and written together."""
CHUNK_BYTES = 32 << 20
"""Fewer are taken together where they are large; three chunks are held at most."""


@dataclass(frozen=True)
class Ready:
    """A row that is ready to be put into a batch."""

    id: str
    """sha256 of its inputs as 16 hex digits, as in `Examples.ids`."""
    values: Mapping[Modality, Any]
    """What the processors made of it."""


@dataclass(frozen=True)
class Portion:
    """Rows of a chunk that go through the backbone together."""

    chunk: Sequence[Row]
    rows: Sequence[int]
    """Of the chunk."""
    ready: Sequence[Ready | str]
    """One for each of `rows`: what it became, or why it cannot be read."""
    last: bool
    """Whether the chunk ends with it."""


def chunks(rows: Iterable[Row], *, at_once: int, count: int, size: int = CHUNK_BYTES) -> Iterator[list[Row]]:
    """Neighbours together, at most `count` and about `size` bytes of them, if that is no less than `at_once` rows."""
    chunk: list[Row] = []
    held = 0
    for row in rows:
        chunk.append(row)
        held += row.size
        # Half a batch is slow, and worth some room; but not any.
        full = held >= size and (len(chunk) % at_once == 0 or held >= 4 * size)
        if full or len(chunk) == count:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def portions(
    rows: Iterable[Row],
    processors: Mapping[Modality, Processor],
    *,
    size: int,
    check: Callable[[Mapping[Modality, Any]], None],
    threads: int,
    fast: bool = False,
) -> Iterator[Portion]:
    """Portions of `size` rows, chunk after chunk; a few of them are decoded ahead, and one chunk is read ahead.

    Texts of a chunk are sorted by their tokens, so that little is padded; without texts rows keep their order.

    Args:
        rows: in the order of their shard.
        processors: one for each modality.
        size: rows of a portion; the last of a chunk may have fewer.
        check: raises a DataError over values that the backbone does not take together.
        threads: that decode.
        fast: decode large JPEGs at less than their size, as `Loader` does.
    """
    count = max(CHUNK_ROWS // size, 1) * size
    planned = _planned(chunks(rows, at_once=size, count=count), processors, size)
    with ahead(planned) as coming, ThreadPoolExecutor(threads, "zoo-decode") as pool:
        pending: deque[tuple[Sequence[Row], list[int], list[Future[Ready | str]], bool]] = deque()
        try:
            for chunk, members, texts, last in coming:
                one = [pool.submit(_made, chunk[i], processors, texts, i, check, fast=fast) for i in members]
                pending.append((chunk, members, one, last))
                if len(pending) >= AHEAD:
                    yield _gathered(*pending.popleft())
            while pending:
                yield _gathered(*pending.popleft())
        finally:
            for _, _, futures, _ in pending:
                for future in futures:
                    future.cancel()


def _planned(
    read: Iterable[list[Row]], processors: Mapping[Modality, Processor], size: int
) -> Iterator[tuple[list[Row], list[int], Sequence[Any], bool]]:
    """Each chunk in portions: the rows of each, the tokens of the chunk's texts, and whether it is the last."""
    text = processors.get("text")
    for chunk in read:
        order = list(range(len(chunk)))
        texts: list[Any] = []
        if text is not None:
            texts = [_tokens(row, text) for row in chunk]  # one after another: tokenizers are not all safe in threads
            lengths = [1 if isinstance(each, DataError) else text.length(each) for each in texts]
            order = [int(row) for row in np.argsort(lengths, kind="stable")]
        for start in range(0, len(order), size):
            yield chunk, order[start : start + size], texts, start + size >= len(order)


def _tokens(row: Row, processor: Processor) -> Any:
    if row.reason is not None:
        return DataError(row.reason)
    try:
        return processor(row.inputs["text"])
    except DataError as error:
        return error


def _made(
    row: Row,
    processors: Mapping[Modality, Processor],
    texts: Sequence[Any],
    index: int,
    check: Callable[[Mapping[Modality, Any]], None],
    *,
    fast: bool,
) -> Ready | str:
    if row.reason is not None:
        return row.reason
    try:
        check(row.inputs)
        values: dict[Modality, Any] = {}
        for modality, processor in processors.items():
            if modality == "text":
                if isinstance(texts[index], DataError):
                    raise texts[index]
                values[modality] = texts[index]
            else:
                values[modality] = processor(
                    decoded(row.inputs[modality], channels_of(processor), reach_of(processor, fast=fast))
                )
    except DataError as error:
        return error.what
    return Ready(identities({m: [row.inputs[m]] for m in processors}, 1)[0][0], values)


def _gathered(chunk: Sequence[Row], rows: list[int], futures: list[Future[Ready | str]], last: bool) -> Portion:
    return Portion(chunk, rows, [each.result() for each in futures], last)


_END = object()


@contextmanager
def ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """The same items, the next one made in a thread of its own while the last is used; errors come with them."""
    box: queue.Queue[Any] = queue.Queue(maxsize=1)
    ended = threading.Event()

    def put(item: Any) -> bool:
        while not ended.is_set():
            try:
                box.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    break
            else:
                put((_END, None))
        except BaseException as error:  # noqa: BLE001  (raised again where the items are used)
            put((_END, error))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def each() -> Iterator[T]:
        while True:
            item, error = box.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item

    thread = threading.Thread(target=fill, name="zoo-read", daemon=True)
    thread.start()
    try:
        yield each()
    finally:
        ended.set()
        thread.join()
