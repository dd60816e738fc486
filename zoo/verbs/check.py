"""Look at data before anything is trained on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from zoo.catalog.spec import fingerprint
from zoo.data.audio import AUDIO_DECODER, decode_audio
from zoo.data.decode import DECODER, examine
from zoo.data.reading import fingerprint_of, raw_dataset, read_dataset
from zoo.data.types import AudioRef, Dataset, ImageRef, Problem, ReadOptions
from zoo.errors import DataError, ZooError
from zoo.records.files import published
from zoo.records.home import cache_home

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
    """Every problem of a data set: unreadable files, empty texts, label typos, leaks, missing classes, imbalance.

    Args:
        source: a folder, a table, or the name of a data set.
        read: how to read it.
        progress: called with the number of files decoded since the last call.

    Raises:
        DataError: data that cannot be read as a table at all.
    """
    options = read or ReadOptions()
    dataset, problems = raw_dataset(source, options)
    if dataset is None:
        return CheckReport(str(source), None, (), {}, {}, (), problems)
    _, bad = look_at_files(dataset, options, progress=progress)
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
class BadFile:
    """An image or a recording that cannot be decoded; a row of several images may have several."""

    split: str
    row: int
    reason: str


@dataclass(frozen=True)
class _Seen:
    """What looking at one file told."""

    reason: str | None = None
    """Why it cannot be used."""
    small: bool = False
    several: bool = False
    """Whether its file holds more frames than the one that is used."""
    silent: bool = False


def look_at_files(
    dataset: Dataset, options: ReadOptions, *, progress: Callable[[int], None] | None = None
) -> tuple[list[BadFile], list[Problem]]:
    """The images and recordings that cannot be decoded, and the problems they make.

    What was found is kept by content, so that the same data are decoded for this once.
    """
    rows = [
        (split, row, ref)
        for split, examples in dataset.splits.items()
        for column in examples.inputs.values()
        for row, value in enumerate(column)
        for ref in (value if isinstance(value, tuple) else (value,))
        if isinstance(ref, ImageRef | AudioRef)
    ]
    refs = [ref for _, _, ref in rows]
    store = _store(dataset, refs)
    seen = _recall(store, len(refs))
    if seen is None:
        seen = []
        with ThreadPoolExecutor(4) as pool:
            for each in pool.map(_look, refs):
                seen.append(each)
                if progress is not None:
                    progress(1)
        _keep(store, seen)
    elif progress is not None:
        progress(len(refs))
    found = list(zip(rows, seen, strict=True))
    bad = [BadFile(split, row, each.reason) for (split, row, _), each in found if each.reason is not None]
    problems = [_unreadable(bad, refs, options)] if bad else []
    small = tuple(ref.name for (_, _, ref), each in found if each.small)
    if small:
        message = f"{_images(len(small))} smaller than {SMALL_SIDE} px on a side"
        problems.append(Problem("warning", "tiny-image", message, small))
    several = tuple(ref.name for (_, _, ref), each in found if each.several)
    if several:
        message = f"{_images(len(several))} animated or of several pages: the first frame is used"
        problems.append(Problem("warning", "frames", message, several))
    silent = tuple(ref.name for (_, _, ref), each in found if each.silent)
    if silent:
        message = f"{'1 recording is' if len(silent) == 1 else f'{len(silent):,} recordings are'} silent throughout"
        problems.append(Problem("warning", "silent", message, silent))
    return bad, problems


def _images(count: int) -> str:
    return "1 image is" if count == 1 else f"{count:,} images are"


def _look(ref: ImageRef | AudioRef) -> _Seen:
    try:
        if isinstance(ref, AudioRef):
            return _Seen(silent=not decode_audio(ref).samples.any())
        decoded = examine(ref)
    except DataError as error:
        return _Seen(reason=error.what)
    return _Seen(small=min(decoded.image.size) < SMALL_SIDE, several=decoded.frames > 1)


def _store(dataset: Dataset, refs: list[ImageRef | AudioRef]) -> Path:
    import PIL
    import soundfile

    content = [list(examples.ids) for examples in dataset.splits.values()]
    named = [[ref.name, ref.max_seconds if isinstance(ref, AudioRef) else ref.max_pixels] for ref in refs]
    decoders = [DECODER, PIL.__version__, AUDIO_DECODER, soundfile.__libsndfile_version__]
    key = fingerprint({"format": 2, "decoder": decoders, "rows": content, "files": named})
    return cache_home() / "checked" / f"{key}.json"


def _recall(path: Path, count: int) -> list[_Seen] | None:
    try:
        seen = [_Seen(**each) for each in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return None
    return seen if len(seen) == count else None


def _keep(path: Path, seen: list[_Seen]) -> None:
    # Without a place to keep it, the images are looked at again next time.
    with suppress(OSError, ZooError), published(path) as temporary:
        temporary.write_text(json.dumps([asdict(each) for each in seen]), encoding="utf-8")


def opened_data(source: str | Path, options: ReadOptions | None = None) -> Dataset:
    """The data set that `read_dataset` gives, every file of it decodable.

    Raises:
        DataError: no data set, or files that cannot be decoded and are not to be skipped.
        UnknownNameError: no file, folder or data set has that name.
    """
    options = options or ReadOptions()
    return without_bad_files(read_dataset(source, options), options)


def without_bad_files(
    dataset: Dataset, options: ReadOptions, *, progress: Callable[[int], None] | None = None
) -> Dataset:
    """The data set without images and recordings that cannot be decoded, where that was asked for.

    Raises:
        DataError: there are such files, and they are not to be skipped or are too many.
    """
    if not {"image", "audio"} & set(dataset.modalities):
        return dataset
    bad, problems = look_at_files(dataset, options, progress=progress)
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
    files = _kind(dataset.modalities)
    if not len(splits["train"]):
        raise DataError(f"none of the training {files} can be read", details=[each.reason for each in bad])
    splits = {split: examples for split, examples in splits.items() if len(examples)}
    note = f"{len(bad)} unreadable {files} are skipped: {', '.join(each.reason for each in bad[:3])}"
    changed = replace(dataset, splits=splits, notes=(*dataset.notes, note))
    return replace(changed, fingerprint=fingerprint_of(changed))


def _unreadable(bad: list[BadFile], refs: Sequence[ImageRef | AudioRef], options: ReadOptions) -> Problem:
    share = len(bad) / len(refs)
    files = _kind(["audio" if isinstance(ref, AudioRef) else "image" for ref in refs])
    message = f"{len(bad)} of {len(refs)} {files} cannot be read ({share:.1%})"
    reasons = tuple(each.reason for each in bad)
    if options.skip_bad and share <= options.bad_limit:
        return Problem("warning", "unreadable", message, reasons)
    mend = "delete or replace them, or add --skip-bad"
    if options.skip_bad:
        mend = f"--skip-bad passes over {options.bad_limit:.0%} of the {files} at most; --bad-limit raises that"
    return Problem("error", "unreadable", message, reasons, mend)


def _kind(modalities: Sequence[str]) -> str:
    """What files of these modalities are called together."""
    if "audio" not in modalities:
        return "images"
    return "files" if "image" in modalities else "recordings"
