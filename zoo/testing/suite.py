"""The kit as pytest tests: one line makes a test of every check of a subject."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import pytest

from zoo.catalog.catalog import Catalog
from zoo.catalog.spec import BackboneSpec
from zoo.errors import UnknownNameError
from zoo.models.backbone import Backbone
from zoo.testing.backbones import BACKBONE_LAWS
from zoo.testing.datasets import DATASET_LAWS, DatasetSubject
from zoo.testing.heads import HEAD_LAWS, HeadSubject
from zoo.testing.offered import offered
from zoo.testing.pytest_plugin import PROPERTY
from zoo.testing.report import Law, Laws
from zoo.testing.scorers import SCORER_LAWS, ScorerSubject
from zoo.testing.strategies import STRATEGY_LAWS, subject_of
from zoo.testing.subject import BackboneSubject

S = TypeVar("S")


def backbone_tests(
    backbone: str | BackboneSpec | Callable[[], Backbone],
    *,
    catalog: Catalog | None = None,
    weights: str | None = "random",
    image_size: int | None = None,
    leave_out: Collection[str] = (),
) -> Callable[..., None]:
    """A test of every law of a backbone: `test_tiny = backbone_tests("mine/tiny")`.

    Args:
        backbone: a name such as "mine/tiny", a specification, or a function that builds the backbone.
        catalog: where a name is looked up; the installed plugins by default.
        weights: "random" needs nothing but the factory; None takes the default weights.
        image_size: pixels of the shorter side, for a convolutional network that takes any.
        leave_out: names of checks that are no tests here.
    """

    def make() -> BackboneSubject:
        given = backbone() if callable(backbone) else backbone
        return BackboneSubject(given, catalog=catalog, weights=weights, image_size=image_size)

    return _tests(BACKBONE_LAWS, _said(backbone), make, leave_out)


def head_tests(head: str, *, catalog: Catalog | None = None, leave_out: Collection[str] = ()) -> Callable[..., None]:
    """A test of every law of a head: `test_cosine = head_tests("cosine")`."""
    return _tests(HEAD_LAWS, f"head {head}", lambda: HeadSubject(offered("head", head, catalog)), leave_out)


def strategy_tests(
    strategy: str, *, catalog: Catalog | None = None, leave_out: Collection[str] = ()
) -> Callable[..., None]:
    """A test of every law of a strategy: `test_mine = strategy_tests("top-then-all")`."""
    make = lambda: subject_of(offered("strategy", strategy, catalog))  # noqa: E731
    return _tests(STRATEGY_LAWS, f"strategy {strategy}", make, leave_out)


def scorer_tests(
    scorer: str, *, catalog: Catalog | None = None, leave_out: Collection[str] = ()
) -> Callable[..., None]:
    """A test of every law of a scorer: `test_mine = scorer_tests("nearest-centroid")`."""
    return _tests(SCORER_LAWS, f"scorer {scorer}", lambda: ScorerSubject(offered("scorer", scorer, catalog)), leave_out)


def dataset_tests(
    dataset: str, *, catalog: Catalog | None = None, leave_out: Collection[str] = ()
) -> Callable[..., None]:
    """A test of every law of a data set: `test_words = dataset_tests("mine:words")`."""
    make = lambda: DatasetSubject(offered("dataset", dataset, catalog))  # noqa: E731
    return _tests(DATASET_LAWS, f"dataset {dataset}", make, leave_out)


def _tests(laws: Laws[S], name: str, make: Callable[[], S], leave_out: Collection[str]) -> Callable[..., None]:
    for each in leave_out:
        if each not in laws.names:
            raise UnknownNameError("check", each, laws.names, help=f"the checks are {', '.join(laws.names)}")
    chosen = [law for law in laws.laws if law.name not in leave_out]
    subject = functools.cache(make)

    @pytest.mark.parametrize("law", chosen, ids=lambda law: law.name)
    def test(law: Law[S], record_property: Callable[[str, object], None]) -> None:
        result = law.hold(subject())
        record_property(PROPERTY, [name, len(chosen), result.status])
        if result.status == "skip":
            pytest.skip(result.measured)
        if result.status == "fail":
            pytest.fail(f"{name}\n{result}", pytrace=False)

    return test


def _said(backbone: Any) -> str:
    if isinstance(backbone, str):
        return backbone
    return str(getattr(backbone, "name", getattr(backbone, "__name__", "backbone")))
