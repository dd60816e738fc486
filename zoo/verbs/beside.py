"""Runs that are made to be compared: carried out once, gone on with if they were stopped, and predicted anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from zoo.data.types import Dataset, Examples
from zoo.errors import UsageError
from zoo.models.backbone import Backbone
from zoo.records.runs import RunFolder
from zoo.transfer.trained import Trained, load_trained
from zoo.verbs.check import opened_data
from zoo.verbs.config import RunConfig, read_config
from zoo.verbs.finetune import finetune, resume
from zoo.verbs.run import Watch
from zoo.verbs.sidebyside import Candidate
from zoo.verbs.teaching import Teacher, load_teacher, selected

ALONE = "-alone"
"""What is added to a run's name for the run without what is tried in it."""


def carried_out(
    config: RunConfig, backbone: Backbone | None, data: Dataset | None, *, watch: Watch, stop: Callable[[], bool]
) -> Path:
    """The folder of the finished run of this configuration, which has a name.

    A run of that name is taken where it is finished, and gone on with where it was stopped.

    Raises:
        UsageError: the run of that name is of another configuration.
        Interrupted: `stop` said so.
    """
    assert config.out.name is not None
    assert config.backbone is not None
    assert config.data is not None
    path = Path(config.out.dir) / config.out.name
    if (path / "config.yaml").is_file() and not config.out.overwrite:
        _check_same(read_config(path / "config.yaml"), config, path)
        if RunFolder(path).record.get("status") != "done":
            resume(path, backbone=backbone, watch=watch, stop=stop)
        return path
    run = finetune(
        backbone or config.backbone,
        data or config.data,
        distill=config.distill,
        unlabelled=config.unlabelled,
        training=config.train,
        read=config.read,
        out=config.out,
        weights=config.weights if backbone is None else None,
        offline=config.offline,
        baseline="none",
        watch=watch,
        stop=stop,
    )
    return run.path


def reread(config: RunConfig, data: Dataset | None, watch: Watch) -> tuple[Dataset, Teacher]:
    """The rows of a finished distillation, with the modalities of both, and its teacher."""
    assert config.distill is not None
    if data is None:
        data = opened_data(str(config.data), config.read)
    teacher, _ = load_teacher(
        config.distill.teacher, selected(config), data, training=config.train, offline=config.offline, watch=watch
    )
    return data, teacher


def of_teacher(title: str, teacher: Teacher, held: Examples) -> Candidate:
    """What a teacher predicts."""
    predictions = teacher.predictions(teacher.own_rows(held))
    return Candidate(title, teacher.name, teacher.params, None, predictions)


def of_run(title: str, path: Path, backbone: Backbone | None, held: Examples) -> Candidate:
    """What a finished run predicts; `backbone` is needed where it was wrapped from a module in Python."""
    trained: Trained = load_trained(path, backbone=backbone)
    params = sum(p.numel() for p in trained.backbone.parameters())
    return Candidate(title, trained.backbone.name, params, path, trained.predict(held))


def _check_same(recorded: RunConfig, wanted: RunConfig, path: Path) -> None:
    """What is asked for now must be what the run of that name was asked for; what was left open may be anything."""

    def plain(config: RunConfig) -> dict[str, Any]:
        return asdict(replace(config, out=recorded.out, baseline="none"))

    for name in _apart(plain(recorded), plain(wanted)):
        raise UsageError(
            f"the run {path} was made with another {name}",
            help="choose another --name, or replace it with --overwrite",
        )


def _apart(recorded: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for name, value in wanted.items():
        if isinstance(value, dict) and isinstance(recorded[name], dict) and set(value) == set(recorded[name]):
            found += [f"{name}.{each}" for each in _apart(recorded[name], value)]
        elif value is not None and value != recorded[name]:
            found.append(name)
    return found
