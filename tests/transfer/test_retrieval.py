"""Ranks and recall of images and texts that look for each other, against a brute-force loop."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.data.pairs import pair_targets
from zoo.transfer.retrieval import PairScores, pair_scores, ranks


def unit(rows: int, width: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_a_rank_is_the_place_of_the_best_right_answer() -> None:
    queries, found = unit(40, 6, 0), unit(30, 6, 1)
    right = np.random.default_rng(2).random((40, 30)) < 0.1
    right[np.arange(40), np.arange(40) % 30] = True
    places = []
    for query, answers in zip(queries, right, strict=True):
        order = np.argsort(-(found @ query), kind="stable")
        places.append(1 + int(np.flatnonzero(answers[order])[0]))
    assert ranks(queries, found, right).tolist() == places


def test_a_model_that_gives_one_embedding_to_all_finds_nothing() -> None:
    same = np.tile(unit(1, 4, 0), (20, 1))
    scores = PairScores(same, same, np.stack([np.arange(20)] * 2, axis=1))
    assert scores.metrics()["recall_at_10"] == 0
    assert scores.metrics()["image_to_text_median_rank"] == 20


def test_what_belongs_together_is_found_first() -> None:
    image = unit(25, 8, 0)
    scores = pair_scores(np.hstack([image, image]), np.stack([np.arange(25)] * 2, axis=1))
    metrics = scores.metrics()
    assert metrics["recall_at_1"] == metrics["image_to_text_at_1"] == metrics["text_to_image_at_1"] == 1
    assert metrics["text_to_image_median_rank"] == 1
    assert metrics["chance"] == pytest.approx(1 / 25)
    assert "recall_at_1" not in scores.intervals()  # every resample agrees


def test_of_several_texts_of_an_image_any_will_do() -> None:
    targets = pair_targets(["a.png", "a.png", "b.png"], ["one", "two", "three"])
    image = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    text = np.array([[0, 1], [1, 0], [0, 1]], dtype=np.float32)
    metrics = PairScores(image, text, targets).metrics()
    assert metrics["image_to_text_at_1"] == 0.5  # "three" is as near to b.png as "one" is, which is wrong
    assert metrics["image_to_text_median_rank"] == 1.5
    assert metrics["text_to_image_at_1"] == pytest.approx(2 / 3)  # "one" finds b.png
    assert metrics["chance"] == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_a_text_that_several_images_have_is_looked_through_once() -> None:
    targets = pair_targets(["a.png", "b.png"], ["same", "same"])
    scores = PairScores(unit(2, 3, 0), np.tile(unit(1, 3, 1), (2, 1)), targets)
    assert scores.metrics()["image_to_text_at_1"] == 1
    assert scores.metrics()["text_to_image_at_1"] == 1


def test_the_interval_holds_the_figure() -> None:
    scores = PairScores(
        unit(200, 3, 0), unit(200, 3, 0) * 0.6 + unit(200, 3, 5) * 0.8, np.stack([np.arange(200)] * 2, 1)
    )
    metrics, found = scores.metrics(), scores.intervals()
    for name in ("recall_at_5", "image_to_text_at_10", "text_to_image_median_rank"):
        low, high = found[name]
        assert low <= (metrics[name] or 0) <= high
