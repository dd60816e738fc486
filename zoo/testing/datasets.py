"""What a data set of a plugin must do: the rows it promises, the same at every call, fit to be split and trained on."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

import numpy as np
import torch

from zoo.catalog.catalog import Catalog
from zoo.catalog.factories import import_factory
from zoo.catalog.spec import DatasetSpec
from zoo.data.reading import dataset_of
from zoo.data.types import Dataset, Problem, ReadOptions, Table
from zoo.testing.offered import offered
from zoo.testing.report import Broken, Conformance, few, law, laws_of, require
from zoo.verbs.check import look_at_files


class DatasetSubject:
    """One data set, as its factory gives it and as zoo reads it."""

    def __init__(self, spec: DatasetSpec) -> None:
        self.spec = spec

    def load(self) -> Table:
        """What the factory gives.

        Raises:
            Broken: no table.
        """
        found: Any = import_factory(self.spec.factory, f"data set {self.spec.name}")()
        if not isinstance(found, Table):
            raise Broken(f"the factory gave a {type(found).__name__}, no zoo.Table")
        return found

    @functools.cached_property
    def table(self) -> Table:
        """Loaded once."""
        return self.load()

    @functools.cached_property
    def data(self) -> Dataset:
        """As every command reads it."""
        return dataset_of(self.table, ReadOptions())


@law(consequence="columns slip against each other: labels belong to other rows")
def columns(subject: DatasetSubject) -> str:
    """All columns, splits and names are of one length, above 0."""
    table = subject.table
    lengths = {name: len(column) for name, column in table.columns.items()}
    if table.split is not None:
        lengths["split"] = len(table.split)
    if table.names is not None:
        lengths["names"] = len(table.names)
    require(bool(table.columns), "there is no column")
    require(len(set(lengths.values())) == 1, f"lengths differ: {lengths}")
    require(len(table) > 0, "there is no row")
    return f"{len(table.columns)} columns of {len(table):,} rows"


@law(consequence="`zoo list datasets` promises other data than come")
def as_promised(subject: DatasetSubject) -> str:
    """Rows, modalities and task are those of the specification."""
    rows = len(subject.table)
    require(subject.spec.rows in (None, rows), f"{rows} rows, the specification says {subject.spec.rows}")
    found = set(subject.data.modalities)
    said = set(subject.spec.modalities)
    require(found == said, f"{' and '.join(sorted(found))} are read, the specification says {few(sorted(said))}")
    kind = subject.data.task.kind
    require(kind == subject.spec.task, f"the task is read as {kind}, the specification says {subject.spec.task}")
    return f"{rows:,} rows, {kind}"


@law(consequence="a comparison is not run on the rows that it says, and caches are never hit")
def repeats(subject: DatasetSubject) -> str:
    """Two calls give the same rows, and draw from no global generator."""
    states = torch.random.get_rng_state(), str(np.random.get_state())
    again = dataset_of(subject.load(), ReadOptions())
    require(again.fingerprint == subject.data.fingerprint, "the fingerprints of two calls differ")
    same = torch.equal(states[0], torch.random.get_rng_state()) and states[1] == str(np.random.get_state())
    require(same, "a global generator moved")
    return f"fingerprint {again.fingerprint[:12]}"


@law(consequence="`zoo finetune` on it stops, or reports a number that nobody should trust")
def sound(subject: DatasetSubject) -> str:
    """`zoo check` finds no error: no leak between splits, no class without training rows, no empty input."""
    problems: list[Problem] = []
    dataset_of(subject.table, ReadOptions(), problems=problems)
    problems += look_at_files(subject.data, ReadOptions())[1]
    errors = [problem.message for problem in problems if problem.level == "error"]
    require(not errors, few(errors, 2))
    warnings = [problem.message for problem in problems if problem.level == "warning"]
    return f"no errors; warnings: {few(warnings, 2) or 'none'}"


DATASET_LAWS = laws_of("dataset", (columns, as_promised, repeats, sound))


def check_dataset(
    dataset: str | DatasetSpec, *, catalog: Catalog | None = None, only: Collection[str] | None = None
) -> Conformance:
    """Hold one data set against every law of the contract.

    Args:
        dataset: its name, or its specification.
        catalog: where the name is looked up; the installed plugins by default.
        only: names of the checks to run; all of them if None.

    Raises:
        UnknownNameError: no data set or check has that name.
    """
    spec: DatasetSpec = offered("dataset", dataset, catalog) if isinstance(dataset, str) else dataset
    return DATASET_LAWS.hold(f"dataset {spec.name}", DatasetSubject(spec), only=only)
