"""Scores equal a brute-force computation on small cases, and the published formula where that is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge

from zoo import DataError
from zoo.scoring import gbc, hscore, knn, leep, linear, logme, nleep, sfda
from zoo.scoring.rows import copies

Array = np.ndarray[Any, Any]


def blobs(rows: int, dim: int, classes: int = 3, apart: float = 0.5, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    return (apart * rng.standard_normal((classes, dim)))[labels] + rng.standard_normal((rows, dim)), labels


@pytest.mark.parametrize(("rows", "dim"), [(30, 5), (15, 15), (12, 40)])
def test_logme_is_the_marginal_likelihood_maximised_numerically(rows: int, dim: int) -> None:
    features, labels = blobs(rows, dim, apart=1.0)
    total = []
    for each in range(3):
        y = (labels == each).astype(float)

        def cost(logs: Array, y: Array = y) -> float:
            alpha, beta = np.exp(np.clip(logs, -30, 30))
            covariance = np.eye(rows) / beta + features @ features.T / alpha
            return -float(multivariate_normal.logpdf(y, np.zeros(rows), covariance, allow_singular=True))

        starts = [(0.0, 1.0), (5.0, 2.0)]
        best = min((minimize(cost, start, method="Nelder-Mead", tol=1e-10) for start in starts), key=lambda r: r.fun)
        total.append(-best.fun / rows)
    assert logme.logme(features, labels) == pytest.approx(np.mean(total), abs=1e-6)


def published_evidence(features: Array, y: Array, *, whole: bool) -> float:
    """The fixed point of You et al. 2021; `whole` adds the directions without data to the determinant."""
    n, d = features.shape
    u, s, _ = np.linalg.svd(features, full_matrices=False)
    squares, z = s**2, (u.T @ y) ** 2
    rest = (y**2).sum() - z.sum()
    alpha = beta = 1.0
    for _ in range(500):
        t = alpha / beta
        gamma = (squares / (squares + t)).sum()
        m2, r2 = (squares * z / (t + squares) ** 2).sum(), (z / (1 + squares / t) ** 2).sum() + rest
        alpha, beta = gamma / m2, (n - gamma) / r2
    determinant = np.log(alpha + beta * squares).sum() + (d - len(s)) * np.log(alpha) * whole
    found = d / 2 * np.log(alpha) + n / 2 * np.log(beta) - n / 2 * np.log(2 * np.pi)
    value: float = (found - determinant / 2 - beta * r2 / 2 - alpha * m2 / 2) / n
    return value


def test_logme_is_the_published_formula_where_rows_outnumber_columns() -> None:
    features, labels = blobs(200, 20)
    published = np.mean([published_evidence(features, (labels == k) * 1.0, whole=False) for k in range(3)])
    assert logme.logme(features, labels) == pytest.approx(published, abs=1e-6)


def test_logme_of_few_rows_is_the_published_formula_with_its_missing_term() -> None:
    features, labels = blobs(40, 200)
    features *= 0.97 ** np.arange(200)  # a spectrum that falls, as that of real features
    labels[::3] = np.random.default_rng(1).permutation(labels[::3])
    columns = [(labels == k) * 1.0 for k in range(3)]
    found = logme.logme(features, labels)
    assert found == pytest.approx(np.mean([published_evidence(features, y, whole=True) for y in columns]), abs=1e-6)
    assert np.mean([published_evidence(features, y, whole=False) for y in columns]) > found + 1


def test_the_linear_probe_is_refitted_without_each_row_and_its_copies() -> None:
    features, labels = blobs(18, 6, apart=1.0)
    features[4] = features[9] = features[0]
    columns = np.eye(3)[labels]
    centred = features - features.mean(0)
    size, least, best = (centred**2).sum() / 18, np.inf, columns
    for penalty in linear.PENALTIES * size:
        found = np.empty((18, 3))
        for row in range(18):
            kept = (features != features[row]).any(1)
            # The penalty is on weights of columns less the mean of all rows, with a free intercept.
            found[row] = Ridge(alpha=penalty).fit(centred[kept], columns[kept]).predict(centred[row : row + 1])[0]
        if (loss := float(((found - columns) ** 2).mean())) < least:
            least, best = loss, found
    np.testing.assert_allclose(linear.left_out(features, columns, copies(features)[0]), best, atol=1e-8)


def test_neighbours_are_found_by_a_loop_too() -> None:
    features, labels = blobs(25, 4)
    centred = features - features.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    shares = []
    for k in knn.KS:
        right = 0
        for row in range(25):
            others = [each for each in range(25) if each != row]
            near = sorted(others, key=lambda each, row=row: -unit[row] @ unit[each])[:k]  # type: ignore[misc]
            votes = [sum(1 + 1e-6 * unit[row] @ unit[j] for j in near if labels[j] == c) for c in range(3)]
            right += int(np.argmax(votes)) == labels[row]
        shares.append(right / 25)
    assert knn.knn(features, labels) == pytest.approx(max(shares))


@pytest.mark.parametrize(("rows", "dim"), [(60, 8), (30, 50)])
def test_the_h_score_is_a_trace_of_whole_covariances(rows: int, dim: int) -> None:
    features, labels = blobs(rows, dim)
    covariance, alpha = ledoit_wolf(features)
    means = np.stack([features[labels == each].mean(0) for each in labels])
    expected = np.trace(np.linalg.inv(covariance) @ ((1 - alpha) * np.cov(means.T, bias=True)))
    assert hscore.h_score(features, labels) == pytest.approx(expected, rel=1e-8)


def probabilities(rows: int, classes: int, seed: int = 0) -> Array:
    found = np.exp(2 * np.random.default_rng(seed).standard_normal((rows, classes)))
    shares: Array = found / found.sum(1, keepdims=True)
    return shares


def test_leep_is_counted_by_loops_without_the_row_that_is_asked() -> None:
    given, labels = probabilities(12, 5), np.arange(12) % 3
    total = 0.0
    for row in range(12):
        own, rest = labels[row], [each for each in range(12) if each != row]
        expected = 0.0
        for z in range(5):
            seen = sum(given[each, z] for each in rest) + 1
            right = sum(given[each, z] for each in rest if labels[each] == own) + (labels == own).mean()
            expected += given[row, z] * right / seen
        total += np.log(expected)
    assert leep.leep(given, labels) == pytest.approx(total / 12)


def published_leep(given: Array, labels: Array) -> float:
    joint = given.T @ np.eye(labels.max() + 1)[labels]
    return float(np.log((given @ (joint / joint.sum(1, keepdims=True)))[np.arange(len(labels)), labels]).mean())


def test_leep_and_nce_are_the_published_formulas_where_a_source_class_has_many_rows() -> None:
    given = probabilities(6000, 5)
    labels = np.array([0, 0, 1, 2, 2])[given.argmax(1)]
    labels[::7] = 1
    assert leep.leep(given, labels) == pytest.approx(published_leep(given, labels), abs=2e-3)
    hard = np.eye(5)[given.argmax(1)]
    joint = hard.T @ np.eye(3)[labels] / 6000
    entropy = -np.nansum(joint * np.log(np.where(joint > 0, joint / joint.sum(1, keepdims=True), 1)))
    assert leep.nce(given, labels) == pytest.approx(-entropy, abs=2e-3)


def test_a_head_of_a_thousand_classes_explains_nothing_of_240_rows_by_chance() -> None:
    given, labels = probabilities(240, 1000) ** 4, np.arange(240) % 4
    given /= given.sum(1, keepdims=True)
    assert published_leep(given, labels) > -0.9  # of log(1/4) = -1.39
    assert leep.leep(given, labels) == pytest.approx(np.log(1 / 4), abs=0.05)
    assert -1.6 < leep.nce(given, labels) < np.log(1 / 4)


def test_leep_refuses_what_is_no_probability() -> None:
    with pytest.raises(DataError, match=r"LEEP takes the probabilities of a source's head, and row \d+ adds up to"):
        leep.leep(np.random.default_rng(0).standard_normal((20, 4)), np.arange(20) % 2)


def test_gbc_is_counted_by_loops() -> None:
    features, labels = blobs(60, 6, apart=0.3)
    means = [features[labels == k].mean(0) for k in range(3)]
    within = np.mean([((x - means[k]) ** 2).mean() for x, k in zip(features, labels, strict=True)])
    spread = [(((features[labels == k] - means[k]) ** 2).mean() * 20 + within) / 21 for k in range(3)]
    total = 0.0
    for i in range(3):
        for j in range(3):
            middle = (spread[i] + spread[j]) / 2
            away = ((means[i] - means[j]) ** 2).sum() / middle / 8
            total -= (i != j) * np.exp(-away - 3 * np.log(middle / np.sqrt(spread[i] * spread[j])))
    assert gbc.gbc(features, labels) == pytest.approx(total, rel=1e-6)


def test_the_discriminant_of_sfda_is_scikit_learns() -> None:
    features, labels = blobs(90, 6)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3).fit(features, labels).predict_proba(features)
    ours = sfda.discriminant(features, np.eye(3)[labels], features, 0.3, 6)
    np.testing.assert_allclose(ours, theirs, atol=2e-2)  # it standardises before it shrinks
    whole = LinearDiscriminantAnalysis(solver="lsqr").fit(features, labels).predict_proba(features)
    np.testing.assert_allclose(sfda.discriminant(features, np.eye(3)[labels], features, 0.0, 6), whole, atol=1e-6)


def test_nleep_takes_the_components_that_hold_four_fifths_of_the_variance() -> None:
    features, _ = blobs(80, 12)
    theirs = PCA(n_components=0.8).fit_transform(features)
    ours = nleep.components(features)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(np.abs(ours / np.linalg.norm(ours)), np.abs(theirs / np.linalg.norm(theirs)), atol=1e-8)
    apart, own = blobs(120, 4, apart=50)
    assert -0.2 < nleep.nleep(apart, own) <= 0
