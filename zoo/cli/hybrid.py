"""`zoo hybrid`: a large model's features as the beginning of a small one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli import console
from zoo.cli.parsing import Grouped, given, names, under
from zoo.cli.stopping import stoppable
from zoo.errors import UsageError

_data, _out = under("Data"), under("Output")


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
    data: Annotated[str, typer.Argument(help="A folder, a table, or a name, with what both read.")],
    share: Annotated[float, typer.Option(help="Of the epochs, in which features are learned.")] = 0.5,
    unlabelled: Annotated[str | None, typer.Option(help="Rows without labels, whose features are learned too.")] = None,
    weights: Annotated[str | None, typer.Option(help="Of the small model: a tag, random, or a file.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Of the second part; lp-ft if not given.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of both parts together.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of the head.")] = None,
    augment: Annotated[str | None, typer.Option(help="Of images: none, light, strong.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels of a side, where not those of the weights.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of splits, weights, order and augmentation.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:1.")] = None,
    image_col: Annotated[str | None, _data("Column of images.")] = None,
    text_col: Annotated[str | None, _data("Column of texts; a,b for pairs.")] = None,
    label_col: Annotated[str | None, _data("Column of labels; a,b for several.")] = None,
    task: Annotated[str | None, _data("binary, multiclass, multilabel or regression.")] = None,
    shots: Annotated[int | None, _data("Keep K training rows a class.")] = None,
    limit: Annotated[int | None, _data("Keep at most N training rows.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with every other option of `zoo finetune`.")] = None,
    out: Annotated[str | None, _out("Where runs lie.", "--out", "-o")] = None,
    name: Annotated[str | None, _out("Of the runs' folders.")] = None,
    overwrite: Annotated[bool, _out("Replace runs of that name.", "--overwrite")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    json: Annotated[bool, _out("Print the result as JSON.", "--json")] = False,
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
