"""Carry a backbone to new data: plan, train, measure, save."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from zoo.data.types import Dataset, ReadOptions
from zoo.errors import DivergedError, UsageError
from zoo.models.backbone import Backbone
from zoo.records.runs import RunFolder
from zoo.transfer.budget import AUTO
from zoo.transfer.options import Training
from zoo.transfer.teaching import DistillOptions
from zoo.transfer.team import current, reaching
from zoo.transfer.trained import Trained
from zoo.verbs.auto import FILE as CHOICE
from zoo.verbs.auto import choose, with_known
from zoo.verbs.board import event_files
from zoo.verbs.card import model_card
from zoo.verbs.config import Output, RunConfig, read_config, write_config
from zoo.verbs.ledger import write_down
from zoo.verbs.opening import Opened, open_job
from zoo.verbs.run import Event, Interrupted, Run, RunPlan, Watch
from zoo.verbs.search import first, search
from zoo.verbs.session import Session
from zoo.verbs.together import followed, open_together, settled_by
from zoo.verbs.unlabelled import check_unchanged, unlabelled_facts


def finetune(
    backbone: str | Backbone,
    data: str | Path | Dataset,
    *,
    strategy: str | None = None,
    budget: str | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    head: str | None = None,
    seed: int | None = None,
    device: str | None = None,
    weights: str | None = None,
    training: Training | None = None,
    read: ReadOptions | None = None,
    out: Output | None = None,
    offline: bool = False,
    baseline: str = "auto",
    against: Sequence[str] = (),
    unlabelled: str | Path | None = None,
    distill: DistillOptions | None = None,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Fine-tune a backbone on data; sensible with no option.

    Args:
        backbone: a name such as "torchvision/resnet18", or a loaded backbone.
        data: a folder, a table, the name of a data set, or a `Dataset`.
        strategy: linear-probe, head, partial, full, lp-ft or a plugin's; chosen by the size of the data if None, and
            after a look at them that takes a few seconds if "auto".
        budget: time such as "5m" for a search among strategies and rates, and the training that follows.
        epochs: passes over the training rows.
        lr: rate of the head.
        batch_size: rows a step.
        head: linear, mlp, gap-dense or attention; segment for pixels, token-classifier for
            words; fcos, retinanet or faster-rcnn for objects.
        seed: of splits, random weights, order, augmentation and dropout.
        device: auto, cpu, cuda or cuda:1.
        weights: a tag, "random", or a file.
        training: every other choice; the keywords above win over it.
        read: how to read the data.
        out: where to write.
        offline: never touch the network.
        baseline: "random" probes the same architecture with random weights, "auto" does so when it is cheap.
        against: "source", "probe", "scratch": what the run is set beside on the same held-out rows.
        unlabelled: rows of the target without labels, for the strategies that learn from them: a folder, a table, a
            text file with a text a line, the name of a data set, or any of these with ":split" behind it.
        distill: a teacher to learn from beside the labels; see `zoo.distill`.
        watch: called with the plan, each training record and each note.
        stop: asked after every step; True saves a checkpoint and raises `Interrupted`.

    Raises:
        DataError, UsageError, WeightsError: bad input, each with its mend.
        DivergedError: a loss that is not finite.
        Interrupted: `stop` said so.
    """
    given: dict[str, Any] = {
        "strategy": strategy,
        "budget": budget,
        "epochs": epochs,
        "lr": lr,
        "batch_size": batch_size,
        "head": head,
        "seed": seed,
        "device": device,
    }
    train = replace(training or Training(), **{key: value for key, value in given.items() if value is not None})
    config = RunConfig(
        backbone=backbone if isinstance(backbone, str) else backbone.name,
        data=str(data) if isinstance(data, str | Path) else data.name,
        unlabelled=None if unlabelled is None else str(unlabelled),
        distill=distill,
        weights=weights,
        offline=offline,
        baseline=baseline,
        against=(against,) if isinstance(against, str) else tuple(against),
        read=replace(read or ReadOptions(), seed=train.seed),
        train=train,
        out=out or Output(),
    )
    return start(
        config,
        backbone if isinstance(backbone, Backbone) else None,
        data if isinstance(data, Dataset) else None,
        watch=watch or (lambda event: None),
        stop=stop,
    )


def start(
    config: RunConfig, backbone: Backbone | None, data: Dataset | None, *, watch: Watch, stop: Callable[[], bool]
) -> Run:
    """Carry out a configuration from the beginning, as `finetune` does with what it is given."""
    started = time.monotonic()
    opened = open_together(config, backbone, data, watch)
    if config.train.budget is not None:
        folder = _created(opened, AUTO)
        _describe(folder, opened, config.train)
        return _search(opened, folder, stop, started)
    opened, choice = settled_by(opened, lambda: choose(opened, started))
    session = Session(opened)
    folder = _created(opened, str(session.training.strategy))
    _describe(folder, opened, session.training, choice)
    return _carry_out(session, folder, stop, resume=False)


def resume(
    run: str | Path,
    *,
    root: str | Path = "runs",
    backbone: Backbone | None = None,
    data: Dataset | None = None,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Go on with a run that was interrupted or killed, to the same weights as if it had not been.

    Args:
        run: the run's folder, or "last".
        root: where runs lie.
        backbone: needed where the run's backbone was wrapped from a module in Python.
        data: needed where the run's rows came from Python.
        watch: as in `finetune`.
        stop: as in `finetune`.

    Raises:
        UsageError: not a run, or its data have changed since.
    """
    folder = RunFolder.open(run, root=Path(root))
    config = read_config(folder.path / "config.yaml")
    started = time.monotonic()
    folder = followed(folder.path)
    opened = open_together(config, backbone, data, watch or (lambda event: None))
    recorded = folder.read_json("data.json").get("fingerprint")
    if recorded != opened.data.fingerprint:
        raise UsageError(
            f"the data of {folder.path} have changed since the run began", help="start a new run with `zoo finetune`"
        )
    check_unchanged(folder, opened.unlabelled)
    if config.train.budget is not None:
        return _search(opened, folder, stop, started)
    why = folder.read_json(CHOICE).get("why")
    if why:
        opened = replace(opened, notes=(*opened.notes, why))
        opened = with_known(opened) if current().size == 1 else opened
    session = Session(opened)
    return _carry_out(session, folder, stop, resume=True)


def dry_run(config: RunConfig, watch: Watch | None = None) -> RunPlan:
    """The plan that `finetune` would follow; nothing is written."""
    started = time.monotonic()
    opened = open_job(config, None, None, watch or (lambda event: None))
    return Session(first(opened, started) if config.train.budget is not None else choose(opened, started)[0]).plan


def _search(opened: Opened, folder: RunFolder, stop: Callable[[], bool], started: float) -> Run:
    """Find the strategy within the budget, then train; both go on where they were interrupted."""
    with _recorded(folder):
        opened, choice = settled_by(opened, lambda: search(opened, folder, stop, started))
        session = Session(opened)
        _describe(folder, opened, session.training, choice)
    return _carry_out(session, folder, stop, resume=False)


def _created(opened: Opened, strategy: str) -> RunFolder:
    out = opened.config.out
    made = current().lead(
        lambda: RunFolder.create(
            Path(out.dir),
            out.name,
            overwrite=out.overwrite,
            backbone=opened.backbone.name,
            strategy=strategy,
            fingerprint=opened.data.fingerprint,
        )
    )
    return followed(made.path)


def _carry_out(session: Session, folder: RunFolder, stop: Callable[[], bool], *, resume: bool) -> Run:
    started = time.monotonic()
    session.watch(Event(plan=session.plan))
    with _recorded(folder), reaching(), event_files(session, folder, resume=resume) as board:
        trained = session.train(folder, stop, resume=resume)
        run = current().lead(lambda: _measured(session, trained, folder, stop, started))
        if board is not None:
            board.finish(run)
    if current().leads:
        write_down(folder)
    return run


def _measured(session: Session, trained: Trained, folder: RunFolder, stop: Callable[[], bool], started: float) -> Run:
    """The finished run, written down."""
    from zoo.verbs.against import set_against

    result = session.measure(trained, folder)
    others = set_against(session, trained, folder, stop)
    run = Run(
        path=folder.path,
        backbone=session.backbone.name,
        strategy=session.plan.strategy,
        task=session.data.task,
        split=session.data.held_out,
        metrics=result.metrics,
        intervals=result.intervals,
        baseline=session.baseline(result),
        plan=session.plan,
        seconds=time.monotonic() - started,
        choice=folder.read_json(CHOICE) or None,
        against=None if others is None else others.to_json(),
    )
    card = model_card(run, folder.read_json("model/config.json"), asdict(session.training))
    folder.write_text("model/README.md", card)
    folder.finish("done", result=run.to_json())
    return run


def _describe(folder: RunFolder, opened: Opened, training: Training, choice: Mapping[str, Any] | None = None) -> None:
    data = opened.data
    # What was chosen for the user is written down as if it had been given, so that a resumed run cannot choose anew.
    folder.write_text("config.yaml", write_config(replace(opened.config, train=training)))
    if choice is not None:
        folder.write_json(CHOICE, choice)
    folder.write_json(
        "data.json",
        {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "columns": dict(data.columns),
            "rows": {split: len(examples) for split, examples in data.splits.items()},
            "notes": list(data.notes),
            **unlabelled_facts(opened.config.unlabelled, opened.unlabelled),
            "problems": [asdict(problem) for problem in data.problems],
            "splits": {split: list(examples.ids) for split, examples in data.splits.items()},
        },
    )
    folder.write_json("labels.json", {"task": data.task.kind, "classes": list(data.task.classes)})


@contextmanager
def _recorded(folder: RunFolder) -> Iterator[None]:
    """Write down how the run ended, whatever happens."""
    try:
        with current().leaving(lambda error: folder.finish("failed", error=error)):
            yield
    except Interrupted:
        folder.finish("interrupted")
        raise
    except DivergedError as error:
        folder.finish("diverged", error=error.what)
        raise
    except KeyboardInterrupt:
        folder.finish("interrupted")
        raise
    except BaseException as error:
        folder.finish("failed", error=f"{type(error).__name__}: {error}")
        raise
