"""Losses and metrics of pixels and words, against loops and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score, jaccard_score

from zoo.data.tags import IGNORED
from zoo.data.types import Task
from zoo.transfer.dense import DenseScores, Entity, count_classes, count_entities, entities_of
from zoo.transfer.metrics import primary, shown
from zoo.transfer.tasks import loss_for

PIXELS = Task("segmentation", ("ground", "water", "wood"))
WORDS = Task("tokens", ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))
PARTS = Task("tokens", ("NOUN", "VERB"))


def drawn(seed: int, count: int = 6) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Said and true class numbers of images, the true ones with some to ignore."""
    rng = np.random.default_rng(seed)
    true = [rng.choice([0, 1, 2, 255], (5, 7), p=[0.5, 0.2, 0.2, 0.1]) for _ in range(count)]
    said = [np.where(rng.random(each.shape) < 0.6, each, rng.integers(0, 3, each.shape)) % 255 for each in true]
    return said, true


def scores(task: Task, said: list[NDArray[np.int64]], true: list[NDArray[np.int64]]) -> DenseScores:
    counted = [count_classes(a, b, len(task.classes)) for a, b in zip(said, true, strict=True)]
    return DenseScores(task, np.stack([rows for rows, _ in counted]), sum(table for _, table in counted))  # type: ignore[arg-type]


def test_iou_is_that_of_scikit_learn() -> None:
    said, true = drawn(0)
    a, b = np.concatenate(said).ravel(), np.concatenate(true).ravel()
    each = jaccard_score(b[b != 255], a[b != 255], average=None)
    found = scores(PIXELS, said, true).metrics()
    assert found["miou"] == pytest.approx(each.mean())
    assert [found[f"iou.{name}"] for name in PIXELS.classes] == pytest.approx(each.tolist())
    assert found["pixel_accuracy"] == pytest.approx((a == b)[b != 255].mean())
    assert found["majority"] == pytest.approx((b[b != 255] == 0).mean())


def test_pixels_to_ignore_count_for_nothing() -> None:
    said, true = drawn(1)
    other = [np.where(b == 255, 2 - a, a) for a, b in zip(said, true, strict=True)]
    assert scores(PIXELS, said, true).metrics() == scores(PIXELS, other, true).metrics()


def test_a_class_without_a_pixel_has_no_iou() -> None:
    true = [np.zeros((4, 4), dtype=np.int64)]
    found = scores(PIXELS, [np.ones((4, 4), dtype=np.int64)], true).metrics()
    assert (found["miou"], "iou.water" in found) == (0.0, False)
    nothing = scores(PIXELS, true, [np.full((4, 4), 255)])
    assert nothing.metrics()["miou"] is None
    assert nothing.intervals() == {}


def test_intervals_hold_the_metric_and_shrink_with_rows() -> None:
    few, many = (scores(PIXELS, *drawn(2, count)) for count in (6, 60))
    for each in (few, many):
        for name, (low, high) in each.intervals().items():
            assert low < float(each.metrics()[name] or 0) < high
        assert list(each.intervals()) == list(shown(PIXELS)) == ["miou", "pixel_accuracy"]
    wide, narrow = (np.subtract(*each.intervals()["miou"][::-1]) for each in (few, many))
    assert narrow < wide


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("O B-PER I-PER O", [("PER", 1, 3)]),
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("I-PER I-PER O I-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("B-PER I-LOC I-LOC", [("PER", 0, 1), ("LOC", 1, 3)]),
        ("S-LOC B-PER I-PER E-PER U-LOC", [("LOC", 0, 1), ("PER", 1, 4), ("LOC", 4, 5)]),
        ("O O", []),
        ("", []),
    ],
)
def test_entities_are_read_as_conll_does(tags: str, entities: list[tuple[str, int, int]]) -> None:
    assert entities_of(tags.split()) == [Entity(*each) for each in entities]


def test_an_entity_counts_only_whole() -> None:
    true, said = "B-PER I-PER O B-LOC B-PER".split(), "B-PER O O B-LOC B-LOC".split()
    # right, said, true
    assert count_entities(said, true, ("PER", "LOC")).tolist() == [[0, 1, 2], [1, 2, 1]]


def test_span_f1_stands_for_entities_and_macro_f1_for_other_tags() -> None:
    assert (primary(WORDS), primary(PARTS)) == ("span_f1", "macro_f1")
    true = [np.array([0, 1, 2, 0, 3]), np.array([3, 4, 0])]
    said = [np.array([0, 1, 2, 0, 0]), np.array([3, 0, -1])]  # the last word was cut off
    rows = scores(WORDS, said, true)
    tags = [[[WORDS.classes[k] if k >= 0 else "O" for k in each] for each in side] for side in (said, true)]
    spans = np.stack([count_entities(a, b, ("LOC", "PER")) for a, b in zip(*tags, strict=True)])
    found = DenseScores(WORDS, rows.rows, rows.table, ("LOC", "PER"), spans)
    # Of LOC, PER and PER one is found whole, and two are said.
    assert (found.metrics()["span_precision"], found.metrics()["span_recall"]) == (1 / 2, 1 / 3)
    assert found.metrics()["span_f1"] == pytest.approx(0.4)
    assert (found.metrics()["f1.LOC"], found.metrics()["f1.PER"]) == (1.0, 0.0)
    assert found.metrics()["token_accuracy"] == 5 / 8
    assert [(row.name, row.support) for row in found.per_class()] == [("LOC", 1), ("PER", 2)]


def test_macro_f1_of_tags_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    true, said = rng.integers(0, 2, 50), rng.integers(0, 2, 50)
    found = scores(PARTS, [said], [true]).metrics()
    assert found["macro_f1"] == pytest.approx(f1_score(true, said, average="macro"))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_mean_over_labelled_places(smoothing: float) -> None:
    outputs = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(1))
    targets[0, :2] = 255
    known = targets != 255
    each = torch.nn.functional.cross_entropy(
        outputs.permute(0, 2, 3, 1)[known], targets[known], label_smoothing=smoothing
    )
    found = loss_for(PIXELS, label_smoothing=smoothing)(outputs, targets.to(torch.uint8))
    assert float(found) == pytest.approx(float(each), rel=1e-5)


def test_a_batch_without_a_label_has_loss_zero_and_no_nan() -> None:
    outputs = torch.randn(2, 6, 2, requires_grad=True)
    loss = loss_for(PARTS)(outputs, torch.full((2, 6), IGNORED))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert outputs.grad is not None
    assert math.isfinite(float(outputs.grad.abs().sum()))
