"""Backbones of any modality on the same rows, by the same protocol, with what tells them apart from chance."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from zoo.comparison.result import Comparison, Shots
from zoo.data.types import Dataset, ReadOptions
from zoo.records.runs import point_last
from zoo.transfer.devices import choose_device
from zoo.transfer.options import Training
from zoo.verbs.asked import FOLDER, SEEDS, Asked, Given, asked_for, contenders_of, folder_of, made, sources_of
from zoo.verbs.cells import Work
from zoo.verbs.comparing import assembled
from zoo.verbs.config import Output
from zoo.verbs.executors import Stop, check_executor
from zoo.verbs.ledger import write_comparison
from zoo.verbs.run import Watch


def compare(
    backbones: Sequence[str],
    data: str | Path | Dataset | Sequence[str | Path | Dataset],
    *,
    strategies: Sequence[str] | None = None,
    shots: Sequence[Shots] = ("all",),
    seeds: int = SEEDS,
    head: str | None = None,
    reference: str | None = None,
    floors: bool = True,
    weights: str | None = None,
    training: Training | None = None,
    read: ReadOptions | None = None,
    out: Output | None = None,
    executor: str = "local",
    jobs: int | None = None,
    offline: bool = False,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Set backbones side by side: the same rows, splits, draws, seeds, head and search budget for each.

    What was measured once is kept, so that the same call again trains nothing and one with another contender trains
    that one. Rows of each draw are the same for every contender, whatever its modality.

    Args:
        backbones: names, `a+b`, or `title=name`. The single parts of `a+b` take part too, to tell what joining brings.
        data: a folder, a table, the name of a data set, or a `Dataset`; or several of these.
        strategies: of `zoo finetune`; "linear-probe", the default, solves heads on features that are computed once.
            With a budget in `training` each contender looks for its own, "auto".
        shots: training rows of each class (rows in all for labels and numbers), or "all".
        seeds: of draws, random weights, order and augmentation; a head solved on all rows needs one.
        head: as in `finetune`; "linear" if None.
        reference: title of the contender that the others are set beside; the first if None.
        floors: add the same architectures with random weights, probed.
        weights: of a single backbone: a tag, "random" or a file.
        training: every other choice, the same for each contender.
        read: how to read the data.
        out: where to write; the name follows from what is compared.
        executor: "local", or "ray" for a Ray cluster.
        jobs: at once; None: one for each GPU, or one.
        offline: never touch the network.
        watch: called with notes and with work as it is done.
        stop: asked between trainings and after each step; True raises `Interrupted`, and the same call goes on.

    Raises:
        DataError, UsageError, WeightsError: bad input, each with its mend.
        ZooError: no contender could be measured.
        Interrupted: `stop` said so.
    """
    given = [data] if isinstance(data, str | Path | Dataset) else list(data)
    train = training or Training()
    asked = asked_for(
        backbones,
        given,
        strategies=strategies,
        shots=shots,
        seeds=seeds,
        reference=reference,
        floors=floors,
        weights=weights,
        training=train if head is None else replace(train, head=head),
        read=read,
        offline=offline,
    )
    return compared(asked, given, out=out, executor=executor, jobs=jobs, watch=watch, stop=stop)


def compared(
    asked: Asked,
    given: Sequence[Given],
    *,
    out: Output | None = None,
    executor: str = "local",
    jobs: int | None = None,
    watch: Watch | None = None,
    stop: Stop = lambda: False,
) -> Comparison:
    """What came of the question; arguments are those of `compare`.

    Args:
        asked: the question.
        given: its data sets.
        out: where to write.
        executor: "local" or "ray".
        jobs: at once.
        watch: called with notes and with work as it is done.
        stop: asked between trainings and after each step.
    """
    started = time.time()
    check_executor(executor, jobs)
    work = work_of(asked, given, out, watch, device=str(choose_device(asked.training.device)))
    made(work.folder)
    work.carry_out(executor, jobs, stop)
    comparison = assembled(work, started)
    comparison.write(work.folder)
    point_last(work.folder.parent, work.folder)
    write_comparison(comparison)
    return comparison


def work_of(asked: Asked, given: Sequence[Given], out: Output | None, watch: Watch | None, *, device: str) -> Work:
    """What is known and what is left of a comparison, with its data read; nothing is done or written.

    Args:
        asked: the question.
        given: its data sets.
        out: where to write.
        watch: called with notes and with work as it is done.
        device: that costs are measured on.

    Raises:
        DataError, UsageError: bad input, each with its mend.
    """
    who = contenders_of(asked)
    folder = folder_of(out or Output(dir=FOLDER), asked, who)
    return Work(asked, who, sources_of(asked, given), folder, watch or (lambda event: None), device)


def carry_out_job(
    asked: Asked,
    given: Sequence[Given],
    name: str,
    *,
    out: Output | None = None,
    watch: Watch | None = None,
    stop: Stop = lambda: False,
) -> bool:
    """One job of a comparison, in this process; what came of it is kept for whoever makes the whole of it.

    Args:
        asked: the question of the whole comparison.
        given: its data sets.
        name: of the job, as `zoo compare --dry-run` shows it.
        out: where the comparison is written; runs of trainings lie there.
        watch: called with notes and with work as it is done.
        stop: asked after each step.

    Returns:
        False: it was known already.

    Raises:
        DataError, UsageError: bad input, or no such job.
        ZooError: what keeps the contender from these data.
    """
    work = work_of(asked, given, out, watch, device=str(choose_device(asked.training.device)))
    return work.carry_out_one(name, stop)
