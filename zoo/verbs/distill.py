"""A student learns from a teacher, beside its labels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo.data.types import Dataset, ReadOptions
from zoo.errors import UsageError
from zoo.models.backbone import Backbone
from zoo.records.runs import RunFolder
from zoo.transfer.options import Training
from zoo.transfer.teaching import DistillOptions
from zoo.verbs.beside import ALONE, carried_out, of_run, of_teacher, reread
from zoo.verbs.config import Output, read_config
from zoo.verbs.finetune import finetune, resume
from zoo.verbs.run import Event, Interrupted, Run, Watch
from zoo.verbs.sidebyside import SideBySide, side_by_side


@dataclass(frozen=True)
class Distilled:
    """A student that learned from a teacher."""

    run: Run
    comparison: SideBySide | None
    """Teacher, student alone and student distilled on the same rows; None: not asked for."""

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints: those of the run, and the comparison."""
        beside = None if self.comparison is None else self.comparison.to_json()
        return {**self.run.to_json(), "comparison": beside}


def distill(
    teacher: str | Path,
    student: str | Backbone,
    data: str | Path | Dataset,
    *,
    by: Sequence[str] = ("logits",),
    alpha: float = 0.5,
    temperature: float = 4.0,
    term_weights: Mapping[str, float] | None = None,
    hint: str | None = None,
    unlabelled: str | Path | None = None,
    compare: bool = False,
    strategy: str | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    weights: str | None = None,
    training: Training | None = None,
    read: ReadOptions | None = None,
    out: Output | None = None,
    offline: bool = False,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Distilled:
    """Train a student on labels and on what a teacher says of the same rows.

    The teacher answers every training row once, in evaluation mode, and its answers are kept: a run that goes on does
    not compute them again. It may read another modality of the rows than the student does.

    Args:
        teacher: a finished run, or a backbone; of a backbone, or a run of another task, a linear probe answers.
        student: a backbone.
        data: a folder, a table, the name of a data set, or a `Dataset`, with what both of them read.
        by: any of "logits" (Hinton et al. 2015), "features" (Romero et al. 2015), "distances" and "angles" (Park et
            al. 2019).
        alpha: the teacher's share of the loss.
        temperature: by which logits are divided.
        term_weights: of terms against each other.
        hint: "STUDENT_STAGE:TEACHER_STAGE", whose outputs meet in place of the pooled features.
        unlabelled: rows without labels, as in `finetune`, which the teacher answers too.
        compare: train the same student alone too, and set both beside the teacher.
        strategy: full where the student's weights are random, lp-ft where they are pretrained, if None.
        epochs, lr, seed, device, weights, training, read, out, offline, watch, stop: as in `finetune`.

    Raises:
        DataError, UsageError, WeightsError: bad input, each with its mend.
        DivergedError: a loss that is not finite.
        Interrupted: `stop` said so; `resume` goes on.

    References: https://arxiv.org/abs/1503.02531, https://arxiv.org/abs/1412.6550, https://arxiv.org/abs/1904.05068
    """
    options = DistillOptions(str(teacher), tuple(by), alpha, temperature, dict(term_weights or {}), hint)
    untouched = copy.deepcopy(student) if compare and isinstance(student, Backbone) else student
    given = {"strategy": strategy, "epochs": epochs, "lr": lr, "seed": seed, "device": device, "weights": weights}
    run = finetune(
        student,
        data,
        distill=options,
        unlabelled=unlabelled,
        training=training,
        read=read,
        out=out,
        offline=offline,
        baseline="none",
        watch=watch,
        stop=stop,
        **given,  # type: ignore[arg-type]
    )
    if not compare:
        return Distilled(run, None)
    beside = _compared(
        run,
        untouched if isinstance(untouched, Backbone) else None,
        data if isinstance(data, Dataset) else None,
        watch=watch,
        stop=stop,
    )
    return Distilled(run, beside)


def resume_distilled(
    run: str | Path,
    *,
    root: str | Path = "runs",
    compare: bool = False,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Distilled:
    """Go on with a distillation that was interrupted or killed, and with the run beside it.

    Args:
        run: the student's run, its name, or "last".
        root: where runs lie.
        compare: as in `distill`.
        watch: as in `finetune`.
        stop: as in `finetune`.

    Raises:
        UsageError: no such run, or none that learned from a teacher.
    """
    folder = RunFolder.open(run, root=Path(root))
    config = read_config(folder.path / "config.yaml")
    if config.distill is None:
        raise UsageError(f"{folder.path} learned from no teacher", help=f"zoo finetune --resume {folder.path}")
    done = resume(folder.path, watch=watch, stop=stop)
    if not compare:
        return Distilled(done, None)
    return Distilled(done, _compared(done, None, None, watch=watch, stop=stop))


def _compared(
    run: Run, student: Backbone | None, data: Dataset | None, *, watch: Watch | None, stop: Callable[[], bool]
) -> SideBySide:
    """The same student at the same budget without the teacher, and all three on the same rows."""
    watch = watch or (lambda event: None)
    config = read_config(run.path / "config.yaml")
    name = run.path.name + ALONE
    watch(Event(note=f"the same student alone, as {name}"))
    alone_config = replace(
        config, distill=None, unlabelled=None, out=replace(config.out, dir=str(run.path.parent), name=name)
    )
    try:
        alone = carried_out(alone_config, copy.deepcopy(student), data, watch=watch, stop=stop)
    except Interrupted as error:
        raise Interrupted(error.what, help=f"go on with  zoo distill --resume {run.path} --compare") from error
    rows, teacher = reread(config, data, watch)
    held = rows.splits[rows.held_out]
    sides = [
        of_teacher("teacher", teacher, held),
        of_run("student alone", alone, student, held),
        of_run("student distilled", run.path, student, held),
    ]
    beside = side_by_side(
        rows.task,
        rows.held_out,
        held,
        sides,
        [("student distilled", "student alone"), ("student distilled", "teacher")],
    )
    RunFolder(run.path).write_json("comparison.json", beside.to_json())
    return beside
