"""`zoo find-lr`: a learning rate by a sweep, with its picture."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import console, options
from zoo.cli.parsing import Grouped, given, names, options_of

if TYPE_CHECKING:
    from zoo.transfer.rates import RateSweep
    from zoo.verbs.config import RunConfig
    from zoo.verbs.run import Watch

FIND = "find"
"""In place of a rate."""
ROWS = 15
"""Of the table."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "find-lr",
        help="Find a learning rate, and draw the curve of the loss.\n\n"
        "For example  zoo find-lr torchvision/resnet18 photos/ --plot lr.png",
        cls=Grouped,
    )(find_lr)


def find_lr(
    backbone: options.Backbone[str],
    data: options.Data[str],
    strategy: Annotated[str | None, typer.Option(help="One that trains by steps, such as full or head.")] = None,
    unfreeze: options.Unfreeze[int | None] = None,
    freeze: options.Freeze = None,
    strategy_options: options.StrategyOptions = None,
    low: Annotated[float, typer.Option(help="Rate of the first step.")] = 1e-7,
    high: Annotated[float, typer.Option(help="Rate of the last step.")] = 10.0,
    steps: Annotated[int, typer.Option(help="From the lowest rate to the highest.")] = 100,
    plot: options.Plot = None,
    weights: options.Weights = None,
    head: options.Head = None,
    loss: options.Loss = None,
    batch_size: options.RowsAStep = None,
    backbone_lr: options.BackboneLr[float | None] = None,
    optimizer: options.Optimizer = None,
    label_col: options.LabelCols = None,
    text_col: options.TextCols = None,
    image_col: options.ImageCol = None,
    limit: options.Limit = None,
    seed: options.Seed[int] = 0,
    device: options.Device[str] = "auto",
    config: options.Config = None,
    offline: options.Offline = False,
    json: options.Json = False,
) -> None:
    """Parse, call the verb, render."""
    from zoo.transfer.rate_plot import check_picture
    from zoo.verbs.config import RunConfig, merge, read_config
    from zoo.verbs.find_lr import of_config

    if plot is not None:
        check_picture(plot)
    train = given(
        strategy=strategy, unfreeze=unfreeze, freeze=names(freeze), strategy_options=options_of(strategy_options),
        head=head, loss=loss,
        batch_size=batch_size, backbone_lr=backbone_lr, optimizer=optimizer, seed=seed, device=device,
    )  # fmt: skip
    read = given(label=names(label_col), text=names(text_col), image=image_col, limit=limit, seed=seed)
    top = given(backbone=backbone, data=data, weights=weights, offline=offline or None)
    whole = merge(read_config(config) if config else RunConfig(), {**top, "read": read, "train": train})
    from zoo.cli.progress import RunView

    with RunView(quiet=False) as view:
        found = of_config(whole, None, None, view, low=low, high=high, steps=steps)
    if plot is not None:
        found.plot(plot)
        console.note(f"drawn     {plot}")
    if json:
        return console.print_json(found.to_json())
    return show(found)


def show(found: RateSweep) -> None:
    """The curve at some rates, and the suggestion."""
    every = max(len(found.rates) // ROWS, 1)
    chosen = min(range(len(found.rates)), key=lambda i: abs(found.rates[i] - found.suggestion))
    places = sorted({*range(0, len(found.rates), every), len(found.rates) - 1, chosen})
    rows = [
        [f"{found.rates[i]:.1e}", f"{found.losses[i]:.4f}", f"{found.smoothed[i]:.4f}", "<" if i == chosen else ""]
        for i in places
    ]
    console.print_table(["lr", "loss", "smoothed", ""], rows)
    console.print_text(f"\nsuggestion  --lr {found.suggestion:g}   {found.reason}")
    console.print_text(f"            the loss is lowest at {found.lowest:.1e}")


def with_found_rate(config: RunConfig, watch: Watch) -> RunConfig:
    """The configuration with the rate that a sweep suggests, for `zoo finetune --lr find`."""
    from zoo.verbs.find_lr import of_config
    from zoo.verbs.run import Event

    found = of_config(config, None, None, lambda event: watch(event) if event.doing else None)
    watch(Event(note=f"rate {found.suggestion:g}: {found.reason}, in a sweep of {len(found.rates)} steps"))
    return replace(config, train=replace(config.train, lr=found.suggestion))
