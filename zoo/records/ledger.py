"""The ledger: every finished run and every ranking in one SQLite file, which later rankings learn from.

Writing to it never costs a run: a file that is damaged, locked or read-only is said once, and the run goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from zoo.errors import DataError, UsageError
from zoo.records.entries import Entry, PastRanking, PastRun
from zoo.records.plain import json_safe

T = TypeVar("T")
E = TypeVar("E", PastRun, PastRanking)

VERSION = 1
"""Of the tables."""
WAIT_SECONDS = 10.0
"""For another process that is writing; each writes for milliseconds."""
OFF = ("off", "0", "no", "false")
_TABLES: Mapping[type[Entry], str] = {PastRun: "runs", PastRanking: "rankings"}


def ledger_file() -> Path:
    """Where the ledger is, or would be: as `ZOO_LEDGER` says, else in `ZOO_HOME`, else among the user's data.

    Not in the cache folder, as it cannot be made again.
    """
    given = os.environ.get("ZOO_LEDGER", "").strip()
    if given and given.lower() not in (*OFF, "on", "1"):
        return Path(given).expanduser()
    home = os.environ.get("ZOO_HOME")
    if home:
        return Path(home).expanduser() / "ledger.sqlite"
    import platformdirs

    return Path(platformdirs.user_data_dir("zoo")) / "ledger.sqlite"


def why_off() -> str | None:
    """Why nothing is written down; None where it is."""
    if os.environ.get("ZOO_LEDGER", "").strip().lower() in OFF:
        return "ZOO_LEDGER is off"
    return "`zoo ledger off` switched it off" if _switch().exists() else None


def switch(*, on: bool) -> None:
    """Write runs down from now on, or no longer; for this user, until it is said otherwise.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        if on:
            _switch().unlink(missing_ok=True)
        else:
            _switch().parent.mkdir(parents=True, exist_ok=True)
            _switch().touch()
    except OSError as error:
        raise UsageError(
            f"{_switch().parent} cannot be written: {error.strerror}", help="set ZOO_LEDGER=off instead"
        ) from error


def _switch() -> Path:
    file = ledger_file()
    return file.with_name(f"{file.name}.off")


def record_run(run: PastRun) -> None:
    """Write a finished run down; what stands in the way costs one warning, never the run."""
    _record([run])


def record_runs(runs: Sequence[PastRun]) -> None:
    """Write several down at once, as `record_run` does one."""
    _record(runs)


def record_ranking(ranking: PastRanking) -> None:
    """Write a ranking down; what stands in the way costs one warning, never the ranking."""
    _record([ranking])


def _record(entries: Sequence[Entry]) -> None:
    if why_off() is None:
        _guarded(lambda: add(entries), None)


def past_runs() -> list[PastRun]:
    """Every run that was written down, the newest first; none where the ledger cannot be read, which is said once."""
    return _guarded(lambda: read(PastRun), [])


def past_rankings() -> list[PastRanking]:
    """Every ranking that was written down, the newest first; none where the ledger cannot be read."""
    return _guarded(lambda: read(PastRanking), [])


_said: set[str] = set()
"""Ledgers of which this process has said that they cannot be used."""


def _guarded(work: Callable[[], T], instead: T) -> T:
    try:
        return work()
    except DataError as error:
        if error.what not in _said:
            _said.add(error.what)
            warnings.warn(f"{error.what}; {error.help}", stacklevel=3)
        return instead


def add(entries: Iterable[Entry], *, file: Path | None = None) -> int:
    """Write entries down, all or none; how many were new.

    Raises:
        DataError: the file cannot be used.
    """
    path = file or ledger_file()
    with _opened(path, write=True) as database:
        before = database.total_changes
        for each in entries:
            database.execute(
                f"INSERT OR IGNORE INTO {_TABLES[type(each)]} (id, time, entry) VALUES (?, ?, ?)",
                (each.id, each.time, json.dumps(json_safe(each.to_json()), allow_nan=False)),
            )
        return database.total_changes - before


def read(kind: type[E], *, file: Path | None = None) -> list[E]:
    """Every entry of a kind, the newest first.

    Raises:
        DataError: the file cannot be used.
    """
    path = file or ledger_file()
    if not path.exists():
        return []
    with _opened(path) as database:
        there = _has_tables(database, path)
        query = f"SELECT entry FROM {_TABLES[kind]} ORDER BY time DESC, rowid DESC"
        rows = database.execute(query).fetchall() if there else []
    try:
        return [kind.of(json.loads(text)) for (text,) in rows]
    except (ValueError, TypeError) as error:
        raise _unusable(path, f"an entry of it is damaged: {error}") from error


def forget(ids: Iterable[str], *, file: Path | None = None) -> int:
    """Strike entries out for good; how many there were.

    Raises:
        DataError: the file cannot be used.
    """
    path = file or ledger_file()
    if not path.exists():
        return 0
    with _opened(path, write=True) as database:
        before = database.total_changes
        for each in ids:
            for table in _TABLES.values():
                database.execute(f"DELETE FROM {table} WHERE id = ?", (each,))
        return database.total_changes - before


@contextlib.contextmanager
def _opened(path: Path, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """The database for one short transaction, made if it is to be written and is not there."""
    try:
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
        # A journal rather than a write-ahead log: that needs shared memory, which network folders do not have.
        database = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
        with contextlib.closing(database):
            database.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                if write:
                    _make_tables(database, path)
                yield database
            except BaseException:
                if database.in_transaction:  # some faults, such as a full disk, end it themselves
                    database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        raise _unusable(path, str(error)) from error


def _has_tables(database: sqlite3.Connection, path: Path) -> bool:
    """Whether they are there already; a file that another process is just making has none."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise _unusable(path, f"a later zoo wrote it (format {version}, this one knows {VERSION})")
    if version == 0 and database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise _unusable(path, "another program made it")
    return bool(version)


def _make_tables(database: sqlite3.Connection, path: Path) -> None:
    if _has_tables(database, path):
        return
    columns = "id TEXT PRIMARY KEY, time TEXT NOT NULL, entry TEXT NOT NULL"
    for table in _TABLES.values():
        database.execute(f"CREATE TABLE {table} ({columns})")
    database.execute(f"PRAGMA user_version = {VERSION}")


def _unusable(path: Path, why: str) -> DataError:
    return DataError(
        f"the ledger {path} cannot be used: {why}",
        help="move it away and a new one is begun, or set ZOO_LEDGER to another file or to off",
    )
