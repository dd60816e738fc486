"""Examples as values: rows, labels, tasks and splits. No torch."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.spec import Modality
from zoo.errors import UsageError

TaskKind = Literal["binary", "multiclass", "multilabel", "regression", "segmentation", "tokens", "detection", "pairs"]
DENSE: tuple[TaskKind, ...] = ("segmentation", "tokens")
"""Tasks with an answer for every pixel or every word."""
MANY_ANSWERS: tuple[TaskKind, ...] = (*DENSE, "detection", "pairs")
"""Tasks in which a row has many answers, or, as a pair, one only beside other rows."""
Text = str | tuple[str, str]
"""A text, or a pair of texts."""

MAX_PIXELS = 100_000_000
"""Above this an image is refused unless more is allowed: a small file can hold gigabytes."""

MAX_SECONDS = 3600.0
"""Above this a recording is refused unless more is allowed: an hour decoded is a gigabyte at 44,100 Hz in stereo."""


class UnknownId(str):
    """A number in a column of named classes that no class has, such as -1; kept as the text of the number."""

    __slots__ = ()


@dataclass(frozen=True)
class Task:
    """What is predicted: one of K classes, for a row, each pixel or each word; any of K labels, or K numbers; of pairs,
    which image and which text belong together."""

    kind: TaskKind
    classes: tuple[str, ...] = ()
    """In the order of their index, from the training rows; empty for regression."""
    targets: tuple[str, ...] = ()
    """Names of the target columns."""

    @property
    def num_outputs(self) -> int:
        """Columns of the head's output: 1 for binary, K otherwise."""
        if self.kind == "binary":
            return 1
        return len(self.classes) if self.kind != "regression" else len(self.targets)


@dataclass(frozen=True)
class ImageRef:
    """An image that has not been decoded: a file, or bytes out of a table."""

    name: str
    """Path, or `file:row`, as shown in messages."""
    path: str | None = None
    data: bytes | None = field(default=None, repr=False)
    array: NDArray[Any] | None = field(default=None, repr=False)
    """(H, W) or (H, W, C) uint8, for data sets that hold pixels."""
    max_pixels: int = MAX_PIXELS
    """More are refused."""


@dataclass(frozen=True)
class AudioRef:
    """A recording that has not been decoded: a file, bytes out of a table, or samples."""

    name: str
    """Path, or `file:row`, as shown in messages."""
    path: str | None = None
    data: bytes | None = field(default=None, repr=False)
    array: NDArray[Any] | None = field(default=None, repr=False)
    """(T,) or (T, C) float in [-1, 1], or int16 or int32, for data sets that hold samples."""
    rate: int | None = None
    """Samples a second, of `array`."""
    max_seconds: float = MAX_SECONDS
    """Longer ones are refused."""


@dataclass(frozen=True)
class Problem:
    """Something about the data that a user should know."""

    level: Literal["error", "warning", "note"]
    kind: str
    """Such as "unreadable", "empty-text", "leak", "label-typo", "imbalance"."""
    message: str
    rows: tuple[str, ...] = ()
    """Where: file names or `file:line`."""
    help: str | None = None


@dataclass(frozen=True)
class Hashed:
    """The content hash of each value of a column; of no other column, whoever puts one in its place."""

    column: Sequence[Any]
    """This very object."""
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Examples:
    """Rows of one split. `targets` is (N,) int64 class indices (binary: 0 or 1), (N, K) float32 multi-hot,
    (N, K) float32 numbers, (N,) objects: a `Mask` or the `Tags` of each row; or (N, 2) int64 of pairs, where what is
    equal has one number."""

    inputs: Mapping[Modality, Sequence[Any]]
    """"image": ImageRef or a tuple of them, "text": str or pair of str, "audio": AudioRef; all of length N."""
    targets: NDArray[Any] | None
    """None: unlabelled rows."""
    ids: tuple[str, ...]
    """Content hash of each row's inputs."""
    names: tuple[str, ...]
    """Where each row came from."""
    hashed: Mapping[Modality, Hashed] = field(default_factory=dict, repr=False)
    """Of single modalities, where that was taken while reading; ask `zoo.data.identity.content_of`."""

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Examples:
        """These rows, in this order."""
        index = [int(row) for row in rows]
        inputs: dict[Modality, Sequence[Any]] = {
            name: [column[i] for i in index] for name, column in self.inputs.items()
        }
        return Examples(
            inputs=inputs,
            targets=None if self.targets is None else self.targets[np.asarray(index, dtype=np.int64)],
            ids=tuple(self.ids[i] for i in index),
            names=tuple(self.names[i] for i in index),
            hashed={
                name: Hashed(inputs[name], tuple(each.ids[i] for i in index))
                for name, each in self.hashed.items()
                if each.column is self.inputs.get(name)
            },
        )


@dataclass(frozen=True)
class Dataset:
    """Examples with their task and splits, everything that was inferred, and what is wrong with them."""

    name: str
    """As the user typed it."""
    task: Task
    splits: Mapping[str, Examples]
    """"train" always; "val" and "test" where given or split off."""
    columns: Mapping[str, str]
    """What was read as what: {"image": "image", "text": "text", "label": "label"}; "audio" like these."""
    notes: tuple[str, ...] = ()
    """What was inferred, one sentence each."""
    problems: tuple[Problem, ...] = ()
    fingerprint: str = ""
    """sha256 over row ids, targets and splits."""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Of the columns that were read, image first."""
        return tuple(self.splits["train"].inputs)

    @property
    def held_out(self) -> str:
        """The split that results are reported on: "test" if there is one, else "val"."""
        return "test" if "test" in self.splits else "val"


@dataclass(frozen=True)
class ReadOptions:
    """How to read data; None means inferred and said."""

    image: str | None = None
    text: tuple[str, ...] | None = None
    """One column, or two for pairs."""
    audio: str | None = None
    label: tuple[str, ...] | None = None
    """One column; several for regression with many targets."""
    task: TaskKind | None = None
    modalities: tuple[Modality, ...] | None = None
    """Read only these; None: all that are found."""
    encoding: str = "utf-8"
    delimiter: str | None = None
    label_separator: str = "|"
    """Between the labels of a multi-label cell."""
    skip_bad: bool = False
    """Drop and record unreadable rows; more than `bad_limit` of them is an error even then."""
    bad_limit: float = 0.01
    drop_empty: bool = False
    allow_leak: bool = False
    max_pixels: int = MAX_PIXELS
    max_seconds: float = MAX_SECONDS
    """Longer recordings are refused."""
    val: float = 0.2
    """Share of train held out where the data brings no other split."""
    seed: int = 0
    shots: int | None = None
    """Keep K training rows of each class."""
    limit: int | None = None
    """Keep at most this many training rows."""

    def __post_init__(self) -> None:
        for name in ("text", "label"):
            value: Any = getattr(self, name)
            if isinstance(value, str):  # one name needs no tuple around it
                object.__setattr__(self, name, (value,))
        for name, count in {"shots": self.shots, "limit": self.limit, "max_pixels": self.max_pixels}.items():
            if count is not None and count < 1:
                raise UsageError(f"--{name.replace('_', '-')} {count} is not above 0", help="give a positive number")
        if not self.max_seconds > 0:
            raise UsageError(f"--max-seconds {self.max_seconds:g} is not above 0", help="give a positive number")
        if not 0 < self.val < 1:
            raise UsageError(f"--val {self.val:g} is outside (0, 1)", help="give the share to hold out, such as 0.2")
        if not 0 <= self.bad_limit <= 1:
            raise UsageError(f"--bad-limit {self.bad_limit:g} is outside [0, 1]", help="give a share such as 0.01")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed} is below 0", help="give 0 or a greater whole number")
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            known = "utf-8, latin-1, utf-16 or cp1252"
            raise UsageError(f"--encoding {self.encoding} is not known", help=f"give one such as {known}") from None


@dataclass(frozen=True)
class Table:
    """Raw columns before anything is inferred; what a `DatasetSpec.factory` returns."""

    name: str
    columns: Mapping[str, Sequence[Any]]
    """All of one length; images as `ImageRef`, texts and labels as str, numbers as float."""
    split: Sequence[str] | None = None
    """The split of each row, where the source has splits: "train", "val" or "test"."""
    names: Sequence[str] | None = None
    """Where each row came from; row numbers if None."""
    notes: tuple[str, ...] = ()
    """What was left out while reading, one sentence each."""
    classes: tuple[str, ...] = ()
    """Names of the class numbers of masks, where the source has them."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))
