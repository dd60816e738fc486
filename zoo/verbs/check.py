"""Look at data before anything is trained on them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from zoo.data.decode import decode
from zoo.data.reading import fingerprint_of, raw_dataset
from zoo.data.types import Dataset, ImageRef, Problem, ReadOptions
from zoo.errors import DataError

SMALL_SIDE = 8
"""Pixels below which an image is worth a word."""


@dataclass(frozen=True)
class CheckReport:
    """What was found."""

    data: str
    task: str | None
    classes: tuple[str, ...]
    rows: dict[str, int]
    """Of each split."""
    columns: dict[str, str]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing stands in the way of training."""
        return not any(problem.level == "error" for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints."""
        return {**asdict(self), "ok": self.ok}


def check(
    source: str | Path, *, read: ReadOptions | None = None, progress: Callable[[int], None] | None = None
) -> CheckReport:
    """Every problem of a data set: unreadable images, empty texts, label typos, leaks, missing classes, imbalance.

    Args:
        source: a folder, a table, or the name of a data set.
        read: how to read it.
        progress: called with the number of images decoded since the last call.

    Raises:
        DataError: data that cannot be read as a table at all.
    """
    options = read or ReadOptions()
    dataset, problems = raw_dataset(source, options)
    if dataset is None:
        return CheckReport(str(source), None, (), {}, {}, (), problems)
    _, bad = look_at_images(dataset, options, progress=progress)
    return CheckReport(
        data=dataset.name,
        task=dataset.task.kind,
        classes=dataset.task.classes,
        rows={split: len(examples) for split, examples in dataset.splits.items()},
        columns=dict(dataset.columns),
        notes=dataset.notes,
        problems=(*problems, *bad),
    )


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be decoded."""

    split: str
    row: int
    reason: str


def look_at_images(
    dataset: Dataset, options: ReadOptions, *, progress: Callable[[int], None] | None = None
) -> tuple[list[BadImage], list[Problem]]:
    """The images that cannot be decoded, and the problems they make."""
    refs = [
        (split, row, ref)
        for split, examples in dataset.splits.items()
        for row, ref in enumerate(examples.inputs.get("image", ()))
        if isinstance(ref, ImageRef)
    ]
    bad: list[BadImage] = []
    tiny: list[str] = []

    def look(item: tuple[str, int, ImageRef]) -> tuple[BadImage | None, bool]:
        split, row, ref = item
        try:
            image = decode(ref, max_pixels=options.max_pixels)
        except DataError as error:
            return BadImage(split, row, error.what), False
        return None, min(image.size) < SMALL_SIDE

    with ThreadPoolExecutor(4) as pool:
        for (_, _, ref), (broken, small) in zip(refs, pool.map(look, refs), strict=True):
            bad += [broken] if broken is not None else []
            tiny += [ref.name] if small else []
            if progress is not None:
                progress(1)
    problems = [_unreadable(bad, len(refs), options)] if bad else []
    if tiny:
        message = f"{len(tiny)} images are smaller than {SMALL_SIDE} px on a side"
        problems.append(Problem("note", "tiny-image", message, tuple(tiny)))
    return bad, problems


def without_bad_images(
    dataset: Dataset, options: ReadOptions, *, progress: Callable[[int], None] | None = None
) -> Dataset:
    """The data set without images that cannot be decoded, where that was asked for.

    Raises:
        DataError: there are such images, and they are not to be skipped or are too many.
    """
    if "image" not in dataset.modalities:
        return dataset
    bad, problems = look_at_images(dataset, options, progress=progress)
    for problem in problems:
        if problem.level == "error":
            raise DataError(problem.message, details=problem.rows, help=problem.help)
    dataset = replace(dataset, problems=(*dataset.problems, *problems))
    if not bad:
        return dataset
    gone = {(each.split, each.row) for each in bad}
    splits = {
        split: examples.select([row for row in range(len(examples)) if (split, row) not in gone])
        for split, examples in dataset.splits.items()
    }
    changed = replace(dataset, splits=splits, notes=(*dataset.notes, f"{len(bad)} unreadable images are skipped"))
    return replace(changed, fingerprint=fingerprint_of(changed))


def _unreadable(bad: list[BadImage], count: int, options: ReadOptions) -> Problem:
    share = len(bad) / count
    message = f"{len(bad)} of {count} images cannot be read ({share:.1%})"
    reasons = tuple(each.reason for each in bad)
    if options.skip_bad and share <= options.bad_limit:
        return Problem("warning", "unreadable", message, reasons)
    mend = "delete or replace them, or add --skip-bad"
    if options.skip_bad:
        mend = f"more than {options.bad_limit:.0%} of all images are bad, which --skip-bad does not pass over"
    return Problem("error", "unreadable", message, reasons, mend)
