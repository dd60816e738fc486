"""`zoo extract`: features to a file, or of shards to a folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import console, options
from zoo.cli.parsing import Grouped
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.verbs.extract import FeatureSet

FORMATS = (".safetensors", ".parquet", ".npy")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "extract",
        help="Write features to a file, or those of shards to a folder.\n\n"
        "For example  zoo extract resnet18 photos/ -o features.safetensors",
        cls=Grouped,
    )(extract)


def extract(
    backbone: options.Backbone[str],
    data: options.Data[str],
    output: Annotated[
        Path, options.of_output(f"A file ending in {', '.join(FORMATS)}; for shards a folder.", "--output", "-o")
    ],
    level: Annotated[str, typer.Option(help="pooled, tokens, or the name of a stage.")] = "pooled",
    pooling: options.Pooling = None,
    split: Annotated[str | None, options.of_data("Only this split.")] = None,
    weights: options.Weights = None,
    batch_size: options.RowsAtOnce[int | None] = None,
    device: options.Device[str] = "auto",
    precision: options.Precision = None,
    image_col: options.ImageCol = None,
    text_col: options.TextCols = None,
    audio_col: options.AudioCol = None,
    label_col: options.LabelCols = None,
    shards: Annotated[bool, options.of_output("One file a shard, in the folder --output.", "--shards")] = False,
    dtype: Annotated[str | None, options.of_output("Of shards: float32 or float16.")] = None,
    skip_bad: options.SkipBad = False,
    bad_limit: options.BadLimit[float] = 0.01,
    fast: Annotated[
        bool, typer.Option("--fast", help="Decode large JPEGs at less than full size; says what that changes.")
    ] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Compute anew and keep nothing.")] = False,
    parallel: options.Parallel = None,
    offline: options.Offline = False,
    overwrite: Annotated[bool, options.of_output("Replace the file.", "--overwrite")] = False,
    json: options.Json = False,
) -> None:
    """Parse, call the verb, write, render."""
    from zoo.data.types import ReadOptions

    read = ReadOptions(
        image=image_col,
        text=None if text_col is None else tuple(text_col.split(",")),
        audio=audio_col,
        label=None if label_col is None else tuple(label_col.split(",")),
        skip_bad=skip_bad,
        bad_limit=bad_limit,
    )
    if shards or output.is_dir() or not output.suffix:
        from zoo.cli import extract_shards as sharded

        sharded.refuse(
            {"--level": level != "pooled", "--split": split, "--overwrite": overwrite, "--parallel": parallel}
        )
        given = sharded.Given(
            backbone, data, output, read, pooling, dtype, batch_size, device, precision, fast, weights, offline
        )
        return sharded.extract(given, json=json)
    _check(output, dtype, overwrite=overwrite)
    from zoo.transfer.team import current, working
    from zoo.verbs.extract import extract as verb

    with working(parallel), console.counting("extracting") as progress:
        found = verb(
            backbone,
            data,
            split=split,
            level=level,
            pooling=pooling,
            batch_size=batch_size,
            device=device,
            precision=precision or "auto",
            fast=fast,
            cache=not no_cache,
            weights=weights,
            read=read,
            offline=offline,
            progress=progress,
            say=console.note,
        )
    if current().leads:
        write(found, output)
    summary = {
        "output": str(output),
        "backbone": found.backbone,
        "level": found.level,
        "shape": list(found.features.shape),
        "cached": found.cached,
        "precision": found.precision,
        "padding": found.padding,
        "fast": None if found.fast is None else asdict(found.fast),
        "key": found.key,
    }
    if json:
        return console.print_json(summary)
    shape = " x ".join(map(str, found.features.shape))
    how = " (cached)" if found.cached else ""
    if found.padding is not None and found.padding > 1:
        how = f" ({found.padding:.3f} positions computed for each real one)"
    rounded = ", computed in bf16" if found.precision == "bf16" else ""
    return console.print_text(f"wrote {output}  {shape} float32 of {found.backbone}{rounded}{how}")


def _check(output: Path, dtype: str | None, *, overwrite: bool) -> None:
    if output.suffix not in FORMATS:
        raise UsageError(
            f"'{output}' has no known ending",
            help=f"use one of {', '.join(FORMATS)}; for a folder of shards with such a name add --shards",
        )
    if dtype is not None:
        raise UsageError(f"--dtype {dtype} is of shards; a file has float32", help="leave it out, or give a folder")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists", help="add --overwrite, or choose another name")


def write(found: FeatureSet, output: Path) -> None:
    """The features with ids, names, splits and targets beside them."""
    import json as text

    import numpy as np

    from zoo.records.files import published

    classes = list(found.task.classes) if found.task else []
    about: dict[str, Any] = {
        "backbone": found.backbone,
        "level": found.level,
        "classes": classes,
        "ids": found.ids,
        "names": found.names,
        "splits": found.splits,
    }
    with published(output) as temporary:
        if output.suffix == ".npy":
            with temporary.open("wb") as file:
                np.save(file, found.features)
        elif output.suffix == ".safetensors":
            from safetensors.numpy import save_file

            arrays = {"features": np.ascontiguousarray(found.features)}
            arrays |= {"mask": found.mask.astype(np.uint8)} if found.mask is not None else {}
            arrays |= {"targets": np.ascontiguousarray(found.targets)} if found.targets is not None else {}
            save_file(arrays, temporary, metadata={key: text.dumps(value) for key, value in about.items()})
        else:
            _write_parquet(found, temporary)
    if output.suffix == ".npy":
        beside = output.with_suffix(".json")
        with published(beside) as temporary:
            targets = None if found.targets is None else found.targets.tolist()
            temporary.write_text(text.dumps({**about, "targets": targets}), encoding="utf-8")


def _write_parquet(found: FeatureSet, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {
        "id": list(found.ids),
        "name": list(found.names),
        "split": list(found.splits),
        "features": found.features.reshape(len(found.features), -1).tolist(),
    }
    if found.targets is not None:
        columns["target"] = found.targets.tolist()
    table = pa.table(columns)
    pq.write_table(table, path)
