"""What a run needs before it can begin: data read, backbone loaded, every open choice settled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from zoo.catalog.discovery import default_catalog
from zoo.catalog.names import Selection
from zoo.catalog.spec import AudioPreprocess, ImagePreprocess
from zoo.data.audio import seconds_of
from zoo.data.augment import recipe
from zoo.data.reading import read_dataset
from zoo.data.types import Dataset, Examples
from zoo.errors import UsageError
from zoo.models.backbone import Backbone
from zoo.models.fusion import Fused, Paired, fuse
from zoo.models.load import build, check_rows, check_serves, check_shaped, serving, shaped
from zoo.transfer.against import check_against
from zoo.transfer.devices import choose_device
from zoo.transfer.named import Named, with_text_head
from zoo.transfer.options import Subject, Training, resolve
from zoo.transfer.precision import check_installed
from zoo.transfer.tasks import loss_for
from zoo.transfer.terms import Guided
from zoo.transfer.trained import set_pooling
from zoo.transfer.weighting import Weights, class_weights, described
from zoo.verbs.board import check_tensorboard
from zoo.verbs.check import without_bad_files
from zoo.verbs.config import RunConfig
from zoo.verbs.known import Known
from zoo.verbs.run import Event, Watch
from zoo.verbs.spaces import check_pairs, of_pairs, open_named, open_space_of
from zoo.verbs.teaching import open_teacher, read_for_both, student_training
from zoo.verbs.unlabelled import open_unlabelled


@dataclass(frozen=True)
class Opened:
    """Data, backbone and choices that belong together."""

    config: RunConfig
    data: Dataset
    backbone: Backbone
    training: Training
    """With nothing left open."""
    notes: tuple[str, ...]
    """What was inferred or chosen, one sentence each."""
    watch: Watch
    guides: tuple[Guided, ...] = ()
    """What adds to the loss besides the strategy."""
    unlabelled: Examples | None = None
    """Rows of the target without labels."""
    class_weights: Weights | None = None
    """(K,) how much the rows of each class count; None: all alike."""
    named: Named | None = None
    """The classes as texts, where the head begins with them."""
    known: Known | None = None
    """Frozen features of the training rows, where a look at them came before."""


def open_job(config: RunConfig, backbone: Backbone | None, data: Dataset | None, watch: Watch) -> Opened:
    """Read the data, load the backbone, and settle every choice that was left open.

    Raises:
        DataError, UsageError, WeightsError: bad input, each with its mend.
    """
    if config.out.tensorboard:
        check_tensorboard()
    notes: list[str] = []
    config = read_for_both(config, backbone)
    selections: tuple[Selection, ...] = ()
    if backbone is None:
        if config.backbone is None or config.data is None:
            raise UsageError("a backbone and data are needed", help="zoo finetune starter/glyph-cnn sklearn:digits")
        selections = default_catalog().select(config.backbone, weights=config.weights, offline=config.offline)
        notes += [note for selection in selections for note in selection.notes]
    config = replace(config, train=with_text_head(config.train))
    space = open_space_of(config, backbone)
    check_pairs(config, data, selections, backbone)
    if data is None:
        wanted = _wanted(selections, backbone)
        options = config.read if config.read.modalities or wanted is None else replace(config.read, modalities=wanted)
        watch(Event(note=f"reading {config.data}"))
        data = read_dataset(str(config.data), options)
        if space is not None and config.read.modalities is None and len(data.modalities) > 1:
            # As the finished run will be evaluated: with what its one tower takes.
            data = read_dataset(str(config.data), replace(options, modalities=(space.modality(data),)))
    if space is not None:
        backbone = space.both.tower(space.modality(data))
    # In detection the size is that of the canvas, and the backbone stays as it is.
    size = config.train.image_size if data.task.kind != "detection" else None
    if backbone is None:
        served = [serving(each, data.modalities) for each in selections]
        parts = [
            build(each, offline=config.offline, seed=config.train.seed)
            for each in shaped(served, channels=config.train.channels, image_size=size)
        ]
        backbone = parts[0] if len(parts) == 1 else fuse(*parts)
    else:
        check_shaped(backbone, channels=config.train.channels, image_size=size)
    check_serves(backbone, data.modalities)
    images = sum(len(examples) for examples in data.splits.values())
    data = without_bad_files(
        data, config.read, progress=lambda done: watch(Event(doing="checking", done=done, total=images))
    )
    of_both = data
    data = _only(data, backbone)
    texts = data.splits["train"].inputs.get("text")
    if texts and isinstance(texts[0], tuple) and not isinstance(backbone, Paired):
        backbone = Paired(backbone)
    check_rows(backbone, data.splits.values())
    check_against(config.against, data.task, backbone)
    if data.task.kind == "pairs":
        config = of_pairs(config, backbone)
    training, reasons = settled(student_training(config, is_pretrained(backbone)), data, backbone)
    if training.pooling is not None:
        set_pooling(backbone, training.pooling)
    named = open_named(space, data.task, training, watch)
    unlabelled = open_unlabelled(config.unlabelled, data, backbone, config.read, watch)
    notes += [*data.notes, *_cut(data, backbone), *reasons, *(unlabelled.notes if unlabelled else ())]
    rows = unlabelled.examples if unlabelled else None
    guides, config, said = open_teacher(config, of_both, backbone, training, watch)
    notes += said
    weights = None
    if training.class_weights is not None:
        weights = class_weights(training.class_weights, data.task, data.splits["train"].targets)
        notes.append(described(weights, data.task.classes))
    return Opened(
        config,
        data,
        backbone,
        training,
        tuple(notes),
        watch,
        guides,
        unlabelled=rows,
        class_weights=weights,
        named=named,
    )


def settled(given: Training, data: Dataset, backbone: Backbone) -> tuple[Training, tuple[str, ...]]:
    """The training with nothing left open, and why each choice was made."""
    subject = Subject(
        params=sum(p.numel() for p in backbone.parameters()),
        pretrained=is_pretrained(backbone),
        transformer=any(isinstance(m, torch.nn.LayerNorm) for m in backbone.modules()),
        image_size=image_size_of(backbone),
    )
    training, reasons = resolve(given, data, subject, gpu=choose_device(given.device).type == "cuda")
    # Named wrongly, these would be noticed after minutes, or never by a strategy that has no use for them.
    loss_for(data.task, training.loss, training.label_smoothing)
    unused = {"--loss": given.loss, "--label-smoothing": given.label_smoothing}
    if training.strategy == "linear-probe" and any(unused.values()):
        named = " and ".join(option for option, value in unused.items() if value)
        reasons = (*reasons, f"{named}: without effect, for a head that is solved has no steps")
    augment = recipe(training.augment or "none")
    if data.task.kind == "detection":
        check_installed()
        if augment.rotation:
            reasons = (*reasons, "augmentation without rotation: an upright box around a turned one is too large")
    preprocess = backbone.spec.preprocess_for(backbone.weights).get("image")
    if data.task.kind == "segmentation" and isinstance(preprocess, ImagePreprocess) and preprocess.fit == "crop":
        height, width = preprocess.size
        whole = f"images are squashed to {width} x {height} whole, for borders that are cut off would have no answer"
        reasons = (*reasons, whole)
    return training, reasons


def _cut(data: Dataset, backbone: Backbone) -> list[str]:
    """How many recordings are longer than the backbone hears; by their headers."""
    seconds = seconds_heard(backbone)
    if seconds is None:
        return []
    refs = [ref for examples in data.splits.values() for ref in examples.inputs.get("audio", ())]
    count = sum(seconds_of(ref) > seconds for ref in refs)
    return [f"{count:,} of {len(refs):,} recordings are cut after {seconds:.4g} s"] if count else []


def _wanted(selections: tuple[Selection, ...], backbone: Backbone | None) -> tuple[Any, ...] | None:
    """The modalities to read; None where the data decide which towers are used."""
    if backbone is not None:
        return backbone.modalities
    if any(len(each.towers) > 1 for each in selections):
        return None
    found = dict.fromkeys(modality for each in selections for modality in each.towers)
    return tuple(m for m in ("image", "text", "audio") if m in found)


def _only(data: Dataset, backbone: Backbone) -> Dataset:
    """The data without the modalities that this backbone does not take."""
    splits = {
        split: replace(examples, inputs={m: examples.inputs[m] for m in backbone.modalities})
        for split, examples in data.splits.items()
    }
    return replace(data, splits=splits)


def image_size_of(backbone: Backbone) -> int | None:
    """The smallest that any part takes; None if none takes images."""
    if isinstance(backbone, Paired):
        return image_size_of(backbone.single)
    if isinstance(backbone, Fused):
        sizes = [image_size_of(part) for part in backbone.parts if isinstance(part, Backbone)]
        return min((size for size in sizes if size is not None), default=None)
    preprocess = backbone.spec.preprocess_for(backbone.weights).get("image")
    return min(preprocess.size) if isinstance(preprocess, ImagePreprocess) else None


def seconds_heard(backbone: Backbone) -> float | None:
    """How much of a recording every part hears; None where there is no limit."""
    if isinstance(backbone, Paired):
        return seconds_heard(backbone.single)
    if isinstance(backbone, Fused):
        limits = [seconds_heard(part) for part in backbone.parts if isinstance(part, Backbone)]
        return min((limit for limit in limits if limit is not None), default=None)
    preprocess = backbone.spec.preprocess_for(backbone.weights).get("audio")
    return preprocess.seconds if isinstance(preprocess, AudioPreprocess) else None


def is_pretrained(backbone: Backbone) -> bool:
    """Whether any part carries weights that were learned."""
    if isinstance(backbone, Paired):
        return is_pretrained(backbone.single)
    if isinstance(backbone, Fused):
        return any(is_pretrained(part) for part in backbone.parts if isinstance(part, Backbone))
    return backbone.weights is not None
