"""What every score must do: signal above noise in few rows, and no change where nothing that matters changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import zoo
from zoo import DataError
from zoo.catalog.factories import import_factory
from zoo.testing import check_scorer

Array = np.ndarray[Any, Any]
SCORERS = zoo.default_catalog().scorers
OF_FEATURES = [name for name, spec in SCORERS.items() if spec.needs == "features"]
SHOWN = ["knn", "linear", "logme", "h-score"]
OF_NUMBERS = [name for name, spec in SCORERS.items() if "regression" in spec.tasks]


def score(name: str) -> Callable[[Array, Array], float]:
    return import_factory(SCORERS[name].factory, name)


def blobs(seed: int, rows: int, dim: int, classes: int = 2, apart: float = 0.2) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    return (apart * rng.standard_normal((classes, dim)))[labels] + rng.standard_normal((rows, dim)), labels


@pytest.mark.parametrize("name", list(SCORERS))
def test_every_scorer_of_zoo_passes_the_kit(name: str) -> None:
    found = check_scorer(name)
    assert found.passed, str(found)


@pytest.fixture(scope="module")
def wide() -> list[tuple[Array, Array, Array]]:
    """244 rows of two classes, as in hymenoptera: 512 informative columns against 2,048 of noise."""
    noise = [np.random.default_rng(100 + seed).standard_normal((244, 2048)) for seed in range(20)]
    return [(*blobs(seed, 244, 512), noise[seed]) for seed in range(20)]


@pytest.mark.parametrize("name", OF_FEATURES)
def test_512_informative_columns_score_above_2048_of_noise_in_244_rows(name: str, wide: Any) -> None:
    draws = wide if name in SHOWN else wide[:5]
    assert all(score(name)(signal, labels) > score(name)(noise, labels) for signal, labels, noise in draws)


@pytest.mark.parametrize("name", OF_FEATURES)
@pytest.mark.parametrize("rows", [40, 90])
def test_the_scale_of_features_does_not_matter(name: str, rows: int) -> None:
    features, labels = blobs(0, rows, 60, classes=3, apart=0.5)
    one = score(name)(features, labels)
    assert score(name)(features * 1000, labels) == pytest.approx(one, rel=1e-6)
    assert score(name)(features / 1000, labels) == pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize("name", [each for each in OF_FEATURES if each != "logme"])
def test_where_the_origin_lies_does_not_matter_to_any_but_logme(name: str) -> None:
    features, labels = blobs(0, 90, 20, classes=3, apart=0.5)
    assert score(name)(features + 7, labels) == pytest.approx(score(name)(features, labels), rel=1e-6)


@pytest.mark.parametrize("name", ["knn", "linear"])
def test_copies_of_a_row_do_not_answer_for_it(name: str) -> None:
    noise, labels = np.random.default_rng(0).standard_normal((60, 200)), np.arange(60) % 2
    assert score(name)(np.vstack([noise, noise]), np.tile(labels, 2)) < 0.7


@pytest.mark.parametrize("name", ["logme", "h-score", "nleep", "sfda", "gbc"])
def test_copies_of_rows_are_no_further_evidence(name: str) -> None:
    features, labels = blobs(0, 60, 80, classes=3, apart=0.5)
    some = np.r_[np.arange(60), np.arange(20), np.arange(10)]
    assert score(name)(features[some], labels[some]) == score(name)(features, labels)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_a_class_of_one_row_and_a_number_without_rows_are_no_obstacle(name: str) -> None:
    features, labels = blobs(0, 61, 80, classes=3, apart=0.5)
    labels = np.array([0, 2, 3])[labels]
    labels[-1] = 9
    assert np.isfinite(score(name)(features, labels))


@pytest.mark.parametrize("name", OF_FEATURES)
def test_classes_that_are_single_points_are_told_apart(name: str) -> None:
    labels = np.arange(24) % 4
    found = score(name)(np.eye(4)[labels], labels)
    assert np.isfinite(found)
    if name in ("knn", "linear"):
        assert found == 1


@pytest.mark.parametrize("name", OF_FEATURES)
def test_nothing_is_scored_silently(name: str) -> None:
    features, labels = blobs(0, 20, 5)
    with pytest.raises(DataError, match="all 20 rows have the class 0"):
        score(name)(features, np.zeros_like(labels))
    with pytest.raises(DataError, match="1 of 20 rows have features that are not finite, the first is row 3"):
        score(name)(np.where(np.arange(20)[:, None] == 3, np.nan, features), labels)
    with pytest.raises(DataError, match="the features of all 20 rows are the same"):
        score(name)(np.ones((20, 5)), labels)
    with pytest.raises(DataError, match=r"not \(20, 5\) and \(19,\)"):
        score(name)(features, labels[:19])


@pytest.mark.parametrize("name", [each for each in OF_FEATURES if each not in OF_NUMBERS])
def test_a_score_of_classes_refuses_numbers(name: str) -> None:
    with pytest.raises(DataError, match="defined for classes, not for numbers"):
        score(name)(np.random.default_rng(0).standard_normal((20, 5)), np.linspace(0, 1, 20))


@pytest.mark.parametrize("name", OF_NUMBERS)
@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_labels_and_numbers_are_scored_too(name: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    features, noise = rng.standard_normal((120, 20)), rng.standard_normal((120, 300))
    numbers = features[:, :3] + 0.1 * rng.standard_normal((120, 3))
    targets = numbers > 0 if kind == "labels" else numbers
    assert score(name)(features, targets) > score(name)(noise, targets)
    if name != "logme":
        assert score(name)(noise, targets) < 0.1
    if kind == "numbers":  # another unit
        assert score(name)(features, 40 + 100 * targets) == pytest.approx(score(name)(features, targets), rel=1e-6)


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_a_label_that_every_row_has_counts_for_nothing(name: str) -> None:
    features = np.random.default_rng(0).standard_normal((60, 8))
    labels = features[:, :2] > 0
    constant = np.hstack([labels, np.ones((60, 1), dtype=bool)])
    assert score(name)(features, constant) == score(name)(features, labels)
    with pytest.raises(DataError, match="every target is the same in all 60 rows"):
        score(name)(features, np.ones((60, 2), dtype=bool))
