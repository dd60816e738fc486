"""`zoo hybrid`: a large model's features as the beginning of a small one."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo.cli import console, options
from zoo.cli.parsing import Grouped, given, names
from zoo.cli.stopping import stoppable
from zoo.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "hybrid",
        help="Give a small model a large one's features, then fine-tune it.\n\n"
        "For example  zoo hybrid torchvision/resnet50 starter/glyph-cnn photos/",
        cls=Grouped,
    )(hybrid)


def hybrid(
    large: Annotated[str, typer.Argument(help="A finished run, or a backbone.")],
    small: Annotated[str, typer.Argument(help="A backbone such as torchvision/mobilenet_v3_small.")],
    data: options.DataOfBoth[str],
    share: Annotated[float, typer.Option(help="Of the epochs, in which features are learned.")] = 0.5,
    unlabelled: Annotated[str | None, options.of_data("Rows without labels, whose features are learned too.")] = None,
    weights: Annotated[str | None, typer.Option(help="Of the small model: a tag, random, or a file.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Of the second part; lp-ft if not given.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of both parts together.")] = None,
    batch_size: options.RowsAStep = None,
    lr: options.Lr = None,
    augment: options.Augment = None,
    image_size: options.ImageSize = None,
    seed: options.Seed[int | None] = None,
    device: options.Device[str | None] = None,
    image_col: options.ImageCol = None,
    text_col: options.TextCols = None,
    label_col: options.LabelCols = None,
    task: options.PlainTask = None,
    shots: options.Shots = None,
    limit: options.Limit = None,
    config: options.Config = None,
    out: options.RunsFolder[str | None] = None,
    name: options.Name = None,
    overwrite: options.Overwrite = False,
    offline: options.Offline = False,
    json: options.Json = False,
) -> None:
    """Parse, call the verb, render."""
    from zoo.cli.distill import show
    from zoo.cli.progress import RunView
    from zoo.verbs.config import RunConfig, merge, read_config
    from zoo.verbs.hybrid import hybrid as verb

    read = given(
        image=image_col, text=names(text_col), label=names(label_col), task=task, shots=shots, limit=limit, seed=seed
    )
    train = given(
        epochs=epochs, batch_size=batch_size, lr=lr, augment=augment, image_size=image_size, seed=seed, device=device
    )
    top = given(backbone=small, data=data, unlabelled=unlabelled, weights=weights, offline=offline or None)
    output = given(dir=out, name=name, overwrite=overwrite or None)
    base = read_config(config) if config else RunConfig()
    if base.distill is not None:
        raise UsageError(f"{config} has a section distill, and zoo hybrid has a teacher of its own", help="remove it")
    chosen = merge(base, {**top, "read": read, "train": train, "out": output})
    with RunView(quiet=False) as view, stoppable() as stop:
        done = verb(
            large,
            small,
            data,
            share=share,
            unlabelled=chosen.unlabelled,
            strategy=strategy,
            weights=chosen.weights,
            training=chosen.train,
            read=chosen.read,
            out=chosen.out,
            offline=chosen.offline,
            watch=view,
            stop=stop,
        )
    if json:
        return console.print_json(done.to_json())
    for label, path in (("saved", done.path), ("before it", done.imitation), ("beside it", done.alone)):
        console.print_text(f"{label:<9} {path}")
    console.print_text("")
    return show(done.comparison)
