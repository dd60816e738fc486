"""What a transferability score must do before anybody ranks backbones by it."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.catalog import Catalog
from zoo.catalog.factories import import_factory
from zoo.catalog.spec import ScorerSpec
from zoo.errors import ZooError
from zoo.testing.offered import offered
from zoo.testing.report import Broken, Conformance, Inapplicable, law, laws_of, require

Array = NDArray[np.float64]
TRIALS = 5
"""Draws of data; a score has to be right in every one."""


class ScorerSubject:
    """One score: features (N, D) and labels (N,) to a number, greater for better.

    One that needs the source's own head is given the softmax of the features, as that of a head of D classes.
    """

    def __init__(self, spec: ScorerSpec) -> None:
        self.spec = spec

    @functools.cached_property
    def factory(self) -> Any:
        """Imported once."""
        return import_factory(self.spec.factory, f"scorer {self.spec.name}")

    def given(self, features: NDArray[Any]) -> NDArray[Any]:
        """What the score is called with."""
        if self.spec.needs == "features":
            return features
        found = np.exp(features.astype(np.float64) - np.nan_to_num(features).max(1, keepdims=True))
        return np.asarray(found / found.sum(1, keepdims=True))

    def score(self, features: NDArray[Any], labels: NDArray[Any]) -> float:
        """What it says.

        Raises:
            Broken: anything but a finite number.
        """
        found = self.factory(self.given(features), labels)
        if not isinstance(found, float | int | np.floating) or not np.isfinite(found):
            raise Broken(f"the score of features {features.shape} is {found!r}, not a finite number")
        return float(found)


def blobs(
    seed: int, *, rows: int = 120, dim: int = 16, classes: int = 4, apart: float = 1.0
) -> tuple[Array, NDArray[np.int64]]:
    """Gaussian classes whose means lie `apart` deviations from the middle, in every direction alike."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    means = rng.standard_normal((classes, dim)) * apart
    return means[labels] + rng.standard_normal((rows, dim)), labels


@law(consequence="the ranking shows NaN, or stops")
def finite(subject: ScorerSubject) -> str:
    """A finite number for many rows and few, wide features and narrow, two classes and twenty, of float32 too."""
    shapes = [(200, 8, 4), (40, 300, 4), (30, 5, 2), (60, 12, 20), (12, 64, 3)]
    for rows, dim, classes in shapes:
        features, labels = blobs(0, rows=rows, dim=dim, classes=classes)
        subject.score(features.astype(np.float32), labels)
    return f"{len(shapes)} shapes"


@law(consequence="a backbone that cannot tell the classes apart is recommended")
def signal_above_noise(subject: ScorerSubject) -> str:
    """Features that tell the classes apart score above noise of the same shape."""
    return _above(subject, rows=200, dim=16, noise=16)


@law(consequence="with few rows the widest backbone wins, whatever it knows: published LogME and H-score do this")
def signal_above_wider_noise(subject: ScorerSubject) -> str:
    """With fewer rows than columns, 64 informative columns score above 512 of noise."""
    return _above(subject, rows=100, dim=64, noise=512)


def _above(subject: ScorerSubject, *, rows: int, dim: int, noise: int) -> str:
    gaps = []
    for seed in range(TRIALS):
        features, labels = blobs(seed, rows=rows, dim=dim, apart=0.5)
        empty = np.random.default_rng(seed + 100).standard_normal((rows, noise))
        gaps.append(subject.score(features, labels) - subject.score(empty, labels))
    wrong = sum(gap <= 0 for gap in gaps)
    said = f"{rows} rows, {dim} columns of signal, {noise} of noise: smallest lead {min(gaps):.3g}"
    require(not wrong, f"{said}; noise wins in {wrong} of {TRIALS} draws")
    return said


@law(consequence="a better backbone is ranked below a worse one")
def grows_with_signal(subject: ScorerSubject) -> str:
    """The further apart the classes, the greater the score."""
    for seed in range(TRIALS):
        scores = [subject.score(*blobs(seed, apart=apart)) for apart in (0.05, 0.4, 1.5)]
        said = ", ".join(f"{score:.3g}" for score in scores)
        require(scores[0] < scores[1] <= scores[2], f"classes 0.05, 0.4 and 1.5 deviations apart score {said}")
    return f"0.05, 0.4 and 1.5 deviations apart: {said}"


@law(consequence="the order of files in a folder decides the ranking")
def row_order(subject: ScorerSubject) -> str:
    """Rows in another order give the same score."""
    features, labels = blobs(0)
    order = np.random.default_rng(1).permutation(len(labels))
    one, other = subject.score(features, labels), subject.score(features[order], labels[order])
    require(_close(one, other, 1e-4), f"{one:.6g} becomes {other:.6g}")
    return f"{one:.4g} either way"


@law(consequence="naming the classes otherwise changes the ranking")
def class_names(subject: ScorerSubject) -> str:
    """Classes numbered otherwise, and with gaps, give the same score."""
    features, labels = blobs(0)
    one = subject.score(features, labels)
    for numbers in ((3, 1, 0, 2), (7, 0, 40, 3)):
        other = subject.score(features, np.asarray(numbers)[labels])
        require(_close(one, other, 1e-4), f"{one:.6g} becomes {other:.6g} with the classes numbered {numbers}")
    return f"{one:.4g} under 3 numberings"


@law(consequence="a rotation, which no linear head would notice, changes the ranking")
def rotation(subject: ScorerSubject) -> str:
    """Features turned by an orthogonal matrix score the same."""
    if subject.spec.needs == "source":
        raise Inapplicable("its columns are classes of the source, which nobody turns")
    features, labels = blobs(0)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((features.shape[1],) * 2))[0]
    one, other = subject.score(features, labels), subject.score(features @ turn, labels)
    require(_close(one, other, 1e-3), f"{one:.6g} becomes {other:.6g}")
    return f"{one:.4g} either way"


@law(consequence="the same data ranked twice give two rankings")
def repeats(subject: ScorerSubject) -> str:
    """The same call gives the same score, leaves its arrays alone, and touches no global generator."""
    features, labels = blobs(0)
    copies = features.copy(), labels.copy()
    state = str(np.random.get_state())
    one, other = subject.score(features, labels), subject.score(features, labels)
    require(one == other, f"{one!r}, then {other!r}")
    require(np.array_equal(features, copies[0]) and np.array_equal(labels, copies[1]), "its arrays were changed")
    require(state == str(np.random.get_state()), "numpy's global generator moved")
    return f"{one!r} twice"


@law(consequence="a NaN in one backbone's features ranks it anywhere, or a data set of one class seems to be solved")
def refuses_nonsense(subject: ScorerSubject) -> str:
    """Features that are not finite, and labels of one class, are refused with an error that says so."""
    features, labels = blobs(0)
    broken = features.copy()
    broken[3, 2] = np.nan
    for what, args in {"NaN": (broken, labels), "one class": (features, np.zeros_like(labels))}.items():
        try:
            found = subject.factory(subject.given(args[0]), args[1])
        except ZooError:
            continue
        except Exception as error:
            raise Broken(f"{what} raises {type(error).__name__}, not a zoo.DataError: {error}") from error
        raise Broken(f"{what} scores {found!r}")
    return "both with an error of zoo's"


@law(consequence="a ranking on several labels or on numbers is left to chance")
def labels_and_numbers(subject: ScorerSubject) -> str:
    """Several labels and numbers, where it says that it scores them: what tells them scores above noise."""
    kinds = [kind for kind in ("multilabel", "regression") if kind in subject.spec.tasks]
    if not kinds or subject.spec.needs == "source":
        raise Inapplicable("it scores classes alone")
    gaps = {}
    for kind in kinds:
        rng = np.random.default_rng(0)
        features, noise = rng.standard_normal((120, 16)), rng.standard_normal((120, 64))
        numbers = features[:, :3] + 0.3 * rng.standard_normal((120, 3))
        targets: NDArray[Any] = numbers > 0 if kind == "multilabel" else numbers
        gaps[kind] = subject.score(features, targets) - subject.score(noise, targets)
    said = ", ".join(f"{kind}: leads by {gap:.3g}" for kind, gap in gaps.items())
    require(min(gaps.values()) > 0, f"{said}; noise wins")
    return said


@law(consequence="`zoo rank` shows an interval that is not that of the score")
def mean_of_rows(subject: ScorerSubject) -> str:
    """Its values by row, where it has them, are one a row, and their mean is the score."""
    if subject.spec.rows is None:
        raise Inapplicable("it has no values by row")
    features, labels = blobs(0)
    values = np.asarray(
        import_factory(subject.spec.rows, f"scorer {subject.spec.name}")(subject.given(features), labels)
    )
    require(values.shape == labels.shape, f"{labels.shape[0]} rows have values {values.shape}")
    one, other = float(values.mean()), subject.score(features, labels)
    require(_close(one, other, 1e-9), f"the mean over rows is {one:.6g}, the score {other:.6g}")
    return f"{one:.4g} either way"


def _close(one: float, other: float, tolerance: float) -> bool:
    return abs(one - other) <= tolerance * max(abs(one), 1e-3)


SCORER_LAWS = laws_of(
    "scorer",
    (finite, signal_above_noise, signal_above_wider_noise, grows_with_signal, row_order, class_names, rotation),
    (repeats, refuses_nonsense, labels_and_numbers, mean_of_rows),
)


def check_scorer(
    scorer: str | ScorerSpec, *, catalog: Catalog | None = None, only: Collection[str] | None = None
) -> Conformance:
    """Hold one transferability score against every law of the contract.

    Args:
        scorer: its name, or its specification.
        catalog: where the name is looked up; the installed plugins by default.
        only: names of the checks to run; all of them if None.

    Raises:
        UnknownNameError: no scorer or check has that name.
    """
    spec: ScorerSpec = offered("scorer", scorer, catalog) if isinstance(scorer, str) else scorer
    return SCORER_LAWS.hold(f"scorer {spec.name}", ScorerSubject(spec), only=only)
