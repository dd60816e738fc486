"""Batches: every row once an epoch, the same after a resume, of like length, and augmented only in training."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made import picture

from zoo.catalog.spec import ImagePreprocess
from zoo.data.augment import RECIPES, Augment
from zoo.data.batches import Batch, Loader
from zoo.data.transforms import ImageProcessor
from zoo.data.types import Examples, ImageRef


class Letters:
    """A text as the codes of its letters, padded with zeros."""

    key = "letters"

    def __call__(self, value: str, draw: Any = None) -> list[int]:
        return [ord(letter) for letter in value]

    def length(self, example: list[int]) -> int:
        return len(example)

    def collate(self, examples: Sequence[list[int]]) -> dict[str, torch.Tensor]:
        width = max(map(len, examples))
        return {"ids": torch.tensor([row + [0] * (width - len(row)) for row in examples])}

    def finish(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return dict(tensors)


def texts(lengths: Sequence[int]) -> Examples:
    values = ["x" * length for length in lengths]
    ids = tuple(map(str, range(len(values))))
    return Examples({"text": values}, np.arange(len(values)), ids, ids)


def images(count: int) -> Examples:
    refs = [ImageRef(str(seed), array=np.asarray(picture(seed, (20, 14)))) for seed in range(count)]
    ids = tuple(map(str, range(count)))
    return Examples({"image": refs}, np.arange(count), ids, ids)


def loader(rows: Sequence[int], batch_size: int, **options: Any) -> Loader:
    return Loader(texts(rows), {"text": Letters()}, batch_size=batch_size, **options)


def rows_of(batches: Any) -> list[list[int]]:
    return [batch.rows.tolist() for batch in batches]


LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=70)
SIZES = st.integers(1, 12)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, SIZES, st.booleans(), st.integers(0, 5), st.integers(0, 99))
def test_every_row_comes_exactly_once_in_every_epoch(
    lengths: list[int], size: int, train: bool, epoch: int, seed: int
) -> None:
    it = loader(lengths, size, train=train, seed=seed)
    batches = list(it.epoch(epoch))
    assert sorted(row for batch in batches for row in batch.rows.tolist()) == list(range(len(lengths)))
    assert len(batches) == len(it)
    for batch in batches:
        assert batch.targets is not None
        assert batch.targets.tolist() == batch.rows.tolist()
        assert (batch.inputs["text"]["ids"] > 0).sum(1).tolist() == [lengths[row] for row in batch.rows]


@settings(max_examples=40, deadline=None)
@given(LENGTHS, SIZES, st.integers(0, 5), st.integers(0, 99), st.data())
def test_an_epoch_resumed_at_any_batch_goes_on_as_it_would_have(
    lengths: list[int], size: int, epoch: int, seed: int, data: st.DataObject
) -> None:
    whole = list(loader(lengths, size, train=True, seed=seed).epoch(epoch))
    start = data.draw(st.integers(0, len(whole)))
    resumed = list(loader(lengths, size, train=True, seed=seed).epoch(epoch, start=start))
    assert rows_of(resumed) == rows_of(whole[start:])
    assert all(
        torch.equal(a.inputs["text"]["ids"], b.inputs["text"]["ids"])
        for a, b in zip(resumed, whole[start:], strict=True)
    )


@settings(max_examples=60, deadline=None)
@given(LENGTHS, SIZES)
def test_evaluation_goes_from_short_to_long_and_is_the_same_every_epoch(lengths: list[int], size: int) -> None:
    it = loader(lengths, size)
    order = [row for batch in it.epoch(0) for row in batch.rows.tolist()]
    assert [lengths[row] for row in order] == sorted(lengths)
    assert rows_of(it.epoch(0)) == rows_of(it.epoch(7))


def test_training_shuffles_anew_each_epoch_and_each_seed() -> None:
    lengths = [1 + i % 20 for i in range(100)]
    orders = [
        rows_of(loader(lengths, 8, train=True, seed=seed).epoch(epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
    assert rows_of(loader(lengths, 8, train=True).epoch(1)) == orders[1]


@pytest.mark.parametrize("train", [True, False])
def test_batches_of_like_length_need_little_padding(train: bool) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 100, 640).tolist()
    it = loader(lengths, 16, train=train)
    padded = sum(batch.inputs["text"]["ids"].numel() for batch in it.epoch(0))
    shuffled = sum(16 * max(lengths[i : i + 16]) for i in range(0, 640, 16))
    assert padded < 1.1 * sum(lengths) < 0.65 * shuffled
    assert it.padding < 1.1


def test_the_longest_batch_comes_anywhere_in_a_training_epoch() -> None:
    lengths = list(range(1, 321))
    it = loader(lengths, 8, train=True)
    places = {next(i for i, rows in enumerate(it.order(epoch)) if 319 in rows) for epoch in range(40)}
    assert min(places) < 10
    assert max(places) >= 30
    assert len(places) > 15


@pytest.mark.parametrize(("count", "size"), [(9, 4), (401, 8), (5, 2)])
def test_no_training_batch_has_a_single_row(count: int, size: int) -> None:
    sizes = [len(rows) for rows in rows_of(loader([3 + i % 5 for i in range(count)], size, train=True).epoch(2))]
    assert min(sizes) > 1
    assert sum(sizes) == count


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_nothing(threads: int) -> None:
    def pixels(count: int) -> list[torch.Tensor]:
        processors = {"image": ImageProcessor(ImagePreprocess((8, 8)))}
        it = Loader(images(11), processors, batch_size=3, train=True, augment=RECIPES["strong"], threads=count)  # type: ignore[arg-type]
        return [batch.inputs["image"]["pixels"] for batch in it.epoch(1)]

    assert all(torch.equal(a, b) for a, b in zip(pixels(threads), pixels(3), strict=True))


def by_row(it: Loader, epoch: int, start: int = 0) -> dict[int, torch.Tensor]:
    return {
        int(row): pixels
        for batch in it.epoch(epoch, start)
        for row, pixels in zip(batch.rows, batch.inputs["image"]["pixels"], strict=True)
    }


def image_loader(**options: Any) -> Loader:
    return Loader(images(12), {"image": ImageProcessor(ImagePreprocess((8, 8)))}, **{"batch_size": 4, **options})


def test_what_a_row_looks_like_depends_on_seed_epoch_and_row_alone() -> None:
    first = by_row(image_loader(train=True, augment=RECIPES["strong"], seed=3), 2)
    other = by_row(image_loader(train=True, augment=RECIPES["strong"], seed=3, batch_size=5), 2)
    assert all(torch.equal(first[row], other[row]) for row in first)
    resumed = by_row(image_loader(train=True, augment=RECIPES["strong"], seed=3), 2, start=1)
    assert len(resumed) == 8
    assert all(torch.equal(first[row], resumed[row]) for row in resumed)
    for seed, epoch in ((3, 1), (4, 2)):
        changed = by_row(image_loader(train=True, augment=RECIPES["strong"], seed=seed), epoch)
        assert not any(torch.equal(first[row], changed[row]) for row in first)


def test_evaluation_is_never_augmented() -> None:
    plain = by_row(image_loader(), 0)
    with_recipe = by_row(image_loader(augment=Augment(flip=1.0, crop=(0.2, 0.5), colour=0.9)), 5)
    without = by_row(image_loader(train=True), 3)
    assert all(torch.equal(plain[row], with_recipe[row]) for row in plain)
    assert all(torch.equal(plain[row], without[row]) for row in plain)


def test_a_batch_is_finished_once_and_keeps_its_rows() -> None:
    batch = next(iter(image_loader().epoch(0)))
    assert batch.inputs["image"]["pixels"].dtype == torch.uint8
    moved = batch.to(torch.device("cpu"))
    again = moved.to(torch.device("cpu"))
    assert isinstance(again, Batch)
    assert moved.inputs["image"]["pixels"].dtype == torch.float32
    assert torch.equal(moved.inputs["image"]["pixels"], again.inputs["image"]["pixels"])
    assert torch.equal(moved.rows, batch.rows)


def test_an_epoch_that_is_left_early_leaves_no_thread_behind() -> None:
    batches = image_loader(threads=4).epoch(0)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("zoo-loader")]


def test_rows_without_labels_come_without_targets() -> None:
    unlabelled = Examples({"text": ["a", "bb"]}, None, ("0", "1"), ("0", "1"))
    assert [batch.targets for batch in Loader(unlabelled, {"text": Letters()}, batch_size=2).epoch(0)] == [None]
