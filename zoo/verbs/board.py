"""Event files for TensorBoard, beside everything else that a run writes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from zoo.errors import UsageError
from zoo.records.checkpoints import newest
from zoo.records.runs import RunFolder
from zoo.verbs.run import Event, Run, RunPlan

if TYPE_CHECKING:
    from zoo.transfer.loop import Record
    from zoo.verbs.session import Session

FOLDER = "tensorboard"


def check_tensorboard() -> None:
    """Refuse, before anything is trained, what could not be written.

    Raises:
        UsageError: the package is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise UsageError("--tensorboard needs the package tensorboard", help='pip install "zoo[tensorboard]"')


@contextmanager
def event_files(session: Session, folder: RunFolder, *, resume: bool) -> Iterator[Board | None]:
    """What writes the events of a session while it runs; None where no event files are asked for."""
    if not session.config.out.tensorboard:
        yield None
        return
    board = Board(folder, session.plan, resume=resume)
    watch = session.watch

    def both(event: Event) -> None:
        watch(event)
        if event.record is not None:
            board.write(event.record)

    session.watch = both
    try:
        yield board
    finally:
        session.watch = watch
        board.close()


class Board:
    """The events of one run.

    Loss, rate and gradient norm of each step, the mean loss and the held-out metrics of each epoch, the plan as a
    text, and at the end the choices of the run beside its metrics. A soup has these for each member.

    Args:
        folder: of the run.
        plan: of the run.
        resume: what an interrupted run wrote after its last checkpoint is no longer shown.
    """

    def __init__(self, folder: RunFolder, plan: RunPlan, *, resume: bool) -> None:
        from torch.utils.tensorboard import SummaryWriter

        checkpoints = folder.path / "checkpoints"
        self.member = len(list((folder.path / "members").glob("*")))
        own = checkpoints / str(self.member)
        checkpoint = newest(own if own.is_dir() else checkpoints) if resume else None
        self.step = checkpoint.step if checkpoint else 0
        self.soup = own.is_dir() or plan.strategy == "soup"
        # What was not written out is lost where a run is killed.
        self.writer: Any = SummaryWriter(
            str(folder.path / FOLDER), purge_step=self.step + 1 if resume else None, flush_secs=10
        )
        if not resume:
            self.writer.add_text("plan", described(plan), 0)

    def write(self, record: Record) -> None:
        """One step, or one epoch."""
        if record.step < self.step:  # the next member of a soup begins
            self.member += 1
        self.step = record.step
        begin = f"member {self.member + 1}/" if self.soup else ""
        if record.kind == "step":
            for name, value in (("loss", record.loss), ("lr", record.lr), ("gradient_norm", record.norm)):
                self._scalar(f"{begin}train/{name}", value)
        elif record.kind == "epoch":
            self._scalar(f"{begin}epoch/loss", record.loss)
            for name, value in record.metrics.items():
                self._scalar(f"{begin}held-out/{name}", value)
            self.writer.flush()

    def finish(self, run: Run) -> None:
        """The choices of the run beside its final metrics."""
        metrics = {f"final/{name}": value for name, value in run.metrics.items() if value is not None}
        self.writer.add_hparams(choices(run.plan), metrics, run_name=".", global_step=self.step)

    def close(self) -> None:
        """Write out what is still held back."""
        self.writer.close()

    def _scalar(self, name: str, value: float | None) -> None:
        if value is not None:
            self.writer.add_scalar(name, value, self.step)


def choices(plan: RunPlan) -> dict[str, bool | int | float | str]:
    """What TensorBoard compares runs by: the options of the training, those that say something."""
    training: Mapping[str, Any] = asdict(plan.training)
    plain = {name: value for name, value in training.items() if isinstance(value, bool | int | float | str)}
    listed = {name: str(value) for name, value in training.items() if name not in plain and value}
    return {"backbone": plan.backbone, "data": plan.data, **plain, **listed}


def described(plan: RunPlan) -> str:
    """The plan in Markdown."""
    rows = ", ".join(f"{count:,} {split}" for split, count in plan.rows.items())
    facts = {
        "backbone": plan.backbone,
        "data": f"{plan.data}, {rows}, {plan.task.kind}",
        "strategy": plan.strategy,
        "steps": f"{plan.estimate.steps:,} of {plan.training.batch_size} rows" if plan.estimate.steps else "solved",
        "device": f"{plan.device}, {plan.precision}",
    }
    table = "".join(f"| {name} | {value} |\n" for name, value in facts.items())
    return f"|  |  |\n| --- | --- |\n{table}\n" + "".join(f"- {note}\n" for note in plan.notes)
