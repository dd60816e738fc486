"""The program in several processes, as torchrun and `accelerate launch` start it: who speaks, and how all end.

The first process prints and writes; the others are silent. An error of any of them is told by the first, once, and
all end with its exit code. It goes by way of the launcher's store, for a process may fail while others wait for it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable, MutableMapping, Sequence
from datetime import timedelta
from typing import Any

from zoo.cli import console
from zoo.errors import UsageError, ZooError

SHARED = ("finetune", "extract")
"""Commands that several processes share."""
VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = timedelta(days=1)
"""How long processes wait for each other: the first may judge and write for long while the others do nothing."""
LOOK_SECONDS = 0.25
GRACE_SECONDS = 5.0
"""In which the first process comes to an error by itself that another has met; then it is ended."""
LEAVING_SECONDS = 1.5
"""In which the first process is gone, so that its exit code is the one that a launcher reports."""
STOPPED = (130, 143)
"""Exit codes of a run that was asked to stop, which takes as long as a checkpoint does."""


def launched() -> bool:
    """Whether a launcher has started this program in several processes."""
    return all(name in os.environ for name in VARIABLES) and os.environ["WORLD_SIZE"] not in ("0", "1")


def run(words: Sequence[str], program: Callable[[], int]) -> int:
    """Run the program in this process, as one of several; its exit code.

    Args:
        words: of the command line.
        program: prints its errors and gives its exit code.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if _shares(words):
        return _Process(rank, size).run(program)
    if rank > 0:
        return 0
    for name in list(os.environ):  # what this process starts is no part of the launch
        if name in VARIABLES or name.startswith(("TORCHELASTIC_", "ACCELERATE_")):
            del os.environ[name]
    if words and not words[0].startswith("-") and not {"--help", "-h"} & set(words):
        console.note(f"zoo {words[0]} runs in one process; the other {size - 1} of this launch have left")
    return program()


def _shares(words: Sequence[str]) -> bool:
    return bool(words) and words[0] in SHARED and not {"--help", "-h", "--dry-run"} & set(words)


class _Process:
    """One of the processes of a launch."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.ended = threading.Event()
        self.own = sys.stderr
        self.said: io.StringIO | None = None
        self.last_words: list[Callable[[str], None]] = []

    def run(self, program: Callable[[], int]) -> int:
        """Meet the others, run the program, and end as all do."""
        if self.rank > 0:
            sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
            self.said = sys.stderr
        try:
            self.fsdp = asked_for_fsdp(os.environ)
            self.store = self._meet()
        except ZooError as error:
            code = console.print_error(error)
            if self.rank > 0:
                time.sleep(2)  # the first process says the same, and a launcher ends all when one has ended
            return code
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        from zoo.transfer.team import joined

        try:
            with joined("fsdp" if self.fsdp else "ddp") as team:
                self.last_words = team.last_words
                code = program()
        except BaseException:
            if self.rank == 0:
                self._tell({"code": 1})
            raise
        code = self._end(code)
        if code != 0:
            # Threads of a group that not all have left end the interpreter with an abort now and then, and with it the
            # exit code.
            for stream in (sys.stdout, sys.stderr, self.own):
                stream.flush()
            os._exit(code)
        return code

    def _meet(self) -> Any:
        """Set up `torch.distributed`; the store by which an end is told."""
        # DDP looks for parameters that a step leaves out, and warns where there are none.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        import torch
        import torch.distributed

        dist: Any = torch.distributed  # some of its public names are not exported for type checkers
        local = int(os.environ["LOCAL_RANK"])
        cards = 0 if os.environ.get("ACCELERATE_USE_CPU") else torch.cuda.device_count()
        if cards and local >= cards:
            raise UsageError(
                f"{local + 1} processes were started on a machine with {cards} CUDA devices",
                help=f"start {cards} a machine, or CUDA_VISIBLE_DEVICES= for the CPU",
            )
        if cards:
            torch.cuda.set_device(local)
        dist.init_process_group("cpu:gloo,cuda:nccl" if cards else "gloo", timeout=PATIENCE)
        store = dist.TCPStore(
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(seconds=60)
        )
        launch = os.environ.get("TORCHELASTIC_RUN_ID", "none"), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return dist.PrefixStore("/".join(("zoo", *launch)), store)

    def _watch(self) -> None:
        """End this process where another has met an error, however it waits for it."""
        key = "ended" if self.rank else "failed"
        told: dict[str, Any] | None = None
        while told is None:
            if self.ended.wait(LOOK_SECONDS):
                return
            told = self._told(key)
        if self.rank:
            if not self.ended.wait(GRACE_SECONDS if told["code"] == 0 else LEAVING_SECONDS + 1):
                os._exit(told["code"] or 1)
        elif told["code"] not in STOPPED and not self.ended.wait(GRACE_SECONDS):
            print(told["said"], file=self.own, flush=True)
            with contextlib.suppress(OSError, ZooError):
                for word in list(self.last_words):
                    word(told["said"].partition("\n")[0].partition("]: ")[2])
            self._tell({"code": told["code"]})
            os._exit(told["code"])

    def _end(self, code: int) -> int:
        if code == 0 or self.rank == 0:
            self.ended.set()
        if self.rank == 0:
            self._tell({"code": code})
        if code == 0:
            self._part()
        if code == 0 or self.rank == 0:
            return code
        assert self.said is not None
        said = self.said.getvalue()
        said = said[max(said.rfind("error["), 0) :].strip()
        try:
            self.store.set("failed", json.dumps({"code": code, "said": said}))
        except RuntimeError:
            return code
        # The first process has to speak before this one ends, for a launcher then ends all. When it stops, it saves.
        patience = 3600.0 if code in STOPPED else 2 * GRACE_SECONDS
        until = time.monotonic() + patience
        while time.monotonic() < until:
            told = self._told("ended")
            if told is not None:
                self.ended.set()
                time.sleep(LEAVING_SECONDS)
                return int(told["code"]) or code
            time.sleep(LOOK_SECONDS)
        print(said, file=self.own, flush=True)
        return code

    def _part(self) -> None:
        import torch.distributed

        with contextlib.suppress(RuntimeError, ValueError):  # others may have left already
            torch.distributed.destroy_process_group()

    def _tell(self, value: dict[str, Any]) -> None:
        try:
            self.store.set("ended", json.dumps(value))
        except RuntimeError:  # the store is gone, and with it the others
            return

    def _told(self, key: str) -> dict[str, Any] | None:
        try:
            return dict(json.loads(self.store.get(key))) if self.store.check([key]) else None
        except RuntimeError:
            return {"code": 1, "said": ""} if self.rank else None


def asked_for_fsdp(environment: MutableMapping[str, str]) -> bool:
    """Whether `accelerate launch --use_fsdp` started this; it is forgotten, for zoo spreads the weights itself.

    Args:
        environment: of the process; what is about FSDP is taken out.

    Raises:
        UsageError: it asks for what zoo does not do.
    """

    def has(name: str) -> bool:
        return environment.get(name, "false").lower() in ("1", "true")

    for name in ("DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG"):
        if has(f"ACCELERATE_USE_{name}"):
            raise UsageError(
                f"accelerate launch asks for {name}, and zoo keeps all weights (DDP) or a share (FSDP) in each process",
                help="launch with --multi_gpu or --use_fsdp; --strategy lora and --precision bf16 need less memory",
            )
    fsdp = has("ACCELERATE_USE_FSDP")
    if fsdp and has("FSDP_OFFLOAD_PARAMS"):
        raise UsageError(
            "accelerate launch asks FSDP to keep the weights on the CPU (--fsdp_offload_params), which zoo does not do",
            help="leave it out; more processes keep smaller shares",
        )
    sharding = environment.get("FSDP_SHARDING_STRATEGY", "FULL_SHARD")
    if fsdp and sharding not in ("FULL_SHARD", "1"):
        raise UsageError(
            f"accelerate launch asks for --fsdp_sharding_strategy {sharding}, and zoo shares all: FULL_SHARD",
            help="leave it out, or launch with --multi_gpu for whole weights in each process",
        )
    for name in [name for name in environment if name == "ACCELERATE_USE_FSDP" or name.startswith("FSDP_")]:
        del environment[name]
    return fsdp
