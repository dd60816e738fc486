"""The scorer against a closed form, the slow way of counting, and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import NearestCentroid
from zoo_mixer.scorer import nearest_centroid

import zoo


def blobs(apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat([3, 5, 9], (7, 12, 20))
    return rng.normal(size=(39, 4)) + apart * labels[:, None], labels


@pytest.mark.parametrize("apart", [0.0, 0.1, 0.3, 2.0])
def test_it_is_the_leave_one_out_accuracy_of_scikit_learn(apart: float) -> None:
    features, labels = blobs(apart)
    theirs = cross_val_score(NearestCentroid(), features, labels, cv=LeaveOneOut()).mean()
    assert nearest_centroid(features, labels) == pytest.approx(theirs)


def test_noise_scores_what_guessing_scores_however_wide_it_is() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    scores = [nearest_centroid(rng.normal(size=(400, width)), labels) for width in (2, 64, 2048)]
    assert max(scores) < 0.6  # 0.5 and four deviations of a share of 400 rows


def test_a_row_alone_in_its_class_is_never_right() -> None:
    features = np.array([[0.0], [0.1], [9.0]])
    assert nearest_centroid(features, np.array([0, 0, 1])) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("features", "labels", "said"),
    [([[0.0], [1.0]], [1, 1], "compares classes, and there is 1"), ([[0.0], [np.nan]], [0, 1], "not finite")],
)
def test_what_cannot_be_scored_is_a_data_error(features: list[list[float]], labels: list[int], said: str) -> None:
    with pytest.raises(zoo.DataError, match=said):
        nearest_centroid(np.array(features), np.array(labels))
