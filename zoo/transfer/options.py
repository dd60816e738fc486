"""Every choice of a training run as one frozen value, and the defaults that fit the data. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from zoo.data.types import MANY_ANSWERS, Dataset, TaskKind
from zoo.errors import UsageError
from zoo.transfer.budget import AUTO, check_budget
from zoo.transfer.mixing import mix_of
from zoo.transfer.solvers import only_solved, solvable
from zoo.transfer.strategies import choose

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["constant", "step", "multistep", "cosine", "linear"]
SMALL_IMAGE = 64
"""Pixels of the shorter side up to which a picture is a glyph or a thumbnail rather than a photograph."""

DETECTION_SIZE = 640
"""Pixels of the longer side of images in detection, unless more is asked for: in each doubling of it, small objects
are found more often and a step takes four times as long."""
Precision = Literal["auto", "fp32", "bf16"]
_HEADS: Mapping[TaskKind, str] = {
    "segmentation": "segment",
    "tokens": "token-classifier",
    "detection": "fcos",
    "pairs": "contrastive",
}
"""The head of a task where none is asked for."""


@dataclass(frozen=True)
class Training:
    """How to train. None means: chosen from the data and the backbone, and said in the plan."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    strategy: str | None = None
    budget: str | None = None
    """Time for a search among strategies and the training that follows, such as "5m"; None: no search."""
    unfreeze: int = 1
    """Stages that `partial` trains, counted from the top."""
    freeze: tuple[str, ...] = ()
    """Stages or branches that no strategy trains, as in "1.layer.*"; "0" is all of the first backbone of `a+b`."""
    strategy_options: Mapping[str, float] = field(default_factory=dict)
    """Other fields of the strategy, such as {"decay": 0.8} of `layer-decay`."""
    head: str | None = None
    """None: linear; segment, token-classifier or fcos where the task is one of pixels, words or boxes."""
    templates: tuple[str, ...] = ()
    """What is written of a class, with `{}` where its name goes, or names of sets; of heads that begin with names."""
    class_names: str | None = None
    """A file that says how classes are called: JSON from label to name, or a name a line."""
    image_size: int | None = None
    """Side of square images, to which tables of positions are resized; None: that of the weights. In detection of the
    longer side, rounded up to whole strides; None: that of the data, 640 at most."""
    channels: int | None = None
    """Of images, to which the first convolution is adapted; None: those of the weights."""
    pooling: str | None = None
    """How tokens become one vector; None: as the backbone does."""
    loss: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    accumulate: int = 1
    """Batches that make one step together, where a larger batch does not fit into memory."""
    ema: float | None = None
    """Decay of a moving average of the weights, which is what is measured and kept; None: the last weights."""
    lr: float | None = None
    """Of the head; the backbone learns at `backbone_lr` times this."""
    backbone_lr: float | None = None
    optimizer: Optimizer | None = None
    momentum: float = 0.9
    schedule: Schedule = "cosine"
    warmup: float = 0.1
    """Share of all steps over which the rate rises to its full value; of the cosine and linear schedules alone."""
    step_size: int = 3
    """Epochs between the drops of `step`."""
    milestones: tuple[int, ...] = ()
    """Epochs of the drops of `multistep`; at a half and three quarters if empty."""
    gamma: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.0
    label_smoothing: float = 0.0
    class_weights: str | None = None
    """How much the rows of each class count: balanced, or as in "1,2.5" or "ants=2,bees=1"; None: all alike."""
    mix: str | None = None
    """Mixing of training rows, as in "mixup=0.2", "cutmix=1" or both; None: none."""
    clip_norm: float = 1.0
    """Largest norm of all gradients together; 0: never clipped."""
    early_stop: int | None = None
    """Stop after this many epochs without a better held-out metric, and keep the best."""
    augment: str | None = None
    """Of training images: none, light, strong, or changes as in "flip=0.5,rotation=10"."""
    save_every: int | None = None
    """Steps between checkpoints; None: one an epoch."""
    views: int | None = None
    """Versions of each augmented input that frozen stages see, in place of a new one each epoch."""
    replay: Literal["auto", "off"] = "auto"
    """Whether what frozen stages compute is kept and replayed; the result is the same."""
    replay_memory: float | None = None
    """GB of memory that may be taken for it; None: a quarter of what is free."""
    replay_disk: float | None = None
    """GB of disk likewise, once memory is full; None: a quarter of what is free, 10 GB at most."""
    compile: Literal["off", "on"] = "off"
    """Whether the backbone is compiled for training, which takes a minute or more first."""
    seed: int = 0
    device: str = "auto"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_size", "accumulate", "early_stop", "save_every", "step_size", "image_size")
        for name in (*counts, "channels", "views", "lr", "gamma"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"--{name.replace('_', '-')} {value} is not above 0", help="give a positive number")
        for name in ("backbone_lr", "weight_decay", "clip_norm", "seed", "replay_memory", "replay_disk"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UsageError(f"--{name.replace('_', '-')} {value} is below 0", help="give 0 or a greater number")
        if self.mix is not None:
            mix_of(self.mix)
        if self.budget is not None:
            check_budget(self.budget, self.strategy)
        if self.ema is not None and not 0 < self.ema < 1:
            raise UsageError(f"--ema {self.ema} is outside (0, 1)", help="give a decay such as 0.99")
        for name, share in {
            "dropout": self.dropout,
            "label_smoothing": self.label_smoothing,
            "warmup": self.warmup,
            "momentum": self.momentum,
        }.items():
            if not 0 <= share < 1:
                raise UsageError(
                    f"--{name.replace('_', '-')} {share} is outside [0, 1)", help="give a share such as 0.1"
                )


@dataclass(frozen=True)
class Subject:
    """What of a backbone decides the defaults."""

    params: int | None
    pretrained: bool
    transformer: bool
    image_size: int | None
    """Pixels of the shorter side that it takes; None: it takes no images."""


def resolve(training: Training, data: Dataset, subject: Subject, *, gpu: bool) -> tuple[Training, tuple[str, ...]]:
    """Fill in what was left open; the second value says what was chosen and why."""
    rows = len(data.splits["train"])
    notes: list[str] = []
    head = training.head or _HEADS.get(data.task.kind, "linear")
    strategy = training.strategy if training.budget is None else AUTO
    if strategy is None and only_solved(head):
        strategy = "linear-probe"
        notes.append(f"strategy linear-probe: the head {head} is solved, no step trains it")
    if strategy is None and data.task.kind == "pairs":
        strategy = "full"
        notes.append("strategy full: what pairs teach is in the towers, the head has a scale alone")
    if strategy is None:
        choice = choose(
            rows=rows,
            classes=max(len(data.task.classes), 1) if data.task.kind != "multilabel" else 1,
            params=subject.params,
            pretrained=subject.pretrained,
            gpu=gpu,
            linear=head in solvable(data.task.kind),
        )
        strategy = choice.name
        notes.append(f"strategy {choice.name}: {choice.reason}")
    # A text may say what mirroring or cutting away makes untrue.
    changes = strategy not in ("linear-probe", "head") and data.task.kind != "pairs"
    # The head of such a task is a small network of its own, which momentum alone trains slowly.
    optimizer = training.optimizer or ("adamw" if data.task.kind in MANY_ANSWERS else _optimizer(subject))
    image_size = _image_size(training, data, subject)
    if image_size != training.image_size:
        notes.append(f"image size {image_size}: {_why(image_size, subject)}")
    augment = training.augment or (_augment(subject, rows) if changes else "none")
    epochs = usual_epochs(rows) if data.task.kind != "detection" else _epochs_of_boxes(rows)
    once = training.replay == "auto" and augment == "none" and training.mix is None
    if strategy == "head" and once and data.task.kind not in MANY_ANSWERS:
        epochs = max(epochs, head_epochs(rows))
        if training.epochs is None:
            notes.append(f"{epochs} epochs: the head alone learns, from features that are computed once")
    resolved = replace(
        training,
        strategy=strategy,
        head=head,
        optimizer=optimizer,
        epochs=training.epochs or epochs,
        batch_size=training.batch_size or _rows_at_once(rows, data.task.kind),
        image_size=image_size,
        lr=training.lr or (1e-2 if optimizer == "sgd" else 1e-3),
        backbone_lr=training.backbone_lr if training.backbone_lr is not None else _backbone_lr(subject),
        augment=augment,
    )
    return resolved, tuple(notes)


def usual_epochs(rows: int) -> int:
    """Enough steps to converge on small data, few passes over large data."""
    return min(max(round(16_000 / rows), 3), 10)


def head_epochs(rows: int) -> int:
    """Enough steps for a head that begins at random; an epoch on features that are kept costs next to nothing."""
    return min(round(50_000 / rows), 100)


def _epochs_of_boxes(rows: int) -> int:
    """More passes: a detector learns where and what from nothing, for a dozen even on COCO (its 1x schedule)."""
    return min(max(round(16_000 / rows), 12), 50)


def _rows_at_once(rows: int, kind: TaskKind) -> int:
    """Pairs are told from the others of their batch, so there should be many: an eighth of all, 256 at most."""
    if kind == "pairs":
        return min(1 << max(rows // 8, 8).bit_length() - 1, 256)
    return _batch_size(rows, 32 if kind != "detection" else 16)


def _batch_size(rows: int, most: int) -> int:
    """At least about fifteen steps an epoch on small data; `most` otherwise, as large images take much memory."""
    for size in (8, 16):
        if rows < 15 * 2 * size:
            return size
    return most


def _image_size(training: Training, data: Dataset, subject: Subject) -> int | None:
    if data.task.kind != "detection":
        return training.image_size
    if training.image_size is not None:
        return training.image_size
    if subject.transformer:  # many have a table of positions for one size
        return subject.image_size
    boxes = data.splits["train"].targets
    assert boxes is not None
    return min(max(int(max(each.size)) for each in boxes), DETECTION_SIZE)


def _why(image_size: int | None, subject: Subject) -> str:
    if subject.transformer:
        return "that of the weights, of the longer side"
    return "the longer side of the largest training image" + (", 640 at most" if image_size == DETECTION_SIZE else "")


def _optimizer(subject: Subject) -> Optimizer:
    """Momentum for pretrained convolutional networks of photographs, AdamW for everything else.

    Measured: SqueezeNet on hymenoptera ends 3 points higher with momentum, ResNet-20 on CIFAR-10 and glyph-cnn on
    digits half a point higher with AdamW.
    """
    convolutional = subject.image_size is not None and subject.image_size > SMALL_IMAGE and not subject.transformer
    return "sgd" if convolutional and subject.pretrained else "adamw"


def _augment(subject: Subject, rows: int) -> str:
    """None for small pictures: mirrored, a digit is another character, and a few pixels less are much less."""
    return "light" if subject.image_size is not None and subject.image_size > SMALL_IMAGE and rows < 50_000 else "none"


def _backbone_lr(subject: Subject) -> float:
    """Relative to the head: pretrained weights want small steps, large transformers smaller ones still."""
    if not subject.pretrained:
        return 1.0
    return 0.05 if subject.transformer and (subject.params or 0) > 50_000_000 else 0.1
