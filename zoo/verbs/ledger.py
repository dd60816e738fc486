"""Runs and comparisons as entries of the ledger; the ledger as files, and back."""

from __future__ import annotations

import csv
import datetime
import io
import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import DataError, UsageError, ZooError
from zoo.records import ledger
from zoo.records.entries import Entry, PastRanking, PastRun
from zoo.records.files import published
from zoo.records.runs import RunFolder

if TYPE_CHECKING:
    from zoo.comparison.result import Comparison

RUN, RANKING = "run", "ranking"
"""Kinds of line in a JSONL file."""


@dataclass(frozen=True)
class Imported:
    """What became of the entries of a file, or of the runs of a folder."""

    new: int
    known: int
    """That were there already."""
    left_out: dict[str, str]
    """Runs that have no result, and why."""

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints."""
        return {"new": self.new, "known": self.known, "left_out": self.left_out}


def write_down(folder: RunFolder) -> None:
    """Put a finished run into the ledger; what stands in the way costs one warning, never the run."""
    if ledger.why_off() is None:
        try:
            ledger.record_run(run_of(folder))
        except DataError as error:
            warnings.warn(f"the run is not in the ledger: {error.what}", stacklevel=2)


def write_comparison(comparison: Comparison) -> None:
    """Put what a comparison measured into the ledger; what it trained in run folders is there already."""
    ledger.record_runs(runs_of(comparison))


def run_of(folder: RunFolder) -> PastRun:
    """The entry of a finished run.

    Raises:
        DataError: the run has not ended well, or its files are damaged.
    """
    import yaml

    from zoo.data.types import Task
    from zoo.transfer.metrics import greater_is_better, primary

    record, data, model = (folder.read_json(name) for name in ("run.json", "data.json", "model/config.json"))
    result = record.get("result")
    if record.get("status") != "done" or not isinstance(result, dict):
        raise DataError(f"{folder.path} has no result: it is {record.get('status', 'no run')}")
    try:
        config = yaml.safe_load((folder.path / "config.yaml").read_text(encoding="utf-8"))
        task = Task(result["task"], tuple(result["classes"]), tuple(result.get("targets") or ()))
        metric = primary(task)
        taught = config.get("distill") is not None
        return PastRun(
            backbone=result["backbone"],
            modalities=tuple(dict.fromkeys(each for part in model["parts"] for each in part["towers"])),
            task=task.kind,
            data=data["name"],
            fingerprint=data["fingerprint"],
            rows=result["rows"]["train"],
            classes=len(task.classes) or len(task.targets),
            # Beside a teacher the same strategy is another one.
            strategy=f"{result['strategy']}, distilled" if taught else result["strategy"],
            metric=metric,
            value=result["metrics"].get(metric),
            greater=greater_is_better(metric),
            split=result["split"],
            head=model["head"]["name"],
            shots=config["read"]["shots"],
            seed=config["train"]["seed"],
            leak=bool(result["leak"]),
            params=result["params"],
            seconds=result["seconds"],
            device=result["device"],
            zoo=folder.read_json("env.json").get("packages", {}).get("zoo", ""),
            time=_in_utc(record["ended"]),
            run=str(folder.path.absolute()),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OSError, yaml.YAMLError) as error:
        raise DataError(f"{folder.path} is damaged: {type(error).__name__}: {error}") from error


def runs_of(comparison: Comparison) -> list[PastRun]:
    """What a comparison measured without a run folder: heads that were solved on frozen features, a run a seed."""
    from zoo.transfer.metrics import greater_is_better

    protocol = comparison.protocol
    data = {each.name: each for each in comparison.data}
    contenders = {each.title: each for each in comparison.contenders}
    found = []
    for standing in comparison.standings:
        rows, who = data[standing.data], contenders[standing.contender]
        if standing.runs:
            continue
        for value, seed in zip(standing.values, protocol.seeds, strict=False):
            found.append(
                PastRun(
                    backbone=who.backbone,
                    modalities=who.modalities,
                    task=rows.task,
                    data=rows.name,
                    fingerprint=rows.fingerprint,
                    rows=standing.rows,
                    classes=max(len(rows.classes), 1),
                    strategy=who.strategy,
                    metric=rows.metric,
                    value=value,
                    greater=greater_is_better(rows.metric),
                    split=rows.held_out,
                    head=protocol.head or "linear",
                    shots=None if standing.shots == "all" else standing.shots,
                    seed=seed,
                    params=who.params,
                    seconds=None if standing.cost is None else standing.cost.train_seconds,
                    device=protocol.machine.get("device"),
                    zoo=protocol.zoo,
                    time=_in_utc(protocol.started),
                )
            )
    return found


def export(file: str | Path, entries: Sequence[Entry]) -> int:
    """Write entries into a .jsonl file, or runs into a .csv file; how many were written.

    Raises:
        UsageError: a file of another kind, or one that cannot be written.
    """
    path = Path(file)
    if path.suffix not in (".jsonl", ".csv"):
        raise UsageError(f"'{file}' has no known ending", help="use .jsonl for all, or .csv for the runs")
    runs = [each for each in entries if isinstance(each, PastRun)]
    kept = entries if path.suffix == ".jsonl" else runs
    try:
        with published(path) as temporary:
            temporary.write_text(_jsonl(kept) if path.suffix == ".jsonl" else _csv(runs), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}", help="choose another file") from error
    return len(kept)


def import_from(source: str | Path) -> Imported:
    """Take in a file that was exported, a run, or every run and comparison below a folder; twice the same is once.

    Raises:
        UsageError: there is no such file or folder, or no run in it.
        DataError: a line of the file is none of the ledger's; then nothing is taken.
    """
    path = Path(source)
    left_out: dict[str, str] = {}
    if path.is_dir():
        entries = list(_runs_below(path, left_out))
    elif path.suffix in (".jsonl", ".csv") and path.is_file():
        entries = _entries(path)
    else:
        raise UsageError(f"there is nothing to import at {source}", help="give a .jsonl or .csv file, or a runs folder")
    unique = {each.id: each for each in entries}
    new = ledger.add(unique.values())
    return Imported(new, len(unique) - new, left_out)


def _runs_below(path: Path, left_out: dict[str, str]) -> Iterable[Entry]:
    from zoo.comparison.result import FILE, read_comparison

    files = sorted(each for name in ("run.json", FILE) for each in path.rglob(name) if not each.parent.is_symlink())
    if not files:
        raise UsageError(f"there is no run below {path}", help="name the folder of a run, or one that holds runs")
    for file in files:
        try:
            yield from runs_of(read_comparison(file)) if file.name == FILE else [run_of(RunFolder(file.parent))]
        except ZooError as error:
            left_out[str(file.parent)] = error.what


def _entries(path: Path) -> list[Entry]:
    found: list[Entry] = []
    rows = _csv_rows(path) if path.suffix == ".csv" else _jsonl_rows(path)
    for line, plain in rows:
        try:
            kind = plain.get("kind", RUN)
            if kind not in (RUN, RANKING):
                raise ValueError(f"its kind is {kind!r}, not {RUN} or {RANKING}")
            found.append((PastRun if kind == RUN else PastRanking).of(plain))
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error}", help="nothing was imported; mend the line") from error
    return found


def _jsonl_rows(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            plain = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: no JSON ({error})", help="nothing was imported") from error
        if not isinstance(plain, dict):
            raise DataError(f"{path}, line {number}: no object", help="nothing was imported")
        yield number, plain


def _csv_rows(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    for row in reader:
        # An empty cell is what was not known.
        yield reader.line_num, {name: value for name, value in row.items() if name and value not in ("", None)}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}", help="nothing was imported") from error


def _jsonl(entries: Sequence[Entry]) -> str:
    lines = []
    for each in entries:
        kind = RUN if isinstance(each, PastRun) else RANKING
        lines.append(json.dumps({"kind": kind, "id": each.id, **each.to_json()}, ensure_ascii=False) + "\n")
    return "".join(lines)


def _csv(runs: Sequence[PastRun]) -> str:
    out = io.StringIO()
    writer: Any = None
    for each in runs:
        plain = {"id": each.id, **each.to_json(), "modalities": "+".join(each.modalities)}
        writer = writer or csv.DictWriter(out, list(plain), lineterminator="\n")
        if not out.tell():
            writer.writeheader()
        writer.writerow(plain)
    return out.getvalue()


def _in_utc(time: str) -> str:
    """The ledger's form of a time with its offset."""
    return datetime.datetime.fromisoformat(time).astimezone(datetime.UTC).isoformat(timespec="seconds")
