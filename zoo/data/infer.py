"""What the columns are, which task they make, and how that is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

from zoo.catalog.spec import Modality
from zoo.data.audio import AUDIO_SUFFIXES
from zoo.data.boxes import Boxes
from zoo.data.folder import IMAGE_SUFFIXES, SPLIT_NAMES
from zoo.data.types import MAX_PIXELS, MAX_SECONDS, AudioRef, ImageRef, ReadOptions, Table, TaskKind
from zoo.errors import DataError, UnknownNameError, UsageError

_LABELS = ("label", "labels", "target", "targets", "class", "category", "score", "y", "rating", "price", "sentiment")
_TEXTS = ("text", "sentence", "content", "review", "title", "question", "comment", "description", "body", "caption")
_PAIRS = (("sentence1", "sentence2"), ("text_a", "text_b"), ("premise", "hypothesis"), ("question1", "question2"),
          ("text1", "text2"))  # fmt: skip
_IMAGES = ("image", "img", "picture", "photo", "file", "filename", "file_name", "path", "image_path",
           "images", "pictures", "photos")  # fmt: skip
_AUDIO = ("audio", "sound", "recording", "wav", "speech", "file", "filename", "file_name", "path", "audio_path")
_MASKS = ("mask", "masks", "mask_path", "segmentation", "segmentation_mask")
_WORDS = ("tokens", "words")
_TAGS = ("tags", "ner_tags", "pos_tags", "labels", "ner")
_SPLITS = ("split", "subset", "partition", "fold", "set")
_FEW_NUMBERS = 20
"""More distinct whole numbers than this in a label column make a regression."""


@dataclass(frozen=True)
class Columns:
    """Which column is read as what."""

    image: str | None
    text: tuple[str, ...]
    label: tuple[str, ...]
    names: str | None
    """Column that names the integer classes of `label`."""
    split: str | None = None
    """Column that holds the split of each row."""
    audio: str | None = None


class InputColumns(NamedTuple):
    """Which columns are inputs."""

    image: str | None
    text: tuple[str, ...]
    audio: str | None


def find_columns(table: Table, options: ReadOptions) -> Columns:
    """The columns to read, given or found by type and name.

    Raises:
        DataError: nothing to read, or no label.
        UnknownNameError: a column that was given does not exist.
    """
    known = list(table.columns)
    for given in options.label or ():
        if given not in known:
            raise UnknownNameError("column", given, known, help=f"the columns are {', '.join(known)}")
    pairs = options.task == "pairs"  # which have no labels
    label = () if pairs else options.label or _find_dense(table.columns, options.task) or find_label(table.columns)
    image, text, audio = find_inputs(table.columns, table.name, options, options.modalities, label)
    if not label and not pairs:
        raise DataError(
            f"{table.name} has no column that looks like a label; it has {', '.join(known)}",
            help="name it with --label-col",
        )
    both = set(label) & {image, *text, audio}
    if both:
        raise UsageError(
            f"column '{min(both)}' is input and label at once", help="the answer must not be among the inputs"
        )
    names = f"{label[0]}_name" if len(label) == 1 and f"{label[0]}_name" in known else None
    split = find_split(table.columns, {image, *text, audio, *label}) if table.split is None else None
    return Columns(image, text, label, names, split, audio)


def find_inputs(
    columns: Mapping[str, Sequence[Any]],
    name: str,
    options: ReadOptions,
    modalities: Sequence[Modality] | None,
    label: Sequence[str] = (),
) -> InputColumns:
    """The image column, the text columns and the audio column, given or found by type and name.

    Raises:
        DataError: nothing to read.
        UnknownNameError: a column that was given does not exist.
    """
    known = list(columns)
    for given in (options.image, options.audio, *(options.text or ())):
        if given is not None and given not in known:
            raise UnknownNameError("column", given, known, help=f"the columns are {', '.join(known)}")
    image = options.image if options.image is not None else _find_image(columns, {options.audio, *label})
    audio = options.audio if options.audio is not None else _find_audio(columns, {image, *label})
    text = options.text if options.text is not None else _find_text(columns, {image, audio, *label})
    there = "image" if image is not None else "text" if text else "audio" if audio is not None else None
    if modalities is not None:
        image = image if "image" in modalities else None
        text = text if "text" in modalities else ()
        audio = audio if "audio" in modalities else None
    if image is None and not text and audio is None:
        wanted = " or ".join(modalities or ("image", "text", "audio"))
        instead = f", or choose a backbone that takes {there}: `zoo list --modality {there}`" if there else ""
        raise DataError(
            f"{name} has no column that looks like {wanted}; it has {', '.join(known)}",
            help=f"name it with --{'-col or --'.join(modalities or ('image', 'text', 'audio'))}-col{instead}",
        )
    return InputColumns(image, text, audio)


def find_task(
    values: Sequence[Sequence[Any]], options: ReadOptions, label: Sequence[str], words: Sequence[Any] = ()
) -> tuple[TaskKind, str]:
    """The task that the label columns make, and why, in one sentence.

    Args:
        values: cells of each label column.
        options: what was given.
        label: names of the label columns.
        words: cells of the text column.
    """
    if options.task is not None:
        if options.task not in get_args(TaskKind):
            kinds = get_args(TaskKind)
            raise UnknownNameError("task", options.task, kinds, help=f"use {', '.join(kinds)}")
        return options.task, f"task {options.task}, as given"
    if len(values) > 1:
        return "regression", f"{len(values)} label columns are numbers to predict"
    cells = values[0]
    if cells and isinstance(cells[0], Boxes):
        return "detection", f"'{label[0]}' holds the objects of each image"
    if cells and (isinstance(cells[0], ImageRef) or _named_like(cells, IMAGE_SUFFIXES)):
        return "segmentation", f"'{label[0]}' holds masks"
    if words and all(isinstance(each, list) for each in (*words[:20], *cells[:20])):
        return "tokens", f"'{label[0]}' holds a tag for each word"
    if any(isinstance(cell, list) for cell in cells) or (
        label[0].lower().endswith("labels") and any(options.label_separator in str(cell) for cell in cells)
    ):
        return "multilabel", f"'{label[0]}' holds several labels a row"
    distinct = {str(cell) for cell in cells if str(cell).strip()}
    # "007" is a name that is written in digits.
    if all(map(is_number, distinct)) and not any(map(_is_code, distinct)):
        whole = all(float(value).is_integer() for value in distinct)
        if (not whole and len(distinct) > 2) or len(distinct) > _FEW_NUMBERS:
            return "regression", f"'{label[0]}' holds {len(distinct)} distinct numbers"
    kind: TaskKind = "binary" if len(distinct) == 2 else "multiclass"
    return kind, f"'{label[0]}' holds {len(distinct)} classes"


def is_number(text: str) -> bool:
    """Whether a cell reads as a finite number; "nan" and "inf" are words here."""
    try:
        value = float(text)
    except ValueError:
        return False
    return value == value and abs(value) != float("inf")


def _is_code(text: str) -> bool:
    digits = text.strip().lstrip("-")
    return len(digits) > 1 and digits[0] == "0" and digits.isdigit()


def as_images(values: Sequence[Any], root: Path, max_pixels: int = MAX_PIXELS) -> list[Any]:
    """Cells of an image column: references stay, paths are taken from the table's folder, a list becomes a tuple."""

    def image(value: Any, row: int) -> Any:
        if isinstance(value, list | tuple):
            return tuple(image(each, row) for each in value)
        if isinstance(value, ImageRef):
            return value if value.max_pixels == max_pixels else replace(value, max_pixels=max_pixels)
        name, path = _named_file(value, row, root)
        return ImageRef(name, path, data=b"" if path is None else None, max_pixels=max_pixels)

    return [image(value, row) for row, value in enumerate(values)]


def as_recordings(values: Sequence[Any], root: Path, max_seconds: float = MAX_SECONDS) -> list[AudioRef]:
    """Cells of an audio column: references stay, paths are taken from the table's folder."""
    found = []
    for row, value in enumerate(values):
        if isinstance(value, AudioRef):
            found.append(value if value.max_seconds == max_seconds else replace(value, max_seconds=max_seconds))
        elif isinstance(value, ImageRef):  # bytes of a table, which are taken for an image until something is said
            found.append(AudioRef(value.name, value.path, value.data, max_seconds=max_seconds))
        else:
            name, path = _named_file(value, row, root)
            found.append(AudioRef(name, path, data=b"" if path is None else None, max_seconds=max_seconds))
    return found


def _named_file(value: Any, row: int, root: Path) -> tuple[str, str | None]:
    """Its name in messages and its path; None for an empty cell."""
    if not str(value).strip():
        return f"row {row}, an empty cell", None
    path = Path(str(value)).expanduser()
    return str(value), str(path if path.is_absolute() else root / path)


def class_names(integers: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Integer class to its name, where the two columns agree on every row; empty if they do not."""
    pairs: dict[str, str] = {}
    for integer, name in zip(integers, names, strict=True):
        if pairs.setdefault(integer, name) != name:
            return {}
    return pairs if len(set(pairs.values())) == len(pairs) else {}


def find_label(columns: Mapping[str, Sequence[Any]]) -> tuple[str, ...]:
    """The column that is named like a label, if there is one."""
    lowered = {name.lower(): name for name in columns}
    found = next((lowered[name] for name in _LABELS if name in lowered), None)
    if found is not None:
        return (found,)
    if "label_name" in lowered:
        return (lowered["label_name"],)
    return ()


def _find_dense(columns: Mapping[str, Sequence[Any]], task: TaskKind | None) -> tuple[str, ...]:
    """A column of boxes or masks beside images, or of tags beside words, unless another task is asked for."""
    boxes = [name for name, cells in columns.items() if cells and isinstance(cells[0], Boxes)]
    if boxes:
        return (boxes[0],)
    lowered = {name.lower(): name for name in columns}
    words = next((lowered[each] for each in _WORDS if each in lowered and _is_lists(columns[lowered[each]])), None)
    tags = next((lowered[each] for each in _TAGS if each in lowered and _is_lists(columns[lowered[each]])), None)
    if words and tags and task in (None, "tokens"):
        return (tags,)
    mask = next((lowered[each] for each in _MASKS if each in lowered), None)
    if mask is None or not columns[mask]:
        return ()
    files = isinstance(columns[mask][0], ImageRef) or _named_like(columns[mask], IMAGE_SUFFIXES)
    asked = task == "segmentation" or (task is None and not find_label(columns))
    return (mask,) if files and asked else ()


def _is_lists(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(each, list) for each in values[:20])


def find_split(columns: Mapping[str, Sequence[Any]], taken: Set[str | None]) -> str | None:
    """A column named for it in which every cell is the name of a split, "train" among them."""
    for name, values in columns.items():
        if name not in taken and name.lower() in _SPLITS:
            meant = {SPLIT_NAMES.get(str(value).strip().lower()) for value in values}
            if None not in meant and "train" in meant and len(meant) > 1:
                return name
    return None


def _find_image(columns: Mapping[str, Sequence[Any]], taken: Set[str | None]) -> str | None:
    return _find_files(columns, taken, ImageRef, _IMAGES, IMAGE_SUFFIXES)


def _find_audio(columns: Mapping[str, Sequence[Any]], taken: Set[str | None]) -> str | None:
    return _find_files(columns, taken, AudioRef, _AUDIO, AUDIO_SUFFIXES)


def _find_files(
    columns: Mapping[str, Sequence[Any]],
    taken: Set[str | None],
    kind: type[Any],
    usual: Sequence[str],
    suffixes: tuple[str, ...],
) -> str | None:
    """A column of references, or one of a usual name whose cells end like files of this kind; lists of them, too."""
    for name, values in columns.items():
        if name not in taken and isinstance(next(_each(values), None), kind):
            return name
    lowered = {name.lower(): name for name in columns}
    for wanted in usual:
        found = lowered.get(wanted)
        if found and found not in taken and _named_like(columns[found], suffixes):
            return found
    return None


def _named_like(values: Sequence[Any], suffixes: tuple[str, ...]) -> bool:
    some = [str(each).lower() for each in _each(values[:20])]
    return bool(some) and all(each.endswith(suffixes) for each in some)


def _each(values: Sequence[Any]) -> Iterator[Any]:
    """Cells one by one; those that are lists by what is in them."""
    for value in values:
        yield from value if isinstance(value, list | tuple) else (value,)


def _find_text(columns: Mapping[str, Sequence[Any]], taken: set[str | None]) -> tuple[str, ...]:
    lowered: Mapping[str, str] = {name.lower(): name for name in columns if name not in taken}
    for first, second in _PAIRS:
        if first in lowered and second in lowered:
            return (lowered[first], lowered[second])
    for wanted in _TEXTS:
        if wanted in lowered and _is_text(columns[lowered[wanted]]):
            return (lowered[wanted],)
    for wanted in _WORDS:
        if wanted in lowered and _is_lists(columns[lowered[wanted]]):
            return (lowered[wanted],)
    wordy = [name for name in lowered.values() if _is_text(columns[name]) and _has_words(columns[name])]
    return (wordy[0],) if len(wordy) == 1 else ()


def _is_text(values: Sequence[Any]) -> bool:
    return bool(values) and isinstance(values[0], str)


def _has_words(values: Sequence[Any]) -> bool:
    some = [str(value) for value in values[:200]]
    return sum(" " in value.strip() for value in some) > len(some) / 2
