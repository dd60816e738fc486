"""CKA against its definition, and the laws it has; the modality gap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from zoo.comparison.gap import modality_gap
from zoo.comparison.likeness import cka, likenesses

Array = NDArray[Any]


def drawn(rows: int, columns: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def by_definition(x: Array, y: Array) -> float:
    """Song et al. 2012, equation 5, term by term."""

    def hsic(k: Array, l: Array) -> float:  # noqa: E741
        n = len(k)
        k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
        one = np.ones(n)
        middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
        return float((np.trace(k @ l) + middle - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3)))

    k, l = x @ x.T, y @ y.T  # noqa: E741
    return hsic(k, l) / float(np.sqrt(hsic(k, k) * hsic(l, l)))


@given(n=st.integers(4, 30), d=st.integers(1, 40), e=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_cka_is_what_its_definition_says(n: int, d: int, e: int, seed: int) -> None:
    x, y = drawn(n, d, seed) + 3, drawn(n, e, seed + 1)
    y[:, 0] += x[:, 0]
    assert cka(x, y) == pytest.approx(by_definition(x, y), abs=1e-9)


def test_wide_features_are_compared_by_blocks_of_rows() -> None:
    x, y = drawn(600, 900, 0), drawn(600, 700, 1)
    y[:, :300] += x[:, :300]
    assert cka(x, y) == pytest.approx(by_definition(x, y), abs=1e-9)


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_features_turned_scaled_and_moved_are_the_same(scale: float, seed: int) -> None:
    x, y = drawn(50, 8, seed), drawn(50, 5, seed + 1) + drawn(50, 8, seed)[:, :5]
    turn = np.linalg.qr(drawn(8, 8, seed + 2))[0]
    assert cka(x, x @ turn * scale + 7) == pytest.approx(1)
    assert cka(x @ turn * scale + 7, y) == pytest.approx(cka(x, y))
    assert cka(y, x) == pytest.approx(cka(x, y))


def test_the_order_of_rows_does_not_matter() -> None:
    x, y, order = drawn(40, 6, 0), drawn(40, 6, 0) + drawn(40, 6, 1), np.random.default_rng(0).permutation(40)
    assert cka(x[order], y[order]) == pytest.approx(cka(x, y))


def test_noise_is_like_no_noise_even_with_many_more_columns_than_rows() -> None:
    found = [cka(drawn(100, 4000, seed), drawn(100, 3000, seed + 50)) for seed in range(8)]
    assert np.abs(np.mean([each for each in found if each is not None])) < 0.01  # the usual estimate gives 0.97
    assert max(abs(each or 0) for each in found) < 0.05


def test_features_that_do_not_vary_have_no_likeness() -> None:
    assert cka(np.ones((10, 3)), drawn(10, 3, 0)) is None
    assert cka(np.zeros((10, 3)), drawn(10, 3, 0)) is None
    assert cka(drawn(3, 2, 0), drawn(3, 2, 1)) is None


def test_single_precision_of_any_size_is_enough() -> None:
    x, y = drawn(200, 30, 0), drawn(200, 30, 0) + drawn(200, 30, 1)
    assert cka((x * 1e18).astype(np.float32), (y * 1e-18).astype(np.float32)) == pytest.approx(cka(x, y), abs=1e-5)


def test_several_at_once_are_the_pairs_one_by_one() -> None:
    features = {name: drawn(30, 4 + seed, seed) for seed, name in enumerate("abc")}
    found = likenesses(features)
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found["a", "c"] == cka(features["a"], features["c"])


def test_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="not of the same rows"):
        cka(drawn(5, 2, 0), drawn(6, 2, 0))


def test_the_gap_is_the_distance_of_centres_after_normalising() -> None:
    images, texts = np.array([[2.0, 0], [0, 3]]), np.array([[-5.0, 0]])
    assert modality_gap(images, texts) == pytest.approx(np.hypot(1.5, 0.5))
    assert modality_gap(images, images * 7) == pytest.approx(0)


def test_embeddings_of_other_sizes_share_no_space() -> None:
    with pytest.raises(ValueError, match="share no space"):
        modality_gap(drawn(3, 4, 0), drawn(3, 5, 0))
