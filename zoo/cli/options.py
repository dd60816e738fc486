"""The options that commands share: each has one name, one help text and one heading, wherever it stands.

An alias that takes a type, such as `Seed[int]`, stands in some commands with a default and in others with None, which
leaves the choice to a configuration file. Commands whose options have headings are made with `cls=Grouped`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

T = TypeVar("T")


def under(heading: str) -> Callable[..., Any]:
    """Options that `--help` shows under a heading of their own: help first, then other spellings than the name."""
    return lambda help, *names: typer.Option(*names, help=help, rich_help_panel=heading)  # noqa: A006


HEADINGS = ("Finer points of training", "Data", "Output")
"""Below a command's own headings, in this order."""

fine, of_data, of_output = map(under, HEADINGS)

# Arguments
Backbone = Annotated[T, typer.Argument(help="Such as torchvision/resnet18, a folder, or a+b.")]
DualEncoder = Annotated[str, typer.Argument(help="A dual encoder such as open_clip/ViT-B-32, or a run with both.")]
Data = Annotated[T, typer.Argument(help="A folder, a table, or a name such as sklearn:digits.")]
DataOfBoth = Annotated[T, typer.Argument(help="A folder, a table, or a name, with what both read.")]
Run = Annotated[str, typer.Argument(help="A run's folder, its name, or last.")]

# What is trained, and how
Weights = Annotated[str | None, typer.Option(help="A tag, random, or the path of a file.")]
Strategy = Annotated[T, typer.Option(help="full, lp-ft, lora, ...; see `zoo list strategies`.")]
Unfreeze = Annotated[T, fine("Stages that partial trains, from the top.")]
Freeze = Annotated[str | None, fine("Stages or branches that stay as they are, as in 0 or layer1,layer2.")]
StrategyOptions = Annotated[str | None, fine("Of other strategies, as in decay=0.8 or rank=16.")]
Head = Annotated[str | None, typer.Option(help="linear, mlp, attention, fcos, ...; see `zoo list heads`.")]
Pooling = Annotated[str | None, fine("native, cls, mean, max or last.")]
Loss = Annotated[str | None, fine("bce, cross-entropy, focal, mse or huber.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training rows.")]
RowsAStep = Annotated[int | None, typer.Option("--batch-size", help="Rows a step.")]
RowsAtOnce = Annotated[T, typer.Option("--batch-size", help="Rows at once.")]
Lr = Annotated[float | None, typer.Option(help="Learning rate of the head.")]
BackboneLr = Annotated[T, fine("Rate of the backbone relative to the head.")]
Optimizer = Annotated[str | None, fine("sgd, adam or adamw.")]
ImageSize = Annotated[int | None, fine("Side of images; in detection the longer one.")]
Augment = Annotated[str | None, fine("none, light, strong, or as flip=0.5,crop=0.7.")]
Seed = Annotated[T, typer.Option(help="Of splits, random weights, order and draws.")]
Config = Annotated[Path | None, typer.Option(help="YAML file of `zoo finetune`; options given here win over it.")]

# The machine
Device = Annotated[T, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Precision = Annotated[str | None, fine("auto, fp32 or bf16.")]
Parallel = Annotated[str | None, fine("Of several processes: ddp, or fsdp to share the weights too.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]

# Data
ImageCol = Annotated[str | None, of_data("Column of images.")]
TextCol = Annotated[str | None, of_data("Column of texts.")]
TextCols = Annotated[str | None, of_data("Column of texts; a,b for pairs.", "--text-col")]
AudioCol = Annotated[str | None, of_data("Column of recordings.")]
LabelCol = Annotated[str | None, of_data("Column of labels.")]
LabelCols = Annotated[str | None, of_data("Column of labels; a,b for several.", "--label-col")]
Task = Annotated[
    str | None, of_data("binary, multiclass, multilabel, regression, segmentation, tokens, detection, pairs.")
]
PlainTask = Annotated[str | None, of_data("binary, multiclass, multilabel or regression.", "--task")]
Split = Annotated[str | None, of_data("test if there is one, else val.")]
Shots = Annotated[int | None, of_data("Keep K training rows a class.")]
Limit = Annotated[int | None, of_data("Keep at most N training rows.")]
Val = Annotated[T, of_data("Share held out where the data have no split.")]
Templates = Annotated[
    list[str] | None, of_data("As 'a photo of a {}.', again for more; or photo, or name.", "--templates", "-t")
]
Classes = Annotated[T, of_data("File of class names: JSON by label, or one a line.")]
Encoding = Annotated[T, of_data("Of text files.")]
SkipBad = Annotated[bool, of_data("Drop unreadable rows.", "--skip-bad")]
DropEmpty = Annotated[bool, of_data("Drop empty rows.", "--drop-empty")]
AllowLeak = Annotated[bool, of_data("Keep rows that are in two splits.", "--allow-leak")]
BadLimit = Annotated[T, of_data("Share of files that --skip-bad passes over.")]
MaxPixels = Annotated[T, of_data("Of an image; more are refused.")]
MaxSeconds = Annotated[T, of_data("Of a recording; longer ones are refused.")]

# Output
RunsFolder = Annotated[T, of_output("Where runs lie.", "--out", "-o")]
Name = Annotated[str | None, of_output("Of the run's folder.")]
Overwrite = Annotated[bool, of_output("Replace a run of that name.", "--overwrite")]
Plot = Annotated[Path | None, of_output("Draw the curves into a .png, .svg or .pdf.")]
Json = Annotated[bool, of_output("Print the result as JSON.", "--json")]
