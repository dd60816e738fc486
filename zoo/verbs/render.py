"""The same texts as texts and as pictures, so that modality is all that differs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from zoo.data.folder import SPLIT_NAMES
from zoo.data.infer import find_inputs, find_label, find_task
from zoo.data.pictures import DEFAULT_SIZE, DEFAULT_SMALLEST, DEJAVU, Page, Picture
from zoo.data.reading import read_source
from zoo.data.tags import text_of
from zoo.data.types import ReadOptions, Table, UnknownId
from zoo.errors import DataError, UsageError
from zoo.records.files import published, write_json

IMAGE = "image"
"""The column of pictures."""
ABOUT = "pictures.json"
"""Beside the tables: how they were made, and that they were."""
CHUNK = 500
"""Rows that are held in memory and written together."""
_WHOLE = "data"
"""Name of the one file where the source has no splits."""


@dataclass(frozen=True)
class Rendered:
    """A data set that was drawn."""

    output: Path
    source: str
    rows: dict[str, int]
    """Of each split; "data" where the source has none."""
    columns: tuple[str, ...]
    """Of each table: the picture first, then the source's own."""
    text: tuple[str, ...]
    """The column that was drawn; two for pairs, one below the other."""
    size: int
    """Pixels on a side."""
    font: str
    letters: tuple[int, int, int]
    """Pixels: the smallest, the median and the largest letters of a row."""
    cut: int
    """Rows of which not all fits in the smallest letters."""
    empty: int
    """Rows without text; their picture is blank."""
    missing: dict[str, int]
    """Characters that the font does not have, and in how many rows each of them stands."""
    missing_rows: int
    left_out: tuple[str, ...]
    """Columns of the source that are not in the tables."""

    def notes(self) -> tuple[str, ...]:
        """What a user should know, one sentence each."""
        total = sum(self.rows.values())
        said = []
        if self.cut:
            said.append(
                f"{self.cut:,} of {total:,} texts are cut, as they do not fit in the smallest letters; give a greater "
                "--size or a lower --smallest"
            )
        if self.missing:
            most = sorted(self.missing, key=lambda each: (-self.missing[each], each))
            shown = " ".join(most[:10]) + (" ..." if len(most) > 10 else "")
            said.append(
                f"characters that {self.font} lacks are boxes in {self.missing_rows:,} of {total:,} pictures: {shown}; "
                f"name a font that has them with --font, such as {DEJAVU}"
            )
        if self.empty:
            said.append(f"{self.empty:,} of {total:,} texts are empty, and so are their pictures")
        if self.left_out:
            said.append(f"left out, as it holds files or stands in the pictures' place: {', '.join(self.left_out)}")
        return tuple(said)

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints."""
        return {**asdict(self), "output": str(self.output), "notes": list(self.notes())}


def render(
    data: str | Path,
    out: str | Path,
    *,
    size: int = DEFAULT_SIZE,
    font: str | Path | None = None,
    smallest: int = DEFAULT_SMALLEST,
    read: ReadOptions | None = None,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Rendered:
    """A folder of Parquet tables with each text as a picture beside it; splits, labels and other columns are kept.

    Args:
        data: a table, a folder of tables, or the name of a data set, with a column of texts or of pairs of texts.
        out: the folder to make.
        size: pixels on a side of each picture.
        font: a .ttf or .otf file, or "dejavu"; Pillow's own font if None.
        smallest: pixels of the smallest letters; what does not fit in these is cut.
        read: which columns are text and label, and how files are written.
        overwrite: replace what an earlier call made there.
        progress: called with the number of rows done since the last call.

    Raises:
        DataError: there is no text.
        UsageError: a folder that is there already, or a font that cannot be read.
    """
    options = read or ReadOptions()
    output = Path(out)
    _check_free(output, overwrite=overwrite)
    page = Page(size=size, font=font, smallest=smallest)
    table, _ = read_source(data, options)
    text = _text_columns(table, options)
    writer = _Writer(table, text, options, page)
    with published(output) as folder:
        folder.mkdir()
        for split, rows in _splits(table).items():
            writer.write(folder / f"{split}.parquet", split, rows, progress)
        found = writer.found(output, str(data))
        write_json(folder / ABOUT, found.to_json())
    return found


def _text_columns(table: Table, options: ReadOptions) -> tuple[str, ...]:
    try:
        found = find_inputs(table.columns, table.name, options, ("text",)).text
    except DataError as error:
        raise DataError(error.what, help="name the column of texts with --text-col") from error
    if IMAGE in found:
        raise UsageError(f"the texts stand in a column named '{IMAGE}'", help="rename it: pictures will have that name")
    return found


def _check_free(output: Path, *, overwrite: bool) -> None:
    """Only what this command made is ever replaced."""
    if not output.exists():
        return
    ours = output.is_dir() and {each.name for each in output.iterdir()} <= {
        ABOUT, *(f"{split}.parquet" for split in ("train", "val", "test", _WHOLE))
    }  # fmt: skip
    if ours and not any(output.iterdir()):
        return
    if not ours:
        raise UsageError(f"{output} holds other things than rendered texts", help="name a folder that does not exist")
    if not overwrite:
        raise UsageError(f"{output} exists", help="add --overwrite, or choose another folder")


def _splits(table: Table) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row in range(len(table)):
        split = _WHOLE if table.split is None else table.split[row] or "train"
        found.setdefault(SPLIT_NAMES.get(split.lower(), split), []).append(row)
    ordered = sorted(found, key=lambda split: ("train", "val", "test").index(split) if split != _WHOLE else 0)
    return {split: found[split] for split in ordered}


class _Writer:
    """Draws and writes rows, and counts what is worth a word."""

    def __init__(self, table: Table, text: tuple[str, ...], options: ReadOptions, page: Page) -> None:
        import pyarrow as pa

        self.table, self.text, self.page = table, text, page
        types = {name: _type_of(cells) for name, cells in table.columns.items() if name != IMAGE}
        self.types = {name: each for name, each in types.items() if each is not None}
        self.left_out = tuple(name for name in table.columns if name not in self.types)
        self.classes = _classes(table, options, set(self.types) - set(text))
        self.schema = self._schema(pa)
        self.rows: dict[str, int] = {}
        self.letters: list[int] = []
        self.missing: Counter[str] = Counter()
        self.cut = self.empty = self.missing_rows = 0

    def write(self, path: Path, split: str, rows: Sequence[int], progress: Callable[[int], None] | None) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.rows[split] = len(rows)
        with pq.ParquetWriter(path, self.schema) as file:
            for start in range(0, len(rows), CHUNK):
                chunk = rows[start : start + CHUNK]
                pictures = list(self._pictures(chunk, progress))
                columns = [pa.array(pictures, self.schema.field(IMAGE).type)]
                columns += [self._column(name, chunk) for name in self.types]
                file.write_table(pa.Table.from_arrays(columns, schema=self.schema))

    def _pictures(self, rows: Sequence[int], progress: Callable[[int], None] | None) -> Iterator[dict[str, Any]]:
        for row in rows:
            yield {"bytes": self._drawn(self._text(row)).png, "path": None}
            if progress is not None:
                progress(1)

    def _text(self, row: int) -> str:
        return "\n\n".join(str(text_of(self.table.columns[name][row])) for name in self.text)

    def _drawn(self, text: str) -> Picture:
        picture = self.page.draw(text)
        self.cut += picture.cut
        self.missing.update(picture.missing)
        self.missing_rows += bool(picture.missing)
        if picture.letters:
            self.letters.append(picture.letters)
        else:
            self.empty += 1
        return picture

    def _column(self, name: str, rows: Sequence[int]) -> Any:
        import pyarrow as pa

        cells = [self.table.columns[name][row] for row in rows]
        if name in self.classes:
            numbers = {each: number for number, each in enumerate(self.classes[name])}
            cells = [int(cell) if isinstance(cell, UnknownId) else numbers[cell] for cell in cells]
        return pa.array(cells, self.schema.field(name).type)

    def _schema(self, pa: Any) -> Any:
        """With the features as the `datasets` library writes them, so that it decodes the pictures."""
        kinds = {"string": pa.string(), "list": pa.list_(pa.string()), "float64": pa.float64(), "int64": pa.int64()}
        fields = [pa.field(IMAGE, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
        features: dict[str, Any] = {IMAGE: {"_type": "Image"}}
        for name, kind in self.types.items():
            value: dict[str, Any] = {"dtype": "string" if kind == "list" else kind, "_type": "Value"}
            if name in self.classes:
                kind, value = "int64", {"names": list(self.classes[name]), "_type": "ClassLabel"}
            fields.append(pa.field(name, kinds[kind]))
            features[name] = {"feature": value, "_type": "Sequence"} if kind == "list" else value
        return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})

    def found(self, output: Path, source: str) -> Rendered:
        letters = sorted(self.letters) or [0]
        return Rendered(
            output=output,
            source=source,
            rows=self.rows,
            columns=tuple(self.schema.names),
            text=self.text,
            size=self.page.size,
            font=self.page.name,
            letters=(letters[0], int(median(letters)), letters[-1]),
            cut=self.cut,
            empty=self.empty,
            missing=dict(sorted(self.missing.items())),
            missing_rows=self.missing_rows,
            left_out=self.left_out,
        )


def _type_of(cells: Sequence[Any]) -> str | None:
    """How a column is written; None for files, boxes and the like."""
    for kind, name in ((str, "string"), (int, "int64"), (float, "float64")):
        if all(isinstance(cell, kind) for cell in cells):
            return name
    if all(isinstance(cell, list) and all(isinstance(each, str) for each in cell) for cell in cells):
        return "list"
    return None


def _classes(table: Table, options: ReadOptions, among: set[str]) -> dict[str, tuple[str, ...]]:
    """The classes of the label column, by its name, where every cell is one: a number in the file stands for each."""
    found = {}
    for name in (options.label or find_label(table.columns)) if options.task != "regression" else ():
        cells = table.columns.get(name, ())
        if name not in among or not all(isinstance(cell, str) and cell.strip() for cell in cells):
            continue
        if find_task([cells], options, [name])[0] in ("binary", "multiclass"):
            found[name] = tuple(sorted({cell for cell in cells if not isinstance(cell, UnknownId)}))
    return found
