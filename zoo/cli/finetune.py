"""`zoo finetune`: plan, train, measure and save, with progress on standard error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli import console, options
from zoo.cli.find_lr import FIND, with_found_rate
from zoo.cli.options import fine, of_data, of_output
from zoo.cli.parsing import Grouped, given, names, options_of
from zoo.cli.stopping import stoppable
from zoo.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "finetune",
        help="Fine-tune a backbone on your data.\n\nFor example  zoo finetune torchvision/resnet18 photos/",
        cls=Grouped,
    )(finetune)


def finetune(
    backbone: options.Backbone[str | None] = None,
    data: options.Data[str | None] = None,
    weights: options.Weights = None,
    strategy: Annotated[str | None, typer.Option(help="full, lora, ..., or auto; see `zoo list strategies`.")] = None,
    budget: Annotated[str | None, typer.Option(help="Time to search for a strategy and train it, such as 5m.")] = None,
    unfreeze: options.Unfreeze[int | None] = None,
    freeze: options.Freeze = None,
    strategy_options: options.StrategyOptions = None,
    head: options.Head = None,
    templates: options.Templates = None,
    classes: options.Classes[str | None] = None,
    pooling: options.Pooling = None,
    loss: options.Loss = None,
    epochs: options.Epochs = None,
    batch_size: Annotated[str | None, typer.Option(help="Rows a step, or auto.")] = None,
    accumulate: Annotated[int | None, fine("Batches that make one step together.")] = None,
    ema: Annotated[float | None, fine("Decay of a moving average of the weights, as in 0.99.")] = None,
    lr: Annotated[str | None, typer.Option(help="Learning rate of the head, or find to look for one.")] = None,
    backbone_lr: options.BackboneLr[float | None] = None,
    optimizer: options.Optimizer = None,
    schedule: Annotated[str | None, fine("constant, step, multistep, cosine or linear.")] = None,
    warmup: Annotated[float | None, fine("Share of steps over which the rate rises.")] = None,
    step_size: Annotated[int | None, fine("Epochs between drops of the step schedule.")] = None,
    milestones: Annotated[str | None, fine("Epochs of the multistep drops, as in 5,8.")] = None,
    dropout: Annotated[float | None, fine("Before the head's last layer.")] = None,
    weight_decay: Annotated[float | None, fine("Of matrices; biases and norms have none.")] = None,
    label_smoothing: Annotated[float | None, fine("In [0, 1).")] = None,
    class_weights: Annotated[str | None, fine("balanced, or as in 1,2.5 or ants=2,bees=1.")] = None,
    mix: Annotated[str | None, fine("Of training rows: mixup=0.2, cutmix=1, or both.")] = None,
    clip_norm: Annotated[float | None, fine("Largest norm of the gradient; 0 never clips.")] = None,
    image_size: options.ImageSize = None,
    channels: Annotated[int | None, fine("Of images, where not those of the weights.")] = None,
    augment: options.Augment = None,
    early_stop: Annotated[int | None, fine("Stop after so many epochs without a better metric.")] = None,
    seed: options.Seed[int | None] = None,
    device: options.Device[str | None] = None,
    precision: options.Precision = None,
    parallel: options.Parallel = None,
    save_every: Annotated[int | None, fine("Steps between checkpoints; one an epoch if not given.")] = None,
    views: Annotated[int | None, fine("Versions of each augmented image that frozen stages see.")] = None,
    replay: Annotated[str | None, fine("off computes frozen stages anew in every epoch.")] = None,
    replay_memory: Annotated[float | None, fine("GB that their outputs may take; a quarter of what is free.")] = None,
    replay_disk: Annotated[float | None, fine("GB of disk likewise, once memory is full.")] = None,
    compiled: Annotated[str | None, fine("on compiles the backbone first, for long runs.", "--compile")] = None,
    unlabelled: Annotated[str | None, of_data("Rows of the target without labels, such as DATA:test.")] = None,
    image_col: options.ImageCol = None,
    text_col: options.TextCols = None,
    audio_col: options.AudioCol = None,
    label_col: options.LabelCols = None,
    task: options.Task = None,
    shots: options.Shots = None,
    limit: options.Limit = None,
    val: options.Val[float | None] = None,
    encoding: options.Encoding[str | None] = None,
    skip_bad: options.SkipBad = False,
    bad_limit: options.BadLimit[float | None] = None,
    max_pixels: options.MaxPixels[int | None] = None,
    max_seconds: options.MaxSeconds[float | None] = None,
    drop_empty: options.DropEmpty = False,
    allow_leak: options.AllowLeak = False,
    against: Annotated[str | None, fine("Set it beside source,probe,scratch on the same rows.")] = None,
    baseline: Annotated[str | None, fine("Probe random weights beside it: auto, random or none.")] = None,
    config: options.Config = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the configuration and the plan, write nothing.")
    ] = False,
    resume: Annotated[str | None, typer.Option(help="Go on with this run; last is the newest.")] = None,
    out: options.RunsFolder[str | None] = None,
    name: options.Name = None,
    overwrite: options.Overwrite = False,
    tensorboard: Annotated[bool, of_output("Write event files into the run's folder.", "--tensorboard")] = False,
    offline: options.Offline = False,
    json: options.Json = False,
) -> None:
    """Parse, call the verb, render."""
    train = given(
        strategy=strategy, budget=budget, unfreeze=unfreeze, freeze=names(freeze),
        strategy_options=options_of(strategy_options),
        head=head, templates=tuple(templates or ()) or None, class_names=classes,
        pooling=pooling, loss=loss, epochs=epochs,
        batch_size=None if batch_size == "auto" else batch_size, accumulate=accumulate, ema=ema,
        lr=None if lr == FIND else lr, backbone_lr=backbone_lr, optimizer=optimizer,
        schedule=schedule, warmup=warmup, step_size=step_size, milestones=_numbers(milestones), dropout=dropout,
        weight_decay=weight_decay, label_smoothing=label_smoothing,
        class_weights=class_weights, mix=mix, clip_norm=clip_norm, image_size=image_size, channels=channels,
        augment=augment, early_stop=early_stop, seed=seed,
        device=device, precision=precision, save_every=save_every,
        views=views, replay=replay, replay_memory=replay_memory, replay_disk=replay_disk,
        compile=compiled,
    )  # fmt: skip
    read = given(
        image=image_col, text=names(text_col), label=names(label_col), task=task, shots=shots, limit=limit, val=val,
        audio=audio_col, bad_limit=bad_limit, max_pixels=max_pixels, max_seconds=max_seconds,
        encoding=encoding, skip_bad=skip_bad or None, drop_empty=drop_empty or None, allow_leak=allow_leak or None,
        seed=seed,
    )  # fmt: skip
    top = given(
        backbone=backbone, data=data, unlabelled=unlabelled, weights=weights, offline=offline or None,
        baseline=baseline, against=names(against),
    )  # fmt: skip
    output = given(dir=out, name=name, overwrite=overwrite or None, tensorboard=tensorboard or None)
    whole = {**top, "read": read, "train": train, "out": output}
    from zoo.transfer.team import working

    with working(parallel if not dry_run else None):
        if resume is not None:
            return _resume(resume, out, [*train, *read, *top], json)
        return _start(config, whole, find=lr == FIND, dry_run=dry_run, json=json)


def _start(path: Path | None, given: dict[str, Any], *, find: bool, dry_run: bool, json: bool) -> None:
    from zoo.cli.progress import RunView
    from zoo.transfer.team import current
    from zoo.verbs import finetune as verb
    from zoo.verbs.config import RunConfig, merge, read_config, write_config

    config = merge(read_config(path) if path else RunConfig(), given)
    backbone, data = config.backbone, config.data
    if backbone is None or data is None:
        raise UsageError(
            "zoo finetune takes a backbone and data", help="for example  zoo finetune starter/glyph-cnn sklearn:digits"
        )
    with RunView(quiet=False) as view:
        if find:
            config = current().lead(lambda: with_found_rate(config, view))
        if dry_run:
            plan = verb.dry_run(config, view)
            view.show_plan(plan)
            return console.print_json(plan_json(plan)) if json else console.print_text(write_config(config))
        with stoppable() as stop:
            run = verb.finetune(
                backbone,
                data,
                training=config.train,
                read=config.read,
                out=config.out,
                unlabelled=config.unlabelled,
                weights=config.weights,
                offline=config.offline,
                baseline=config.baseline,
                against=config.against,
                distill=config.distill,
                watch=view,
                stop=stop,
            )
    return _finish(run, json)


def _resume(run: str, root: str | None, given: list[str], json: bool) -> None:
    from zoo.cli.progress import RunView
    from zoo.verbs import finetune as verb

    if given:
        raise UsageError(
            f"--resume goes on with the run as it was; {', '.join(given)} cannot change now",
            help="start a new run to change anything",
        )
    with RunView(quiet=False) as view, stoppable() as stop:
        done = verb.resume(run, root=root or "runs", watch=view, stop=stop)
    _finish(done, json)


def _finish(run: Any, json: bool) -> None:
    from zoo.cli.progress import result_lines

    if json:
        return console.print_json(run.to_json())
    for line in result_lines(run):
        console.print_text(line)
    return None


def plan_json(plan: Any) -> dict[str, Any]:
    """The stable keys of `--dry-run --json`."""
    from dataclasses import asdict

    return {
        "backbone": plan.backbone,
        "data": plan.data,
        "rows": dict(plan.rows),
        "task": plan.task.kind,
        "classes": list(plan.task.classes),
        "strategy": plan.strategy,
        "phases": [asdict(phase) for phase in plan.phases],
        "stages": [stage.name for stage in plan.stages],
        "train": asdict(plan.training),
        "params": plan.estimate.params,
        "trained_params": plan.estimate.trained,
        "steps": plan.estimate.steps,
        "memory_bytes": plan.estimate.memory,
        "disk_bytes": plan.estimate.disk,
        "device": plan.device,
        "precision": plan.precision,
        "notes": list(plan.notes),
    }


def _numbers(value: str | None) -> tuple[int, ...] | None:
    try:
        return None if value is None else tuple(int(part) for part in value.split(","))
    except ValueError as error:
        raise UsageError(f"--milestones {value} is no list of epochs", help="write it as 5,8") from error
