"""What a finished run says of new inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.spec import Modality
from zoo.data.batches import channels_of
from zoo.data.decode import decoded
from zoo.data.folder import files_below
from zoo.data.infer import as_images, as_recordings, find_inputs
from zoo.data.tables import SUFFIXES, read_table
from zoo.data.tags import text_of, words_of
from zoo.data.types import AudioRef, Examples, ImageRef, ReadOptions
from zoo.errors import DataError, UsageError, ZooError
from zoo.models.backbone import Backbone
from zoo.records.runs import RunFolder
from zoo.transfer.devices import choose_device
from zoo.transfer.trained import Trained, load_trained
from zoo.verbs.answers import Located, PictureFolder, Span, drawn, located, mask_picture, shares, spans_in, tags_of

AT_ONCE = 256
"""Inputs read ahead; memory stays the same however many there are."""

Item = tuple[str, Mapping[Modality, Any]]
"""Name and values of one input."""


@dataclass(frozen=True)
class Prediction:
    """What was said of one input."""

    input: str
    label: str | None = None
    """The most probable class; None for several labels or numbers."""
    labels: tuple[str, ...] = ()
    """Every class above one half, for several labels."""
    probabilities: Mapping[str, float] | None = None
    """Of the most probable classes, greatest first; for a mask the share of the pixels of each class."""
    values: Mapping[str, float] | None = None
    """Predicted numbers by target."""
    mask: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    """(H, W) class number of each pixel, at the size of the image."""
    path: Path | None = None
    """Where the mask, or the image with its objects drawn, was written."""
    words: tuple[str, ...] = ()
    tags: tuple[str | None, ...] = ()
    """Of each word; None for words that were cut off with the end of their text."""
    spans: tuple[Span, ...] = ()
    """The entities that the tags mark, in order."""
    objects: tuple[Located, ...] | None = None
    """Found in the image, greatest score first; None for other tasks."""
    size: tuple[int, int] | None = None
    """(W, H) of the image in which they were found."""
    error: str | None = None
    """Why there is no prediction."""

    def to_json(self) -> dict[str, Any]:
        """The stable keys of one line."""
        if self.error is not None:
            return {"input": self.input, "error": self.error}
        if self.values is not None:
            return {"input": self.input, "values": dict(self.values)}
        if self.mask is not None:
            size = [self.mask.shape[1], self.mask.shape[0]]
            where = None if self.path is None else str(self.path)
            return {"input": self.input, "size": size, "pixels": dict(self.probabilities or {}), "mask": where}
        if self.objects is not None:
            objects = [{**asdict(each), "box": list(each.box)} for each in self.objects]
            where = None if self.path is None else str(self.path)
            return {"input": self.input, "size": list(self.size or ()), "objects": objects, "drawn": where}
        if self.words:
            spans = [asdict(span) for span in self.spans]
            return {"input": self.input, "words": list(self.words), "tags": list(self.tags), "spans": spans}
        what = {"label": self.label} if self.label is not None else {"labels": list(self.labels)}
        return {"input": self.input, **what, "probabilities": dict(self.probabilities or {})}


def predict(
    run: str | Path,
    inputs: Iterable[Any] | str | Path,
    *,
    root: str | Path = "runs",
    device: str = "auto",
    batch_size: int = 32,
    top: int = 3,
    backbone: Backbone | None = None,
    read: ReadOptions | None = None,
    progress: Callable[[int], None] | None = None,
    masks: str | Path | None = None,
    boxes: str | Path | None = None,
) -> Iterator[Prediction]:
    """Predictions in the order of the inputs; a bad one gives an error in its place.

    Args:
        run: a run's folder, its name, or "last".
        inputs: files, folders or tables for images and recordings; texts, or tables, for texts; mappings with a value
            for each modality for several.
        root: where runs lie.
        device: auto, cpu, cuda or cuda:1.
        batch_size: rows at once.
        top: probabilities shown for each input.
        backbone: needed where the run's backbone was wrapped from a module in Python.
        read: which columns of a table to read.
        progress: called with the number of inputs done since the last call.
        masks: a new folder that takes the masks of a segmentation, as PNG with a palette.
        boxes: a new folder that takes the images of a detection with the likely objects drawn, as PNG.

    Raises:
        UsageError: no such run; masks or boxes of a run that makes none, or a folder that is not empty.
    """
    folder = RunFolder.open(run, root=Path(root))
    trained = load_trained(folder.path, device=choose_device(device), backbone=backbone)
    if trained.task.kind == "pairs":
        raise UsageError(
            f"{folder.path} learned which images and texts belong together, and gives embeddings instead of answers",
            help=f"zoo zero-shot {folder.path} DATA tells classes by their names; zoo extract {folder.path} DATA",
        )
    segments = trained.task.kind == "segmentation"
    if masks is not None and not segments:
        raise UsageError(f"{folder.path} is no segmentation and makes no masks", help="leave --masks out")
    if boxes is not None and trained.task.kind != "detection":
        raise UsageError(f"{folder.path} is no detection and finds no boxes", help="leave --boxes out")
    wanted = masks if masks is not None else boxes
    into = None if wanted is None else PictureFolder(Path(wanted), "masks" if segments else "drawn images")
    items = _items([inputs] if isinstance(inputs, str | Path) else inputs, trained, read or ReadOptions())
    while chunk := list(islice(items, batch_size if segments else AT_ONCE)):
        for item, each in zip(chunk, _predicted(trained, chunk, batch_size, top), strict=True):
            if into is None or each.error is not None:
                yield each
            else:
                yield replace(each, path=into.write(each.input, _picture(trained, item, each)))
        if progress is not None:
            progress(len(chunk))


def _predicted(trained: Trained, chunk: Sequence[Item], batch_size: int, top: int) -> list[Prediction]:
    channels = channels_of(trained.processors().get("image"))
    errors = {i: reason for i, item in enumerate(chunk) if (reason := _wrong(trained, item, channels)) is not None}
    good = [index for index in range(len(chunk)) if index not in errors]
    found: dict[int, Prediction] = {i: Prediction(chunk[i][0], error=reason) for i, reason in errors.items()}
    if good:
        examples = Examples(
            inputs={m: [chunk[i][1][m] for i in good] for m in trained.backbone.modalities},
            targets=None,
            ids=tuple(chunk[i][0] for i in good),
            names=tuple(chunk[i][0] for i in good),
        )
        outputs = trained.predict(examples, batch_size=batch_size)
        found |= {i: _one(trained, chunk[i], row, top) for i, row in zip(good, outputs, strict=True)}
    return [found[index] for index in range(len(chunk))]


def _picture(trained: Trained, item: Item, said: Prediction) -> Any:
    if said.mask is not None:
        return mask_picture(said.mask)
    return drawn(decoded(item[1]["image"]), said.objects or (), trained.task.classes)


def _one(trained: Trained, item: Item, row: Any, top: int) -> Prediction:
    task, name = trained.task, item[0]
    if task.kind == "segmentation":
        return Prediction(name, mask=row, probabilities=shares(task, row))
    if task.kind == "detection":
        return Prediction(name, objects=located(row), size=row.size)
    if task.kind == "tokens":
        text, tags = item[1]["text"], tags_of(task, row)
        return Prediction(name, words=tuple(words_of(text)), tags=tags, spans=spans_in(task, text, tags))
    if task.kind == "regression":
        return Prediction(name, values={t: float(v) for t, v in zip(task.targets, row, strict=True)})
    order = [int(i) for i in row.argsort()[::-1]]
    shown = {task.classes[i]: round(float(row[i]), 6) for i in order[:top]}
    if task.kind == "multilabel":
        return Prediction(name, labels=tuple(task.classes[i] for i in order if row[i] >= 0.5), probabilities=shown)
    return Prediction(name, label=task.classes[order[0]], probabilities=shown)


def _wrong(trained: Trained, item: Item, channels: int) -> str | None:
    """Why an input cannot be used, or None."""
    for modality in trained.backbone.modalities:
        value = item[1].get(modality)
        if value is None:
            return f"no {modality} given"
        if modality != "text":
            try:
                decoded(value, channels)
            except ZooError as error:
                return error.what
        if modality == "text" and not (value if isinstance(value, str) else "".join(value)).strip():
            return "empty text"
    try:
        trained.backbone.check_row(item[1])
    except ZooError as error:
        return error.what
    return None


def _items(inputs: Iterable[Any], trained: Trained, read: ReadOptions) -> Iterator[Item]:
    modalities = trained.backbone.modalities
    for number, each in enumerate(inputs):
        if isinstance(each, Mapping):
            yield str(each.get("input", number)), {m: _value(m, each[m]) for m in modalities if m in each}
        elif _is_table(each):
            yield from _table_items(Path(each), modalities, read)
        elif modalities == ("text",):
            value = text_of(each) if trained.task.kind == "tokens" else _text(each)
            yield (value if isinstance(value, str) else str(each)), {"text": value}
        elif modalities in (("image",), ("audio",)):
            yield from _file_items(each, modalities[0])
        else:
            raise DataError(
                f"the model takes {' and '.join(modalities)}, and '{each}' is one of them at most",
                help="give a table with a column for each",
            )


def _file_items(each: Any, modality: Modality) -> Iterator[Item]:
    if isinstance(each, ImageRef | AudioRef):
        yield each.name, {modality: each}
        return
    if isinstance(each, list | tuple):  # several images of one row
        yield ", ".join(str(getattr(one, "name", one)) for one in each), {modality: _value(modality, each)}
        return
    path = Path(each)
    files = sorted(files_below(path)) if path.is_dir() else [path]
    for file in files:
        yield str(file), {modality: _value(modality, file)}


def _table_items(path: Path, modalities: Sequence[Modality], read: ReadOptions) -> Iterator[Item]:
    columns = read_table(path, read)
    image, text, audio = find_inputs(columns, str(path), read, tuple(modalities))
    count = len(next(iter(columns.values())))
    images = as_images(columns[image], path.parent) if image is not None else []
    recordings = as_recordings(columns[audio], path.parent) if audio is not None else []
    for row in range(count):
        values: dict[Modality, Any] = {}
        if image is not None:
            values["image"] = images[row]
        if audio is not None:
            values["audio"] = recordings[row]
        if text:
            cells = tuple(text_of(columns[name][row]) for name in text)
            values["text"] = cells[0] if len(cells) == 1 else cells
        yield f"{path.name}:{row}", values


def _value(modality: Modality, value: Any) -> Any:
    if modality == "image" and isinstance(value, list | tuple):
        return tuple(_value(modality, each) for each in value)
    if isinstance(value, str | Path) and modality != "text":
        kind = ImageRef if modality == "image" else AudioRef
        return kind(name=str(value), path=str(value))
    return value


def _text(each: Any) -> Any:
    return (str(each[0]), str(each[1])) if isinstance(each, tuple | list) else str(each)


def _is_table(each: Any) -> bool:
    if not isinstance(each, str | Path) or "\n" in str(each) or len(str(each)) > 4_000:
        return False
    path = Path(each)
    return path.suffix.lower() in SUFFIXES and path.is_file()
