"""Rows without labels on their way into a run: read, looked at, and the same again after a resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo.catalog.spec import fingerprint
from zoo.data.classes import counted
from zoo.data.types import Dataset, Examples, ReadOptions
from zoo.data.unlabelled import Unlabelled, read_unlabelled
from zoo.errors import DataError, UsageError
from zoo.models.backbone import Backbone
from zoo.models.load import check_rows
from zoo.records.runs import RunFolder
from zoo.verbs.check import look_at_files
from zoo.verbs.run import Event, Watch


def open_unlabelled(
    source: str | None, data: Dataset, backbone: Backbone, options: ReadOptions, watch: Watch
) -> Unlabelled | None:
    """The rows of `--unlabelled` that can be read, with what the backbone takes of them; None where none are given.

    Raises:
        DataError, UsageError: nothing there, rows without what the backbone takes, or files that cannot be decoded.
    """
    if source is None:
        return None
    watch(Event(note=f"reading {source}"))
    found = _decodable(read_unlabelled(source, data, backbone.modalities, options), data, options, watch)
    check_rows(backbone, [found.examples])
    return found


def _decodable(found: Unlabelled, data: Dataset, options: ReadOptions, watch: Watch) -> Unlabelled:
    """Without the files that cannot be decoded, where these are to be skipped; as for training."""
    examples = found.examples
    if not {"image", "audio"} & set(examples.inputs):
        return found
    total = len(examples)
    bad, problems = look_at_files(
        Dataset(found.name, data.task, {"unlabelled": examples}, {}),
        options,
        progress=lambda done: watch(Event(doing="checking", done=done, total=total)),
    )
    for problem in problems:
        if problem.level == "error":
            raise DataError(f"of the unlabelled rows, {problem.message}", details=problem.rows, help=problem.help)
    if not bad:
        return found
    gone = {each.row for each in bad}
    kept = examples.select([row for row in range(total) if row not in gone])
    if not len(kept):
        raise DataError("none of the unlabelled files can be read", details=[each.reason for each in bad])
    note = (
        f"{counted(len(gone), 'unlabelled row')} cannot be read, skipped: {', '.join(each.reason for each in bad[:3])}"
    )
    return replace(found, examples=kept, notes=(*found.notes, note))


def unlabelled_facts(name: str | None, examples: Examples | None) -> dict[str, Any]:
    """What a run's `data.json` says of them; nothing where there are none."""
    if examples is None:
        return {}
    return {"unlabelled": {"name": name, "fingerprint": fingerprint(list(examples.ids)), "ids": list(examples.ids)}}


def check_unchanged(folder: RunFolder, examples: Examples | None) -> None:
    """Refuse to go on with other unlabelled rows than the run began with.

    Raises:
        UsageError: they have changed.
    """
    recorded = (folder.read_json("data.json").get("unlabelled") or {}).get("fingerprint")
    now = None if examples is None else fingerprint(list(examples.ids))
    if recorded != now:
        raise UsageError(
            f"the unlabelled rows of {Path(folder.path)} have changed since the run began",
            help="start a new run with `zoo finetune`",
        )
