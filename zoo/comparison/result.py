"""What a comparison found, as values that are written and read back; `zoo report` makes its pages from nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from zoo.errors import UsageError
from zoo.records.files import published
from zoo.records.plain import json_safe

FORMAT = 1
FILE = "comparison.json"
Shots = int | Literal["all"]
Pair = tuple[float, float]


@dataclass(frozen=True)
class Contender:
    """A backbone with the way it is carried to the data."""

    title: str
    """As it stands in every table; unique in a comparison."""
    backbone: str
    """As it was typed, weights included."""
    modalities: tuple[str, ...]
    strategy: str
    parts: tuple[str, ...] = ()
    """Titles of the contenders that this one joins, where it joins several."""
    floor_of: str | None = None
    """Title of the contender whose architecture this is, with random weights."""
    params: int | None = None
    flops: int | None = None
    """Of one forward pass of one held-out row, multiplications and additions counted apart; None: not countable."""
    dim: int | None = None
    """D of its pooled features."""
    licence: str | None = None


@dataclass(frozen=True)
class Data:
    """One of the data sets."""

    name: str
    task: str
    """Its kind."""
    classes: tuple[str, ...]
    rows: Mapping[str, int]
    """Of each split."""
    modalities: tuple[str, ...]
    held_out: str
    """The split that everything is measured on."""
    metric: str
    """The main one."""
    trivial: float | None
    """What always giving the most frequent answer (the mean, for numbers) scores on the held-out rows."""
    fingerprint: str
    notes: tuple[str, ...] = ()
    source: str = ""
    """As it was typed."""


@dataclass(frozen=True)
class Cost:
    """What a contender takes, on the machine that is said in the protocol."""

    train_seconds: float
    """Mean over the seeds, from the first step of training, or of the extraction, to the solved head."""
    ms_per_row: float | None
    """Of decoding, preprocessing and the forward pass of a held-out row, in batches; None: not measured."""
    peak_memory: int | None
    """Bytes: of the device on CUDA, of the process on a CPU."""
    trained_params: int | None


@dataclass(frozen=True)
class Standing:
    """A contender on one data set after so many training rows."""

    contender: str
    data: str
    shots: Shots
    """Rows of each class (rows in all for labels and numbers), or "all"."""
    rows: int
    """Training rows."""
    values: tuple[float | None, ...]
    """Of the main metric, one a seed."""
    value: float | None
    """Their mean."""
    interval: Pair | None
    """95%, of the mean: over rows, and over seeds where there are several."""
    metrics: Mapping[str, float | None]
    """Every metric of the task, means over the seeds."""
    intervals: Mapping[str, Pair]
    """95%, of those that are shown."""
    rank: int | None
    """1 + how many are significantly better; those that cannot be told apart share it. None for floors."""
    cost: Cost | None
    runs: tuple[str, ...] = ()
    """Folders of the runs, relative to that of the comparison, where runs were kept."""


@dataclass(frozen=True)
class Apart:
    """How far two contenders are apart on the same rows."""

    data: str
    shots: Shots
    of: str
    since: str
    """The contender that is taken away: value = of - since."""
    value: float
    interval: Pair
    """95%, paired."""
    p: float
    """Two-sided."""
    adjusted: float
    """p after Holm's correction over all pairs of the same data and shots."""
    test: str
    """Such as "McNemar, exact"."""

    @property
    def sure(self) -> bool:
        """Whether it stands after the correction, at 5%."""
        return self.adjusted < 0.05


@dataclass(frozen=True)
class Fusion:
    """What joining modalities brings over the best of them alone."""

    data: str
    shots: Shots
    joint: str
    best: str
    """The best of its parts, or of the single-modality contenders where it has no parts here."""
    value: float
    interval: Pair
    p: float
    sure: bool


@dataclass(frozen=True)
class Spoiled:
    """A joint contender whose one modality tells nothing at test time."""

    data: str
    contender: str
    modality: str
    how: Literal["dropped", "shuffled"]
    """Dropped: replaced by what is average; shuffled: taken from another row."""
    value: float
    loss: float
    """Of the main metric, against both modalities as they are."""
    interval: Pair
    """95%, of the loss."""


@dataclass(frozen=True)
class Overlap:
    """Where the errors of two contenders fall."""

    data: str
    one: str
    other: str
    both_right: int
    only_one: int
    """Right by `one` alone."""
    only_other: int
    both_wrong: int
    kappa: float | None
    """Cohen's, of being right: 1 where the same rows are wrong, 0 where that is chance."""
    either: float
    """Share of rows that one of the two has right."""


@dataclass(frozen=True)
class Likeness:
    """Linear CKA of the frozen features of two backbones on the same rows (Kornblith et al. 2019)."""

    data: str
    one: str
    other: str
    cka: float
    """Debiased: about 0 for features that have nothing to do with each other, 1 for the same up to turn and scale."""


@dataclass(frozen=True)
class Shared:
    """A space of images and texts in common: what one side learns, told from the other."""

    data: str
    backbone: str
    trained_on: str
    tested_on: str
    value: float
    interval: Pair | None
    gap: float
    """Distance between the centres of the normalised images and texts (Liang et al. 2022)."""


@dataclass(frozen=True)
class Confusion:
    """True class by predicted class, counts over the held-out rows of the first seed."""

    data: str
    contender: str
    matrix: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Error:
    """A held-out row that contenders answer differently, or all wrongly."""

    data: str
    row: str
    """Where it came from."""
    truth: str
    answers: Mapping[str, str]
    """By contender."""
    text: str | None = None
    image: str | None = None
    """A small JPEG or PNG as a data URI."""


@dataclass(frozen=True)
class Picture:
    """Held-out rows of a data set in two dimensions, by the features of a backbone."""

    data: str
    contender: str
    method: str
    """Such as "PCA"."""
    points: tuple[tuple[float, float], ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Overall:
    """A contender over several data sets."""

    contender: str
    mean_rank: float
    interval: Pair | None
    """95%, over draws of data sets and rows."""
    data: int
    """How many sets it was ranked on."""


@dataclass(frozen=True)
class Protocol:
    """What a reader needs to do it again."""

    command: str
    """To type."""
    zoo: str
    """Its version."""
    seeds: tuple[int, ...]
    shots: tuple[Shots, ...]
    strategies: tuple[str, ...]
    head: str | None
    training: Mapping[str, Any]
    read: Mapping[str, Any]
    reference: str | None
    """Title of the contender that the others are set beside."""
    machine: Mapping[str, str]
    """Processor, card, versions of the libraries."""
    started: str
    seconds: float
    computed: int
    """Trainings and solved heads that were carried out for it now."""
    cached: int
    """Those that were there from earlier."""


@dataclass(frozen=True)
class Comparison:
    """Everything that was found."""

    name: str
    protocol: Protocol
    data: tuple[Data, ...]
    contenders: tuple[Contender, ...]
    standings: tuple[Standing, ...]
    differences: tuple[Apart, ...]
    """Of every pair, on all training rows (the most shots that were asked for)."""
    findings: tuple[str, ...] = ()
    """Sentences that the figures bear out, the most important first."""
    fusions: tuple[Fusion, ...] = ()
    spoiled: tuple[Spoiled, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    likenesses: tuple[Likeness, ...] = ()
    shared: tuple[Shared, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    errors: tuple[Error, ...] = ()
    pictures: tuple[Picture, ...] = ()
    overall: tuple[Overall, ...] = ()
    failures: Mapping[str, str] | None = None
    """What could not be measured, "contender on data", and why."""

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints and `comparison.json` holds."""
        found: dict[str, Any] = json_safe({"format": FORMAT, **asdict(self)})
        return found

    def write(self, folder: Path) -> Path:
        """Into `comparison.json` of a folder."""
        path = folder / FILE
        with published(path) as temporary:
            temporary.write_text(json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path


def read_comparison(path: str | Path) -> Comparison:
    """A comparison that was written; its folder, or the file.

    Raises:
        UsageError: it is none, or was written by a later zoo.
    """
    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no comparison: {error}", help="name a folder that `zoo compare` made") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        known = found.get("format") if isinstance(found, dict) else None
        raise UsageError(f"{file} has the format {known!r}, not {FORMAT}", help="read it with the zoo that wrote it")
    try:
        read: Comparison = TypeAdapter(Comparison).validate_python(found)
        return read
    except ValueError as error:
        raise UsageError(f"{file} is damaged: {error}", help="make it anew with `zoo compare`") from error
