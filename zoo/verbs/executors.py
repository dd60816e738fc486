"""Where the work of a comparison is done: in this process, in several, or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

from zoo.comparison.work import Done, Group
from zoo.data.types import Dataset
from zoo.errors import UnknownNameError, UsageError, ZooError
from zoo.verbs.run import Interrupted, Watch

Stop = Callable[[], bool]
Finished = Iterator[tuple[Group, Done | ZooError]]
EXECUTORS = ("local", "ray")
TRIES = 2
"""Of a group whose worker was lost."""


def carried_out(
    groups: Sequence[Group],
    data: Mapping[str, Dataset],
    *,
    executor: str,
    jobs: int | None,
    gpus: int,
    watch: Watch,
    stop: Stop,
) -> Finished:
    """Every group with what came of it, in the order in which they end.

    Args:
        groups: the work; independent of each other.
        data: by title, as they have been read; other processes read them by themselves.
        executor: "local" or "ray".
        jobs: at once; None: one for each GPU, or one.
        gpus: that this machine has.
        watch: called with what goes on inside, where the work is done in this process.
        stop: asked between groups, and after every step in this process.

    Raises:
        UnknownNameError: no such executor.
        UsageError: Ray is not installed.
        Interrupted: `stop` said so.
    """
    if executor not in EXECUTORS:
        raise UnknownNameError("executor", executor, EXECUTORS, help=f"use {' or '.join(EXECUTORS)}")
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs} is not above 0", help="give a positive number, or leave it out")
    if executor == "ray":
        return _on_ray(groups, gpus=1 if gpus else 0, stop=stop)
    count = min(jobs or max(gpus, 1), len(groups))
    return _here(groups, data, watch, stop) if count <= 1 else _in_processes(groups, count, gpus, stop)


def _here(groups: Sequence[Group], data: Mapping[str, Dataset], watch: Watch, stop: Stop) -> Finished:
    for group in groups:
        if stop():
            raise Interrupted("the comparison was stopped", help="the same command goes on with it")
        yield group, _one(group, watch, stop, data[group.source.title])


def _in_processes(groups: Sequence[Group], count: int, gpus: int, stop: Stop) -> Finished:
    """Processes that take one group after another; one that dies costs its group a try, and the others nothing."""
    slots = [_Slot(index, gpus, threads=max((os.cpu_count() or 1) // count, 1)) for index in range(count)]
    lost: list[Group] = []
    try:
        for group, found in _shared_out(groups, slots, stop):
            if isinstance(found, BrokenProcessPool):
                lost.append(group)  # once more, alone, for it may have lacked memory
            else:
                yield group, found
        for group, found in _shared_out(lost, slots[:1], stop):
            yield group, _killed(group) if isinstance(found, BrokenProcessPool) else found
    finally:
        for slot in slots:
            slot.end()


def _shared_out(
    groups: Sequence[Group], slots: Sequence[_Slot], stop: Stop
) -> Iterator[tuple[Group, Done | ZooError | BrokenProcessPool]]:
    waiting, idle = list(reversed(groups)), list(slots)
    running: dict[Future[Done | ZooError], tuple[_Slot, Group]] = {}
    while waiting or running:
        if stop():
            raise Interrupted("the comparison was stopped", help="the same command goes on with it")
        while waiting and idle:
            slot, group = idle.pop(), waiting.pop()
            running[slot.submit(group)] = slot, group
        ended, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in ended:
            slot, group = running.pop(future)
            found = _result(future)
            if isinstance(found, BrokenProcessPool):
                slot.end()
            idle.append(slot)
            yield group, found


class _Slot:
    """A process with its card and its share of the processor; another one where it has died."""

    def __init__(self, index: int, gpus: int, threads: int) -> None:
        self.index, self.gpus, self.threads = index, gpus, threads
        self.pool: ProcessPoolExecutor | None = None

    def submit(self, group: Group) -> Future[Done | ZooError]:
        """Begin with a group."""
        if self.pool is None:
            self.pool = ProcessPoolExecutor(
                1,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(self.index, self.gpus, self.threads),
            )
        return self.pool.submit(_alone, group)

    def end(self) -> None:
        """No work goes on that nobody waits for."""
        if self.pool is not None:
            processes = list((self.pool._processes or {}).values())
            self.pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            self.pool = None


def _begin(index: int, gpus: int, threads: int) -> None:
    """Ctrl-C is for the parent alone."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if gpus > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = _visible()[index % gpus]
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    import torch

    torch.set_num_threads(min(threads, torch.get_num_threads()))


def _visible() -> list[str]:
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]


def _one(group: Group, watch: Watch, stop: Stop, data: Dataset | None = None) -> Done | ZooError:
    """What came of it; a contender that fails costs itself alone, whatever the fault."""
    from zoo.verbs.contending import carry_out

    try:
        return carry_out(group, watch, stop, data)
    except Interrupted:
        raise
    except ZooError as error:
        return ZooError(error.what, help=error.help, details=error.details)  # a plain one, which travels
    except Exception as error:  # noqa: BLE001  (a fault of one contender, in whatever library)
        return ZooError(f"{type(error).__name__}: {error}", details=traceback.format_exc().splitlines())


def _alone(group: Group) -> Done | ZooError:
    return _one(group, lambda event: None, lambda: False)


def _result(future: Future[Done | ZooError]) -> Done | ZooError | BrokenProcessPool:
    try:
        return future.result()
    except BrokenProcessPool as error:
        return error


def _killed(group: Group) -> ZooError:
    return ZooError(
        f"the process of {group.name} died twice, the second time alone",
        help="it may have lacked memory: give --batch-size, or a smaller backbone",
    )


def _on_ray(groups: Sequence[Group], *, gpus: int, stop: Stop) -> Finished:
    """Tasks of a Ray cluster, which starts those anew whose worker died.

    The cluster is that of `RAY_ADDRESS`, or one on this machine. Files are those that the workers see.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--executor ray needs Ray, which is not installed", help='install it with: pip install "zoo[ray]"'
        ) from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    task = ray.remote(num_gpus=gpus, max_retries=TRIES)(_alone)
    waiting = {task.remote(_portable(group)): group for group in groups}
    try:
        while waiting:
            if stop():
                raise Interrupted("the comparison was stopped", help="the same command goes on with it")
            ended, _ = ray.wait(list(waiting), timeout=0.5)
            for each in ended:
                group = waiting.pop(each)
                try:
                    found = ray.get(each)
                except ray.exceptions.RayError as error:
                    found = ZooError(f"the worker of {group.name} was lost: {type(error).__name__}")
                yield group, found
    finally:
        for each in waiting:
            ray.cancel(each, force=True)


def _portable(group: Group) -> Group:
    return replace(group, runs=str(Path(group.runs).absolute()))
