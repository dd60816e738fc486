"""What a run needs before it can begin: data read, backbone loaded, every open choice settled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from zoo.catalog.discovery import default_catalog
from zoo.catalog.names import Selection
from zoo.catalog.spec import ImagePreprocess, Modality
from zoo.data.audio import seconds_of
from zoo.data.augment import recipe
from zoo.data.reading import read_dataset
from zoo.data.types import Dataset, Examples, ReadOptions
from zoo.errors import UsageError
from zoo.models.backbone import Backbone
from zoo.models.composed import image_size_of, is_pretrained, seconds_heard
from zoo.models.fusion import Paired, fuse
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
from zoo.verbs.spaces import Space, check_pairs, of_pairs, open_named, open_space_of
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
    config = read_for_both(config, backbone)
    selections = _selected(config) if backbone is None else ()
    config = replace(config, train=with_text_head(config.train))
    space = open_space_of(config, backbone)
    check_pairs(config, data, selections, backbone)
    if data is None:
        data = _read(config, _wanted(selections, backbone), space, watch)
    if space is not None:
        backbone = space.both.tower(space.modality(data))
    backbone = _fitting(config, backbone, selections, data)
    of_both = _decodable(data, config.read, watch)
    data = _only(of_both, backbone)
    backbone = _of_two_texts(backbone, data)
    check_rows(backbone, data.splits.values())
    check_against(config.against, data.task, backbone)
    if data.task.kind == "pairs":
        config = of_pairs(config, backbone)
    training, reasons = settled(student_training(config, is_pretrained(backbone)), data, backbone)
    if training.pooling is not None:
        set_pooling(backbone, training.pooling)
    named = open_named(space, data.task, training, watch)
    unlabelled = open_unlabelled(config.unlabelled, data, backbone, config.read, watch)
    chosen = [note for each in selections for note in each.notes]
    notes = [*chosen, *data.notes, *_cut(data, backbone), *reasons, *(unlabelled.notes if unlabelled else ())]
    guides, config, taught = open_teacher(config, of_both, backbone, training, watch)
    weights, weighted = _weights(training, data)
    return Opened(
        config,
        data,
        backbone,
        training,
        (*notes, *taught, *weighted),
        watch,
        guides,
        unlabelled=unlabelled.examples if unlabelled else None,
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


def _selected(config: RunConfig) -> tuple[Selection, ...]:
    """What the name of the backbone means."""
    if config.backbone is None or config.data is None:
        raise UsageError("a backbone and data are needed", help="zoo finetune starter/glyph-cnn sklearn:digits")
    return default_catalog().select(config.backbone, weights=config.weights, offline=config.offline)


def _wanted(selections: tuple[Selection, ...], backbone: Backbone | None) -> tuple[Modality, ...] | None:
    """The modalities to read; None where the data decide which towers are used."""
    if backbone is not None:
        return backbone.modalities
    if any(len(each.towers) > 1 for each in selections):
        return None
    found = dict.fromkeys(modality for each in selections for modality in each.towers)
    return tuple(m for m in ("image", "text", "audio") if m in found)


def _read(config: RunConfig, wanted: tuple[Modality, ...] | None, space: Space | None, watch: Watch) -> Dataset:
    """The data with these modalities, unless others were asked for; with one alone for one tower of a text space."""
    options = config.read if config.read.modalities or wanted is None else replace(config.read, modalities=wanted)
    watch(Event(note=f"reading {config.data}"))
    data = read_dataset(str(config.data), options)
    if space is not None and config.read.modalities is None and len(data.modalities) > 1:
        # As the finished run will be evaluated: with what its one tower takes.
        data = read_dataset(str(config.data), replace(options, modalities=(space.modality(data),)))
    return data


def _fitting(
    config: RunConfig, backbone: Backbone | None, selections: tuple[Selection, ...], data: Dataset
) -> Backbone:
    """The backbone as it was given, or built as it was named, for these data and of the size that was asked for."""
    # In detection the size is that of the canvas, and the backbone stays as it is.
    size = config.train.image_size if data.task.kind != "detection" else None
    if backbone is not None:
        check_shaped(backbone, channels=config.train.channels, image_size=size)
    else:
        served = [serving(each, data.modalities) for each in selections]
        parts = [
            build(each, offline=config.offline, seed=config.train.seed)
            for each in shaped(served, channels=config.train.channels, image_size=size)
        ]
        backbone = parts[0] if len(parts) == 1 else fuse(*parts)
    check_serves(backbone, data.modalities)
    return backbone


def _decodable(data: Dataset, options: ReadOptions, watch: Watch) -> Dataset:
    """The data without files that cannot be decoded, where these are to be skipped."""
    total = sum(len(examples) for examples in data.splits.values())
    return without_bad_files(
        data, options, progress=lambda done: watch(Event(doing="checking", done=done, total=total))
    )


def _only(data: Dataset, backbone: Backbone) -> Dataset:
    """The data without the modalities that this backbone does not take."""
    splits = {
        split: replace(examples, inputs={m: examples.inputs[m] for m in backbone.modalities})
        for split, examples in data.splits.items()
    }
    return replace(data, splits=splits)


def _of_two_texts(backbone: Backbone, data: Dataset) -> Backbone:
    """The backbone for rows that hold two texts each, where they do; else as it is."""
    texts = data.splits["train"].inputs.get("text")
    pairs = texts and isinstance(texts[0], tuple)
    return Paired(backbone) if pairs and not isinstance(backbone, Paired) else backbone


def _cut(data: Dataset, backbone: Backbone) -> list[str]:
    """How many recordings are longer than the backbone hears; by their headers."""
    seconds = seconds_heard(backbone)
    if seconds is None:
        return []
    refs = [ref for examples in data.splits.values() for ref in examples.inputs.get("audio", ())]
    count = sum(seconds_of(ref) > seconds for ref in refs)
    return [f"{count:,} of {len(refs):,} recordings are cut after {seconds:.4g} s"] if count else []


def _weights(training: Training, data: Dataset) -> tuple[Weights | None, tuple[str, ...]]:
    """How much the rows of each class count, and that in words; nothing where all count alike."""
    if training.class_weights is None:
        return None, ()
    weights = class_weights(training.class_weights, data.task, data.splits["train"].targets)
    return weights, (described(weights, data.task.classes),)
