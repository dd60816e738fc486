"""The processes that share one run: what each of them does alike, what the first does alone, and how they agree."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.errors import UnknownNameError, UsageError, ZooError

Value = TypeVar("Value")
Parallel = Literal["ddp", "fsdp"]
PARALLEL: tuple[Parallel, ...] = ("ddp", "fsdp")
Arrays = dict[str, NDArray[Any]]
_Told = tuple[str, str | None, tuple[str, ...], str, int]
"""An error: what, help, details, kind and exit code."""


class LostError(ZooError):
    """Another process of the run has ended, so that this one cannot go on."""

    kind = "lost"


@dataclass(frozen=True)
class Team:
    """One of the processes that share a run.

    A team of one does everything itself, and nothing here costs it anything.
    """

    rank: int = 0
    size: int = 1
    gradients: Any = None
    """The group in which gradients are averaged: apart from all else, whose order need not be theirs."""
    parallel: Parallel = "ddp"
    """Whether each process has all weights, or keeps a share of them, of gradients and of what the optimiser knows."""
    last_words: list[Callable[[str], None]] = field(default_factory=list, compare=False)
    """What is still to be done where this process is ended while it waits for one that has failed: given the error."""

    @property
    def leads(self) -> bool:
        """Whether this is the process that prints, decides and writes."""
        return self.rank == 0

    def lead(self, work: Callable[[], Value]) -> Value:
        """What the first process makes alone, for all of them; so is the error that it meets.

        Nothing within `work` knows of other processes.
        """
        if self.size == 1:
            return work()
        made: list[Any] = [None, None]
        if self.leads:
            try:
                with alone():
                    made[0] = work()
            except Exception as error:
                self._broadcast([None, _told(error)])
                raise
        value, told = self._broadcast(made)
        if told is not None:
            raise _error(told)
        return cast("Value", value)

    def look(self, work: Callable[[], Value]) -> Value:
        """What is found out with the model that is trained: by the first process alone, or by all where each has only
        a share of the weights; what the first has found counts.
        """
        if self.parallel == "ddp":
            return self.lead(work)
        with alone():
            value = work()
        return self.lead(lambda: value)

    def in_turn(self, work: Callable[[], Value]) -> Value:
        """The same done by every process, after the first: what it downloads and keeps is there for the others."""
        if self.size == 1:
            return work()
        if self.leads:
            value = self.every(work)
            self.every(lambda: None)
            return value
        self.every(lambda: None)
        return self.every(work)

    def every(self, work: Callable[[], Value]) -> Value:
        """What each process does by itself; the error of one is the error of all.

        Nothing within `work` knows of other processes.
        """
        if self.size == 1:
            return work()
        value: Value | None = None
        failed: Exception | None = None
        try:
            with alone():
                value = work()
        except Exception as error:  # noqa: BLE001  (it is raised below, by all)
            failed = error
        errors: list[Any] = [None] * self.size
        with _reached():
            dist.all_gather_object(errors, None if failed is None else _told(failed))
        first = next((each for each in errors if each is not None), None)
        if first is not None:
            raise failed or _error(first)
        return cast("Value", value)

    def agree(self, what: str, value: str) -> None:
        """Go on only if this is the same in every process.

        Raises:
            UsageError: they differ.
        """
        if self.size == 1:
            return
        found: list[Any] = [None] * self.size
        with _reached():
            dist.all_gather_object(found, value)
        if len(set(found)) > 1:
            others = ", ".join(str(rank) for rank, each in enumerate(found) if each != found[0])
            raise UsageError(
                f"{what} are not the same in process {others} as in process 0",
                help="every process needs the same files, packages and settings",
            )

    @contextmanager
    def leaving(self, word: Callable[[str], None]) -> Iterator[None]:
        """While this lasts, it is called with the error for which this process is ended from outside."""
        self.last_words.append(word)
        try:
            yield
        finally:
            self.last_words.remove(word)

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process."""
        if self.size == 1:
            return flag
        return bool(self.total(torch.tensor(float(flag))) > 0)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, without a gradient."""
        if self.size == 1:
            return values
        found = values.detach().clone()
        with _reached():
            dist.all_reduce(found)
        return found

    def arrays(self, own: Arrays | None, source: int = 0) -> Arrays | None:
        """The arrays of one process, for all of them; None where it has none."""
        if self.size == 1:
            return own
        mine = self.rank == source
        shapes = None if own is None else {name: (each.shape, str(each.dtype)) for name, each in own.items()}
        told = self._broadcast([shapes], source)[0]
        if told is None:
            return None
        found: Arrays = {}
        for name, (shape, dtype) in told.items():
            each = np.ascontiguousarray(own[name]) if mine and own is not None else np.empty(shape, dtype)
            with _reached():
                dist.broadcast(torch.from_numpy(each), src=source)
            found[name] = each
        return found

    def alike(self, tensors: Iterable[Tensor]) -> None:
        """Give these tensors, in their places, the values of the first process."""
        for each in tensors:
            values = each.detach().contiguous()
            with _reached():
                dist.broadcast(values, src=0)
            each.detach().copy_(values)

    def sharing(self, module: nn.Module) -> nn.Module:
        """The module with gradients that are the mean over all processes, beginning with the weights of the first.

        Where each keeps only a share of the weights it is that of `zoo.transfer.sharding` already.
        """
        if self.size == 1 or self.parallel == "fsdp":
            return module
        from torch.nn.parallel import DistributedDataParallel

        # Buffers are equal anyhow; the option has another name from torch 2.15 on.
        parameters = inspect.signature(DistributedDataParallel).parameters
        buffers: dict[str, Any] = {
            next(name for name in ("forward_sync_buffers", "broadcast_buffers") if name in parameters): False
        }
        # Some heads, and networks that skip layers by chance, leave parameters out.
        return DistributedDataParallel(module, process_group=self.gradients, find_unused_parameters=True, **buffers)

    def _broadcast(self, values: list[Any], source: int = 0) -> list[Any]:
        with _reached():
            dist.broadcast_object_list(values, src=source)
        return values


ALONE = Team()
_CURRENT: ContextVar[Team] = ContextVar("team", default=ALONE)


def current() -> Team:
    """The team of which this process is part; one of its own unless the program was launched in several."""
    return _CURRENT.get()


@contextmanager
def alone() -> Iterator[None]:
    """For a while, what is done here is no matter of the others."""
    before = _CURRENT.set(ALONE)
    try:
        yield
    finally:
        _CURRENT.reset(before)


@contextmanager
def joined(parallel: Parallel = "ddp") -> Iterator[Team]:
    """The team of all processes of `torch.distributed`, which has been set up, for as long as this lasts."""
    team = Team(dist.get_rank(), dist.get_world_size(), dist.new_group(), parallel)
    before = _CURRENT.set(team)
    try:
        yield team
    finally:
        _CURRENT.reset(before)


@contextmanager
def working(parallel: str | None) -> Iterator[None]:
    """For a while the processes share the work so; None: as they were launched.

    Raises:
        UsageError: this is no way, or there is one process alone.
    """
    if parallel is None:
        yield
        return
    if parallel not in PARALLEL:
        raise UnknownNameError("way of --parallel", parallel, PARALLEL, help=f"use {' or '.join(PARALLEL)}")
    team = current()
    if parallel == "fsdp" and team.size == 1:
        raise UsageError(
            "--parallel fsdp spreads the weights over several processes, and this is one",
            help="start it as  torchrun --nproc-per-node 2 -m zoo ...",
        )
    before = _CURRENT.set(replace(team, parallel=parallel))
    try:
        yield
    finally:
        _CURRENT.reset(before)


@contextmanager
def reaching() -> Iterator[None]:
    """Say it plainly where another process is gone while gradients or statistics are exchanged.

    Raises:
        LostError: it is.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise _lost() from error
        raise


@contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise _lost() from error


def _lost() -> LostError:
    return LostError(
        "another process of this run has ended", help="a run goes on from its last checkpoint with --resume RUN"
    )


def _told(error: Exception) -> _Told:
    """An error as it can be sent to other processes."""
    if isinstance(error, ZooError):
        return error.what, error.help, error.details, error.kind, error.exit_code
    return f"{type(error).__name__}: {error}", None, (), "bug", 1


def _error(told: _Told) -> ZooError:
    """What another process met."""
    what, mend, details, kind, code = told
    made: ZooError = type("ToldError", (ZooError,), {"kind": kind, "exit_code": code})(what, help=mend, details=details)
    return made
