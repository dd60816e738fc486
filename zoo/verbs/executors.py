"""Where independent pieces of work are done: in this process, in several, or on a Ray cluster."""

from __future__ import annotations

import importlib.util
import inspect
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from zoo.errors import UnknownNameError, UsageError, ZooError
from zoo.verbs.run import Interrupted

T = TypeVar("T")
R = TypeVar("R")
Stop = Callable[[], bool]
EXECUTORS = ("local", "ray")


class Fault(ZooError):  # noqa: N818  (no fault of the data or of the options)
    """What a library raised, or the loss of a worker."""


@dataclass(frozen=True)
class Pieces(Generic[T, R]):
    """Work of one kind in pieces that are independent of each other."""

    items: Sequence[T]
    do: Callable[[T], R]
    """In whatever process: it and the pieces can be pickled, and it needs nothing of this process."""
    here: Callable[[T], R]
    """The same in this process, where progress may be shown and what has been read need not be read again."""
    name: Callable[[T], str]
    """Of a piece, for people."""
    whole: str
    """What the pieces make, for people: "comparison"."""

    def check(self, stop: Stop) -> None:
        """Leave where that is wished.

        Raises:
            Interrupted: it is.
        """
        if stop():
            raise Interrupted(f"the {self.whole} was stopped", help="the same command goes on with it")


def check_executor(executor: str, jobs: int | None) -> None:
    """Refuse what would be noticed after the data were read.

    Raises:
        UnknownNameError: no such executor.
        UsageError: Ray is not installed, or a number of jobs that cannot be meant.
    """
    if executor not in EXECUTORS:
        raise UnknownNameError("executor", executor, EXECUTORS, help=f"use {' or '.join(EXECUTORS)}")
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs} is not above 0", help="give a positive number, or leave it out")
    if executor == "ray" and importlib.util.find_spec("ray") is None:
        raise UsageError(
            "--executor ray needs Ray, which is not installed", help='install it with: pip install "zoo[ray]"'
        )


def carried_out(
    work: Pieces[T, R], *, executor: str, jobs: int | None, gpus: int, stop: Stop = lambda: False
) -> Iterator[tuple[T, R | ZooError]]:
    """Every piece with what came of it, in the order in which they end; one that fails costs itself alone.

    Args:
        work: the pieces.
        executor: "local" or "ray".
        jobs: at once; None: one for each GPU, or one; as many as a cluster has room for.
        gpus: that this machine has, and of which each piece needs one where there are any.
        stop: asked between pieces.

    Raises:
        UnknownNameError, UsageError: as `check_executor`.
        Interrupted: `stop` said so.
    """
    check_executor(executor, jobs)
    if executor == "ray":
        from zoo.verbs.cluster import on_ray

        return on_ray(work, jobs=jobs, gpus=1 if gpus else 0, stop=stop)
    count = jobs_here(jobs, gpus, len(work.items))
    if count <= 1:
        return _here(work, stop)
    return _in_processes(work, count, gpus, stop)


def jobs_here(jobs: int | None, gpus: int, pieces: int) -> int:
    """How many processes take part on this machine."""
    return min(jobs or max(gpus, 1), pieces)


def gpus_of(device: str) -> int:
    """How many cards of this machine a device such as "cuda" means; 0: none."""
    if device.partition(":")[0] != "cuda":
        return 0
    import torch

    return torch.cuda.device_count() if device == "cuda" else 1


def answer(do: Callable[[T], R], piece: T) -> R | ZooError:
    """What came of a piece, whatever the fault.

    Raises:
        Interrupted: it was asked to stop.
    """
    try:
        return do(piece)
    except Interrupted:
        raise
    except ZooError as error:
        return error
    except Exception as error:  # noqa: BLE001  (a fault of one piece, in whatever library)
        lines = str(error).strip().splitlines()
        said = f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
        return Fault(said, details=traceback.format_exc().splitlines())


def answer_away(do: Callable[[T], R], piece: T) -> R | ZooError:
    """The same, to be sent to another process: of an error what it says and its kind."""
    found = answer(do, piece)
    return _plain(found) if isinstance(found, ZooError) else found


def _plain(error: ZooError) -> ZooError:
    """The nearest kind of error that can be pickled: one that is made of what it says alone."""
    kind = next(each for each in type(error).__mro__ if inspect.getattr_static(each, "__init__") is ZooError.__init__)
    found: ZooError = kind(error.what, help=error.help, details=error.details)
    return found


def _here(work: Pieces[T, R], stop: Stop) -> Iterator[tuple[T, R | ZooError]]:
    for piece in work.items:
        work.check(stop)
        yield piece, answer(work.here, piece)


def _in_processes(work: Pieces[T, R], count: int, gpus: int, stop: Stop) -> Iterator[tuple[T, R | ZooError]]:
    """Processes that take one piece after another; one that dies costs its piece a try, and the others nothing."""
    threads = max((os.cpu_count() or 1) // count, 1)
    slots = [_Slot(work.do, index, gpus, threads=threads) for index in range(count)]
    lost: list[T] = []
    try:
        for piece, found in _shared_out(work, work.items, slots, stop):
            if isinstance(found, BrokenProcessPool):
                lost.append(piece)  # once more, alone, for it may have lacked memory
            else:
                yield piece, found
        for piece, found in _shared_out(work, lost, slots[:1], stop):
            yield piece, _killed(work.name(piece)) if isinstance(found, BrokenProcessPool) else found
    finally:
        for slot in slots:
            slot.end()


def _shared_out(
    work: Pieces[T, R], pieces: Sequence[T], slots: Sequence[_Slot], stop: Stop
) -> Iterator[tuple[T, R | ZooError | BrokenProcessPool]]:
    waiting, idle = list(reversed(pieces)), list(slots)
    running: dict[Future[R | ZooError], tuple[_Slot, T]] = {}
    while waiting or running:
        work.check(stop)
        while waiting and idle:
            slot, piece = idle.pop(), waiting.pop()
            running[slot.submit(piece)] = slot, piece
        ended, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in ended:
            slot, piece = running.pop(future)
            found = _result(future)
            if isinstance(found, BrokenProcessPool):
                slot.end()
            idle.append(slot)
            yield piece, found


class _Slot:
    """A process with its card and its share of the processor; another one where it has died."""

    def __init__(self, do: Callable[[Any], Any], index: int, gpus: int, threads: int) -> None:
        self.do, self.index, self.gpus, self.threads = do, index, gpus, threads
        self.pool: ProcessPoolExecutor | None = None

    def submit(self, piece: Any) -> Future[Any]:
        """Begin with a piece."""
        if self.pool is None:
            self.pool = ProcessPoolExecutor(
                1,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(self.do, self.index, self.gpus, self.threads),
            )
        return self.pool.submit(_alone, piece)

    def end(self) -> None:
        """No work goes on that nobody waits for."""
        if self.pool is not None:
            processes = list((self.pool._processes or {}).values())
            self.pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            self.pool = None


_DOES: list[Callable[[Any], Any]] = []
"""Of a process that takes part: what it does with each piece, which it is told once, for the rows may be in it."""


def _begin(do: Callable[[Any], Any], index: int, gpus: int, threads: int) -> None:
    """Ctrl-C is for the parent alone."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if gpus > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = _visible()[index % gpus]
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    import torch

    torch.set_num_threads(min(threads, torch.get_num_threads()))
    _DOES.append(do)


def _visible() -> list[str]:
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]


def _alone(piece: Any) -> Any:
    return answer_away(_DOES[0], piece)


def _result(future: Future[R | ZooError]) -> R | ZooError | BrokenProcessPool:
    try:
        return future.result()
    except BrokenProcessPool as error:
        return error


def _killed(name: str) -> ZooError:
    return Fault(
        f"the process of {name} died twice, the second time alone",
        help="it may have lacked memory: give --batch-size, or a smaller backbone",
    )
