"""The data sets of `zoo_starter`: what they declare, and that they are the same each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import zoo_starter
from sklearn.datasets import load_digits

import zoo
from zoo import Catalog

CATALOG = Catalog.of({"starter": zoo_starter})


def dataset(name: str) -> zoo.Table:
    from zoo.catalog.factories import import_factory

    return import_factory(CATALOG.datasets[name].factory, name)()


@pytest.mark.parametrize("name", list(CATALOG.datasets))
def test_a_data_set_is_what_it_declares(name: str) -> None:
    spec, table = CATALOG.datasets[name], dataset(name)
    assert spec.rows in (None, len(table))
    assert set(table.columns) == {*spec.modalities, "label"}
    assert all(isinstance(label, str) for label in table.columns["label"])
    assert all(len(column) == len(table) for column in table.columns.values())
    assert table.names is None or len(set(table.names)) == len(table)


@pytest.mark.parametrize("name", ["builtin:glyphs", "builtin:numerals"])
def test_drawn_data_is_the_same_each_time(name: str) -> None:
    assert _bytes(dataset(name).columns) == _bytes(dataset(name).columns)


@pytest.mark.parametrize("name", list(CATALOG.datasets))
def test_no_row_is_there_twice(name: str) -> None:
    table = dataset(name)
    for modality in CATALOG.datasets[name].modalities:
        column = table.columns[modality]
        values = [ref.array.tobytes() for ref in column] if modality == "image" else list(column)
        assert len(set(values)) == len(table)


@pytest.mark.parametrize(
    ("name", "classes"),
    [("sklearn:digits", 10), ("builtin:glyphs", 26), ("builtin:docstrings", 8), ("builtin:numerals", 10)],
)
def test_a_data_set_is_read_as_classes(name: str, classes: int) -> None:
    read = zoo.read_dataset(name, catalog=CATALOG)
    assert read.task.kind == "multiclass"
    assert len(read.task.classes) == classes
    assert read.modalities == CATALOG.datasets[name].modalities
    assert [each for each in read.problems if each.level == "error"] == []


def test_digits_are_those_of_scikit_learn() -> None:
    bunch, table = load_digits(), dataset("sklearn:digits")
    assert [int(label) for label in table.columns["label"]] == list(bunch.target)
    shown = np.stack([ref.array for ref in table.columns["image"]]) / 255 * 16
    assert np.abs(shown - bunch.images).max() < 16 / 255


def _bytes(columns: Mapping[str, Sequence[object]]) -> list[object]:
    return [
        [ref.array.tobytes() if isinstance(ref, zoo.ImageRef) else ref for ref in column]  # type: ignore[union-attr]
        for column in columns.values()
    ]
