"""Independent pieces of work as tasks of a Ray cluster; a worker that is lost costs its piece a try."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from zoo.errors import ZooError
from zoo.verbs.executors import Fault, Pieces, Stop, answer_away

T = TypeVar("T")
R = TypeVar("R")
ENVIRONMENT = ("ZOO_", "HF_", "TORCH_HOME", "OMP_NUM_THREADS")
"""Beginnings of the variables that a worker takes over: where things lie, what may be fetched, and threads."""


class Lost(Exception):  # noqa: N818  (a state of the work; it may be tried again)
    """A worker, or the machine it was on, is gone."""


def on_ray(work: Pieces[T, R], *, jobs: int | None, gpus: int, stop: Stop) -> Iterator[tuple[T, R | ZooError]]:
    """Every piece with what came of it.

    A piece whose worker was killed, or whose machine was lost, is tried once more when the others have ended, for it
    may have lacked memory. The cluster is that of `RAY_ADDRESS`, or one on this machine. Files are those that the
    workers see under the same names.

    Args:
        work: the pieces.
        jobs: at once; None: as many as the cluster has room for.
        gpus: that each piece needs.
        stop: asked every half second.
    """
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    kept = {name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT)}
    # Ray's own tries would have no end for a piece that lacks memory, and would not wait for the others.
    task: Any = ray.remote(num_gpus=gpus, max_retries=0, runtime_env={"env_vars": kept})(_on_worker)
    shared = ray.put(work.do)
    folder = str(Path.cwd())

    def begin(piece: T) -> Any:
        return task.remote(shared, piece, folder)

    lost: list[T] = []
    for piece, found in _taken(work, work.items, begin, jobs, stop):
        if isinstance(found, Lost):
            lost.append(piece)
        else:
            yield piece, found
    for piece, found in _taken(work, lost, begin, jobs, stop):
        yield piece, _lost_twice(work.name(piece), found) if isinstance(found, Lost) else found


def _taken(
    work: Pieces[T, R], pieces: Sequence[T], begin: Callable[[T], Any], jobs: int | None, stop: Stop
) -> Iterator[tuple[T, R | ZooError | Lost]]:
    """At most `jobs` at once, in the order in which they end."""
    import ray

    waiting = list(reversed(pieces))
    running: dict[Any, T] = {}
    try:
        while waiting or running:
            work.check(stop)
            while waiting and (jobs is None or len(running) < jobs):
                piece = waiting.pop()
                running[begin(piece)] = piece
            ended, _ = ray.wait(list(running), timeout=0.5)
            for each in ended:
                yield running.pop(each), _result(each)
    finally:
        for each in running:
            ray.cancel(each, force=True)


def _result(reference: Any) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # before the piece was begun: it may not be readable over there
        return Fault(f"{type(error.cause).__name__}: {error.cause}", details=str(error).splitlines())
    except ray.exceptions.RayError as error:
        return Lost(type(error).__name__)


def _lost_twice(name: str, lost: Lost) -> ZooError:
    return Fault(
        f"the worker of {name} was lost twice ({lost})",
        help="it may have lacked memory: give --batch-size, a smaller backbone, or fewer --jobs",
    )


def _on_worker(do: Callable[[T], R], piece: T, folder: str) -> R | ZooError:
    """One piece, in the folder in which it was asked for, where this machine has that."""
    if Path(folder).is_dir():
        os.chdir(folder)
    return answer_away(do, piece)
